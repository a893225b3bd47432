//! The bodies of answers, from a provider or from the gateway itself.

use bytes::Bytes;
use http::header::CONTENT_TYPE;
use http::{HeaderValue, Response, StatusCode};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Full};

pub(super) type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// A body from a provider, from the demo model, or from the gateway.
pub(super) type Answer = UnsyncBoxBody<Bytes, BoxError>;

/// A body that is all there.
pub(super) fn full(text: String) -> Answer {
    Full::new(Bytes::from(text))
        .map_err(|never| match never {})
        .boxed_unsync()
}

/// An answer of the gateway's own.
pub(super) fn json(status: StatusCode, text: String) -> Response<Answer> {
    let mut response = Response::new(full(text));
    *response.status_mut() = status;
    let kind = const { HeaderValue::from_static("application/json") };
    response.headers_mut().insert(CONTENT_TYPE, kind);
    response
}
