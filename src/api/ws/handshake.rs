//! From a request to a socket: over HTTP/1.1 by `Upgrade` (RFC 6455), over HTTP/2 by an extended `CONNECT` (RFC 8441).

use std::sync::Arc;

use axum::body::Body;
use axum::extract::FromRequestParts;
use axum::http::header::{SEC_WEBSOCKET_PROTOCOL, SEC_WEBSOCKET_VERSION};
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode, Version};
use hyper::ext::Protocol;
use hyper::upgrade::{OnUpgrade, Upgraded};
use hyper_util::rt::TokioIo;
use tungstenite::error::ProtocolError;
use tungstenite::handshake::server::create_response_with_body;

use crate::api::authentication::{SocketAccess, protocols};
use crate::api::error::ApiError;
use crate::api::middleware::REQUEST_ID;
use crate::api::place::Place;

/// The protocol to name beside one with a token: a browser wants one of those it offered back, and a token is not said back.
pub(super) const SUBPROTOCOL: &str = "opencode-sidecar";

/// A request that can become a WebSocket.
pub(crate) struct Upgrade {
    socket: OnUpgrade,
    response: Response<Body>,
    pub(super) place: Arc<Place>,
    pub(super) access: SocketAccess,
    pub(super) request_id: String,
}

// === impl Upgrade ===

impl<S: Send + Sync> FromRequestParts<S> for Upgrade {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, _state: &S) -> Result<Self, ApiError> {
        let mut response = accept(parts)?;
        let on_upgrade = parts.extensions.remove::<OnUpgrade>();
        let place = parts.extensions.get::<Arc<Place>>().cloned();
        let access = parts.extensions.remove::<SocketAccess>();
        let (Some(on_upgrade), Some(place)) = (on_upgrade, place) else {
            return Err(ApiError::upgrade_required(
                "this connection cannot become one",
            ));
        };
        if protocols(&parts.headers).any(|protocol| protocol == SUBPROTOCOL.as_bytes()) {
            let protocol = HeaderValue::from_static(SUBPROTOCOL);
            response
                .headers_mut()
                .insert(SEC_WEBSOCKET_PROTOCOL, protocol);
        }
        let request_id = parts.headers.get(REQUEST_ID);
        Ok(Self {
            socket: on_upgrade,
            response,
            place,
            access: access.unwrap_or(SocketAccess::Unauthenticated),
            request_id: request_id
                .and_then(|id| id.to_str().ok())
                .unwrap_or_default()
                .to_owned(),
        })
    }
}

impl Upgrade {
    /// The answer, with `headers`; `talk` gets the socket once the answer is out.
    pub(super) fn switch<F>(
        self,
        headers: HeaderMap,
        talk: impl FnOnce(TokioIo<Upgraded>) -> F + Send + 'static,
    ) -> Response<Body>
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let Self {
            socket,
            mut response,
            place,
            ..
        } = self;
        place.spawn(async move {
            // It fails if the client is gone before it has the answer.
            if let Ok(socket) = socket.await {
                talk(TokioIo::new(socket)).await;
            }
        });
        response.headers_mut().extend(headers);
        response
    }
}

/// The answer to a handshake.
fn accept(parts: &Parts) -> Result<Response<Body>, ApiError> {
    if parts.version == Version::HTTP_2 {
        let protocol = parts.extensions.get::<Protocol>().map(Protocol::as_str);
        if parts.method != Method::CONNECT || protocol != Some("websocket") {
            return Err(ApiError::upgrade_required(
                "over HTTP/2 it is asked for by `CONNECT` with the `:protocol` `websocket`",
            ));
        }
        let version = parts.headers.get(SEC_WEBSOCKET_VERSION);
        if version.is_none_or(|version| version != "13") {
            return Err(ApiError::upgrade_required(
                "the request names another version",
            ));
        }
        return Ok(Response::new(Body::empty()));
    }
    let mut request = Request::new(());
    *request.method_mut() = parts.method.clone();
    *request.version_mut() = parts.version;
    *request.headers_mut() = parts.headers.clone();
    let response = create_response_with_body(&request, Body::empty);
    let response = response.map_err(|error| refusal(&error))?;
    debug_assert_eq!(response.status(), StatusCode::SWITCHING_PROTOCOLS);
    Ok(response)
}

fn refusal(error: &tungstenite::Error) -> ApiError {
    let what = match error {
        tungstenite::Error::Protocol(ProtocolError::MissingSecWebSocketVersionHeader) => {
            "the request names another version"
        }
        tungstenite::Error::Protocol(ProtocolError::MissingSecWebSocketKey) => {
            "the request has no `Sec-WebSocket-Key`"
        }
        _ => "the request has no `Connection: Upgrade` and `Upgrade: websocket`",
    };
    ApiError::upgrade_required(what)
}
