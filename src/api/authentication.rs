//! Who may ask: the shared secret, and the three ways to send it.
//!
//! `Authorization: Bearer`, or `X-Sidecar-Token` for clients behind a proxy that takes `Authorization` for itself. A WebSocket
//! may also be opened with the subprotocol `bearer.<token>`, because a page cannot set headers there, or without any token: then
//! its first message has to have one.

use std::sync::Arc;

use axum::extract::{Request, State as Extract};
use axum::http::header::{AUTHORIZATION, SEC_WEBSOCKET_PROTOCOL, UPGRADE};
use axum::http::{HeaderMap, HeaderName, Method};
use axum::middleware::Next;
use axum::response::{IntoResponse as _, Response};
use tokio_util::sync::CancellationToken;

use super::State;
use super::error::ApiError;
use super::stream;
use crate::config::SharedSecrets;

pub(super) const SIDECAR_TOKEN: HeaderName = HeaderName::from_static("x-sidecar-token");

/// What a subprotocol begins with that is a token.
const PROTOCOL_TOKEN: &[u8] = b"bearer.";

/// Whether the request for a WebSocket has shown a token.
#[derive(Clone, Debug)]
pub(super) enum SocketAccess {
    /// Until this is cancelled.
    Granted(CancellationToken),
    /// Its first message has to have one.
    Unauthenticated,
}

/// What a request shows for itself.
#[derive(Debug)]
enum Shown {
    /// A token that is ours until this is cancelled.
    Accepted(CancellationToken),
    Refused,
    /// An `Authorization` of another kind, and no token.
    NoBearer,
    Nothing,
}

/// Lets pass whoever shows a token that is ours. Without a configured secret everybody passes. A stream of events ends with
/// the token that it was asked for with.
pub(super) async fn authenticate(
    Extract(state): Extract<Arc<State>>,
    request: Request,
    next: Next,
) -> Response {
    if state.secrets.required() {
        let headers = request.headers();
        return match shown(headers, header_tokens(headers), &state.secrets).accepted() {
            Ok(revoked) => stream::until(next.run(request).await, &revoked),
            Err(refusal) => refusal.into_response(),
        };
    }
    next.run(request).await
}

/// The same for the routes that are WebSockets: one that shows nothing is let through, marked. Its token is to come in its
/// first message.
pub(super) async fn authenticate_socket(
    Extract(state): Extract<Arc<State>>,
    mut request: Request,
    next: Next,
) -> Response {
    let access = if state.secrets.required() {
        let headers = request.headers();
        let tokens = header_tokens(headers).chain(protocol_tokens(headers));
        let shown = shown(headers, tokens, &state.secrets);
        let may_come = matches!(shown, Shown::Nothing | Shown::NoBearer);
        if may_come && asks_for_a_socket(&request) {
            SocketAccess::Unauthenticated
        } else {
            match shown.accepted() {
                Ok(revoked) => SocketAccess::Granted(revoked),
                Err(refusal) => return refusal.into_response(),
            }
        }
    } else {
        SocketAccess::Granted(CancellationToken::new())
    };
    request.extensions_mut().insert(access);
    next.run(request).await
}

fn asks_for_a_socket(request: &Request) -> bool {
    request.method() == Method::CONNECT || request.headers().contains_key(UPGRADE)
}

// === impl Shown ===

impl Shown {
    /// For how long, or why not.
    fn accepted(self) -> Result<CancellationToken, ApiError> {
        Err(ApiError::unauthorized(match self {
            Self::Accepted(revoked) => return Ok(revoked),
            Self::Refused => "the token sent is not accepted",
            Self::NoBearer => "the one sent is no bearer token",
            Self::Nothing => "the request has none",
        }))
    }
}

/// Every token counts: a proxy may have put one of its own beside ours.
fn shown<'a>(
    headers: &HeaderMap,
    tokens: impl Iterator<Item = &'a [u8]>,
    secrets: &SharedSecrets,
) -> Shown {
    let mut shown = if headers.contains_key(AUTHORIZATION) {
        Shown::NoBearer
    } else {
        Shown::Nothing
    };
    for token in tokens {
        if let Some(revoked) = secrets.accept(token) {
            return Shown::Accepted(revoked);
        }
        shown = Shown::Refused;
    }
    shown
}

fn header_tokens(headers: &HeaderMap) -> impl Iterator<Item = &[u8]> {
    let others = headers.get_all(SIDECAR_TOKEN).into_iter();
    bearer(headers)
        .into_iter()
        .chain(others.map(|value| value.as_bytes().trim_ascii()))
}

fn protocol_tokens(headers: &HeaderMap) -> impl Iterator<Item = &[u8]> {
    protocols(headers).filter_map(|protocol| protocol.strip_prefix(PROTOCOL_TOKEN))
}

/// The subprotocols a client offers.
pub(super) fn protocols(headers: &HeaderMap) -> impl Iterator<Item = &[u8]> {
    headers
        .get_all(SEC_WEBSOCKET_PROTOCOL)
        .into_iter()
        .flat_map(|list| list.as_bytes().split(|byte| *byte == b','))
        .map(<[u8]>::trim_ascii)
}

fn bearer(headers: &HeaderMap) -> Option<&[u8]> {
    let value = headers.get(AUTHORIZATION)?.as_bytes();
    let (scheme, token) = value.split_at_checked(7)?;
    scheme
        .eq_ignore_ascii_case(b"bearer ")
        .then(|| token.trim_ascii())
}

#[cfg(test)]
mod tests {
    use axum::http::HeaderValue;

    use super::*;

    fn tokens(headers: &[(HeaderName, &'static str)]) -> (Vec<String>, Vec<String>) {
        let headers: HeaderMap = headers
            .iter()
            .map(|(name, value)| (name.clone(), HeaderValue::from_static(value)))
            .collect();
        let text = |tokens: Vec<&[u8]>| {
            let text = |token: &&[u8]| String::from_utf8(token.to_vec()).unwrap();
            tokens.iter().map(text).collect()
        };
        (
            text(header_tokens(&headers).collect()),
            text(protocol_tokens(&headers).collect()),
        )
    }

    #[test]
    fn the_scheme_is_read_in_any_case_and_the_token_exactly() {
        let token = |value| tokens(&[(AUTHORIZATION, value)]).0;
        assert_eq!(token("Bearer abc"), ["abc"]);
        assert_eq!(token("bearer  abc "), ["abc"]);
        assert!(token("Basic abc").is_empty());
        assert!(token("Bearer").is_empty());
    }

    #[test]
    fn a_token_is_found_wherever_it_may_stand() {
        let both = [
            (AUTHORIZATION, "Bearer of-a-proxy"),
            (SIDECAR_TOKEN, " ours"),
        ];
        assert_eq!(tokens(&both).0, ["of-a-proxy", "ours"]);
        let protocol = |value| tokens(&[(SEC_WEBSOCKET_PROTOCOL, value)]).1;
        assert_eq!(protocol("opencode-sidecar, bearer.a.b"), ["a.b"]);
        assert_eq!(protocol("bearer.,bearer.x"), ["", "x"]);
        assert!(protocol("bearer, Bearer.x, xbearer.y").is_empty());
    }
}
