//! `GET /events`: what happens in all sessions, as one stream.

use std::collections::BTreeSet;
use std::sync::Arc;

use axum::extract::{OriginalUri, Query, State};
use axum::http::{HeaderMap, Uri};
use axum::response::Response;
use strum::VariantNames as _;

use super::Shared;
use super::error::{ApiError, error_responses};
use super::openapi::StreamEvent;
use super::stream::{StreamRequest, stream_all};
use crate::event::Body;
use crate::id::is_id;
use crate::session::all_events::Filter;

error_responses!(EventsErrors:
    InvalidRequest,
    Conflict,
    TooManyStreams,
    JournalUnavailable,
);

/// The most sessions a filter may name.
const MAX_SESSIONS: usize = 256;

/// What happens in all sessions, as one stream of server-sent events with ids of its own.
#[utoipa::path(
    get,
    path = "/events",
    operation_id = "stream_all_events",
    params(
        ("Last-Event-ID" = Option<String>, Header,
            description = "the cursor: an id of this stream, `earliest` or `latest`; absent is `earliest`"),
        ("last_event_id" = Option<String>, Query, description = "the same, if there is no header"),
        ("lastEventId" = Option<String>, Query, description = "the same, if there is neither"),
        ("session_id" = Option<String>, Query,
            description = "only of these sessions: a list with commas, or repeated; they need not exist yet"),
        ("types" = Option<String>, Query, description = "only these types of events, likewise"),
        ("strict" = Option<String>, Query, description = "`1`: 409 instead of a gap"),
        ("include" = Option<String>, Query, description = "`reasoning`: the model's thoughts too"),
    ),
    responses(
        (status = 200, description = "from the cursor on, without an end", content_type = "text/event-stream",
            body = StreamEvent,
            headers(
                ("Sidecar-Last-Event-Id" = String, description = "the id before the first one sent"),
                ("Sidecar-Epoch" = String, description = "which order this is"),
            )),
        EventsErrors,
    )
)]
pub(super) async fn follow(
    State(state): Shared,
    OriginalUri(uri): OriginalUri,
    headers: HeaderMap,
) -> Result<Response, ApiError> {
    let request = StreamRequest::read(&uri, &headers);
    let filter = filter(&uri, &request)?;
    let registry = &state.registry;
    let source = registry.all_events().await?;
    Ok(stream_all(
        &source,
        registry.all_slots(),
        (&request, filter),
        &state.shutdown.drain,
    )?)
}

/// A cursor is never refused, but a filter is: one that is misspelt would match nothing, and nobody would be told.
pub(super) fn filter(uri: &Uri, request: &StreamRequest) -> Result<Filter, ApiError> {
    let Query(pairs) = Query::<Vec<(String, String)>>::try_from_uri(uri).unwrap_or_default();
    let list = |name: &str| -> BTreeSet<String> {
        let lists = pairs.iter().filter(|(key, _)| key == name);
        let items = lists.flat_map(|(_, list)| list.split(',')).map(str::trim);
        items
            .filter(|item| !item.is_empty())
            .map(str::to_owned)
            .collect()
    };
    let (sessions, kinds) = (list("session_id"), list("types"));
    if sessions.len() > MAX_SESSIONS {
        let reason = format!("names more than {MAX_SESSIONS} sessions; leave it out to get all");
        return Err(ApiError::invalid("session_id", &reason));
    }
    if sessions.iter().any(|id| !is_id(id)) {
        let reason = "must be UUIDs, or 1 to 128 of the characters A-Z a-z 0-9 - _ ., with commas between them";
        return Err(ApiError::invalid("session_id", reason));
    }
    if let Some(unknown) = kinds
        .iter()
        .find(|kind| !Body::VARIANTS.contains(&kind.as_str()))
    {
        let unknown: String = unknown.chars().take(64).collect();
        let known = Body::VARIANTS.join(", ");
        let reason = format!("there is no type {unknown:?}; the types are {known}");
        return Err(ApiError::invalid("types", &reason));
    }
    Ok(Filter {
        sessions: Arc::new(sessions),
        kinds,
        reasoning: request.wants_reasoning(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(query: &str) -> Result<Filter, ApiError> {
        let uri = Uri::try_from(format!("/events{query}")).unwrap();
        filter(&uri, &StreamRequest::read(&uri, &HeaderMap::new()))
    }

    #[test]
    fn lists_have_commas_or_are_repeated_and_nothing_is_everything() {
        let all = read("").unwrap();
        assert!(all.sessions.is_empty() && all.kinds.is_empty() && !all.reasoning);
        let some =
            read("?session_id=a,b&session_id=c,&types=status&types=%20output&include=reasoning");
        let some = some.unwrap();
        assert_eq!(*some.sessions, ["a", "b", "c"].map(str::to_owned).into());
        assert_eq!(some.kinds, ["output", "status"].map(str::to_owned).into());
        assert!(some.reasoning);
    }

    #[test]
    fn a_filter_that_can_match_nothing_is_refused_in_words() {
        let error = format!("{:?}", read("?types=status,outputs").unwrap_err());
        assert!(
            error.contains("there is no type") && error.contains("tool_call"),
            "{error}"
        );
        let error = format!("{:?}", read("?session_id=a/b").unwrap_err());
        assert!(error.contains("must be UUIDs"), "{error}");
        let many: Vec<String> = (0..300).map(|nth| format!("s{nth}")).collect();
        let error = format!(
            "{:?}",
            read(&format!("?session_id={}", many.join(","))).unwrap_err()
        );
        assert!(error.contains("more than 256"), "{error}");
    }
}
