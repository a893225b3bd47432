//! `GET /sessions/{id}/messages`

use axum::Json;
use axum::extract::{OriginalUri, State};
use axum::http::Uri;

use crate::api::Shared;
use crate::api::error::{ApiError, error_responses};
use crate::api::extract::Id;
use crate::api::lookup;
use crate::api::query::Query;
use crate::conversation::Page;
use crate::driver::MessageQuery;

const DEFAULT_LIMIT: usize = 50;
const MAX_LIMIT: usize = 200;

/// OpenCode's cursors have about 100 characters, its ids 30.
const MAX_CURSOR: usize = 512;
const MAX_AGENT: usize = 64;

error_responses!(MessagesErrors:
    InvalidRequest,
    NotFound,
    Gone,
    Conflict,
    EngineUnavailable,
    JournalUnavailable,
    ShuttingDown,
);

/// What was said, the newest first.
#[utoipa::path(
    get,
    path = "/sessions/{id}/messages",
    operation_id = "session_messages",
    params(
        ("id" = String, Path, description = "the `session_id`"),
        ("limit" = Option<usize>, Query, minimum = 1, maximum = 200,
            description = "messages on one page; 50 unless said. A page has fewer if they are large"),
        ("cursor" = Option<String>, Query, pattern = "^[A-Za-z0-9=_-]{1,512}$",
            description = "`next_cursor` of the page before"),
        ("agent" = Option<String>, Query, pattern = "^ses_[A-Za-z0-9]{1,60}$",
            description = "the `id` of a subagent: its messages instead"),
        ("include" = Option<String>, Query, description = "`reasoning`: the model's thoughts too"),
    ),
    responses((status = 200, description = "one page", body = Page), MessagesErrors)
)]
pub(in crate::api) async fn messages(
    State(state): Shared,
    Id(id): Id,
    OriginalUri(uri): OriginalUri,
) -> Result<Json<Page>, ApiError> {
    let query = read(&uri)?;
    let session = lookup::session(&state, &id).await?;
    Ok(Json(state.conversations.messages(&session, &query).await?))
}

/// What is not of these characters never gets into the address of a call of OpenCode.
fn read(uri: &Uri) -> Result<MessageQuery, ApiError> {
    let query = Query::read(uri)?;
    let cursor = |text: &str| {
        let accepted = |byte: u8| byte.is_ascii_alphanumeric() || b"=_-".contains(&byte);
        let is_cursor = (1..=MAX_CURSOR).contains(&text.len()) && text.bytes().all(accepted);
        is_cursor.then(|| text.to_owned())
    };
    let agent = |text: &str| {
        let rest = text
            .strip_prefix("ses_")
            .filter(|_| text.len() <= MAX_AGENT)?;
        let is_id = !rest.is_empty() && rest.bytes().all(|byte| byte.is_ascii_alphanumeric());
        is_id.then(|| text.to_owned())
    };
    Ok(MessageQuery {
        limit: query.limit(MAX_LIMIT)?.unwrap_or(DEFAULT_LIMIT),
        cursor: query.value("cursor", cursor, || {
            "must be the next_cursor of a page of this list".to_owned()
        })?,
        subagent: query.value("agent", agent, || {
            "must be the id of a subagent, as GET /sessions/{id}/children has it".to_owned()
        })?,
        reasoning: query.includes("reasoning"),
    })
}
