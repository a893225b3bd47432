//! What a request for a stream asks for. Pure, and forgiving: nothing here can be refused.

use axum::extract::Query;
use axum::http::{HeaderMap, HeaderValue, Uri};

use crate::session::log::{Requested, Transport, View};

/// The default is a first visit: everything kept, to the end of the turn.
#[derive(Clone, Debug, Default)]
pub(crate) struct StreamRequest {
    pub(in crate::api) asked: Requested,
    pub(in crate::api) view: View,
    /// Answer 409 rather than with a gap.
    pub(in crate::api) strict: bool,
}

// === impl StreamRequest ===

impl StreamRequest {
    /// Reads `Last-Event-ID`, `?last_event_id=` or `?lastEventId=` (the first that is there wins),
    /// `?follow=1`, `?strict=1` and `?include=reasoning`. Anything else is left to others.
    pub(crate) fn read(uri: &Uri, headers: &HeaderMap) -> Self {
        Self::read_pairs(&pairs(uri), headers)
    }

    /// The same for a WebSocket, which follows unless `?follow=0`: it is there for what comes.
    pub(crate) fn of_a_socket(uri: &Uri, headers: &HeaderMap) -> Self {
        let pairs = pairs(uri);
        let mut request = Self::read_pairs(&pairs, headers);
        let first = pairs.iter().find(|(key, _)| key == "follow");
        let is_off = |value: &str| matches!(value, "0" | "false");
        request.view.follow = !first.is_some_and(|(_, value)| is_off(value));
        request
    }

    fn read_pairs(pairs: &[(String, String)], headers: &HeaderMap) -> Self {
        let first = |name: &str| {
            pairs
                .iter()
                .find(|(key, _)| key == name)
                .map(|(_, value)| value.as_str())
        };
        let on = |name: &str| first(name).is_some_and(|value| matches!(value, "1" | "true"));
        let cursor = headers
            .get("last-event-id")
            .map(HeaderValue::as_bytes)
            .filter(|value| !value.is_empty())
            .or_else(|| {
                first("last_event_id")
                    .or_else(|| first("lastEventId"))
                    .map(str::as_bytes)
            })
            .unwrap_or_default();
        let reasoning = pairs
            .iter()
            .filter(|(key, _)| key == "include")
            .flat_map(|(_, list)| list.split(','))
            .any(|item| item.trim() == "reasoning");
        Self {
            asked: Requested::parse(cursor),
            view: View {
                follow: on("follow"),
                reasoning,
                transport: Transport::Stream,
            },
            strict: on("strict"),
        }
    }

    pub(crate) const fn wants_reasoning(&self) -> bool {
        self.view.reasoning
    }
}

fn pairs(uri: &Uri) -> Vec<(String, String)> {
    let Query(pairs) = Query::try_from_uri(uri).unwrap_or_default();
    pairs
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(query: &str, header: Option<&'static [u8]>) -> StreamRequest {
        let uri = Uri::try_from(format!("/sessions/x/stream{query}")).unwrap();
        let headers = header.map(|value| {
            (
                "last-event-id".parse().unwrap(),
                HeaderValue::from_bytes(value).unwrap(),
            )
        });
        StreamRequest::read(&uri, &headers.into_iter().collect())
    }

    fn asked(query: &str, header: Option<&'static [u8]>) -> Requested {
        read(query, header).asked
    }

    #[test]
    fn the_header_wins_over_the_query_and_snake_case_over_camel_case() {
        let both = "?lastEventId=latest&last_event_id=from-query";
        assert_eq!(
            asked(both, Some(b"from-header")),
            Requested::Unreadable("from-header".into())
        );
        assert_eq!(
            asked(both, None),
            Requested::Unreadable("from-query".into())
        );
        assert_eq!(asked("?lastEventId=latest", None), Requested::Latest);
    }

    #[test]
    fn an_empty_header_is_no_cursor() {
        assert_eq!(asked("?last_event_id=latest", Some(b"")), Requested::Latest);
        assert_eq!(asked("", Some(b"")), Requested::Earliest);
    }

    #[test]
    fn no_request_is_too_strange() {
        assert_eq!(
            asked("", Some(b"\xff\xfe")),
            Requested::Unreadable("\u{fffd}\u{fffd}".into())
        );
        assert_eq!(
            asked("?last_event_id=%ff&last_event_id=latest&&=&%", None),
            Requested::Unreadable("\u{fffd}".into())
        );
        assert_eq!(asked("?last_event_id=", None), Requested::Earliest);
    }

    #[test]
    fn a_socket_follows_unless_it_is_told_not_to() {
        let follows = |query: &str| {
            let uri = Uri::try_from(format!("/sessions/x/ws{query}")).unwrap();
            let request = StreamRequest::of_a_socket(&uri, &HeaderMap::new());
            request.view.follow
        };
        assert!(follows("") && follows("?follow=1") && follows("?follow=yes"));
        assert!(!follows("?follow=0") && !follows("?x=1&follow=false"));
    }

    #[test]
    fn switches_are_off_unless_asked_for() {
        let plain = read("?follow=0&strict=&include=thoughts", None);
        assert!(!plain.view.follow && !plain.strict && !plain.view.reasoning);
        let all = read("?follow=1&strict=true&include=usage,reasoning", None);
        assert!(all.view.follow && all.strict && all.view.reasoning);
    }
}
