//! What happens to every request on its way in and every response on its way out.

use std::any::Any;
use std::sync::Arc;
use std::time::Instant;

use axum::extract::{MatchedPath, OriginalUri, Request};
use axum::http::header::ALLOW;
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method};
use axum::middleware::Next;
use axum::response::{IntoResponse as _, Response};
use tracing::Instrument as _;
use uuid::Uuid;

use super::access::{self, RequestHead};
use super::caller::Caller;
use super::error::{self, ApiError};
use crate::metrics::http as metrics;
use crate::trace::{self, RequestTrace, TraceContext};

/// Of which trace a request is (W3C Trace Context).
const TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");

pub(super) const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// Longer ids than this are not echoed but replaced.
const MAX_ID: usize = 128;

/// Gives the request its id and its span, the response its id, and an error its body and log line.
/// Outermost: nothing answers without passing here.
///
/// Not the layers of tower-http for ids and tracing: the id that a caller sends is checked before it is used, and it
/// also stands in the body of an error, which is written here.
pub(super) async fn identify(mut request: Request, next: Next) -> Response {
    let id = request_id(request.headers());
    // A handler that goes on after its answer says the same id.
    request.headers_mut().insert(REQUEST_ID, id.clone());
    let text = id.to_str().unwrap_or_default().to_owned();
    let (method, path) = (request.method().clone(), request.uri().path().to_owned());
    let route = request.extensions().get::<MatchedPath>().cloned();
    let caller = request.extensions().get::<Arc<Caller>>();
    let address = caller.and_then(|caller| caller.address());
    let traceparent = request.headers().get(TRACEPARENT);
    let traceparent = traceparent.and_then(|value| value.to_str().ok());
    let traced = trace::request(traceparent, method.is_safe());
    let context = traced.as_ref().map(RequestTrace::context);
    let span = tracing::info_span!(
        "request",
        http.request_id = text,
        client.address = address.map(tracing::field::display),
        trace_id = context.map(|context| context.trace_id()),
        span_id = context.map(|context| context.span_id())
    );
    async move {
        let begun = Instant::now();
        let answering = next.run(request);
        let mut response = match &traced {
            Some(traced) => trace::run_within(traced, answering).await,
            None => answering.await,
        };
        if let Some(error) = response.extensions_mut().remove::<ApiError>() {
            if let Some(cause) = error.cause() {
                tracing::error!(cause, "a request failed");
            }
            error::render(&error, &mut response, &text);
        }
        response.headers_mut().insert(REQUEST_ID, id);
        let name = route.as_ref().map(MatchedPath::as_str);
        let status = response.status().as_u16();
        let exemplar = context.filter(TraceContext::is_sampled);
        let exemplar = exemplar.map(|context| context.trace_id());
        metrics::answered(method.as_str(), name, (status, begun.elapsed()), exemplar);
        if let Some(traced) = traced {
            traced.end(method.as_str(), name, &path, status);
        }
        let head = RequestHead {
            method,
            path,
            route,
            begun,
        };
        access::log(head, response)
    }
    .instrument(span)
    .await
}

/// The caller's id if it is harmless in a log and a header, else one of ours.
pub(super) fn request_id(headers: &HeaderMap) -> HeaderValue {
    let harmless = |byte: &u8| byte.is_ascii_alphanumeric() || b"-_.:/+=@".contains(byte);
    headers
        .get(REQUEST_ID)
        .filter(|id| (1..=MAX_ID).contains(&id.len()) && id.as_bytes().iter().all(harmless))
        .cloned()
        .unwrap_or_else(fresh_id)
}

/// A UUID that begins with the time, so that ids sort as the requests came.
fn fresh_id() -> HeaderValue {
    let mut text = Uuid::encode_buffer();
    let text = Uuid::now_v7().hyphenated().encode_lower(&mut text);
    HeaderValue::from_str(text).unwrap_or_else(|_| HeaderValue::from_static("none"))
}

pub(super) async fn no_route(OriginalUri(uri): OriginalUri) -> ApiError {
    ApiError::not_found(uri.path())
}

pub(super) async fn no_method(method: Method, OriginalUri(uri): OriginalUri) -> ApiError {
    ApiError::method_not_allowed(method.as_str(), uri.path())
}

/// The same where a WebSocket is. HTTP/2 asks for one by `CONNECT`, which is about the connection and is not advertised.
pub(super) async fn no_socket_method(
    method: Method,
    uri: OriginalUri,
) -> ([(HeaderName, HeaderValue); 1], ApiError) {
    let allow = (ALLOW, HeaderValue::from_static("GET,HEAD"));
    ([allow], no_method(method, uri).await)
}

/// A panic in a handler is our fault and one request's problem.
#[expect(
    clippy::needless_pass_by_value,
    reason = "the layer hands the panic over"
)]
pub(super) fn panicked(panic: Box<dyn Any + Send>) -> Response {
    let text = panic
        .downcast_ref::<String>()
        .map(String::as_str)
        .or_else(|| panic.downcast_ref::<&str>().copied())
        .unwrap_or("without a message");
    ApiError::internal(format!("panic: {text}")).into_response()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id_for(sent: &str) -> String {
        let mut headers = HeaderMap::new();
        headers.insert(
            REQUEST_ID,
            HeaderValue::from_bytes(sent.as_bytes()).unwrap(),
        );
        request_id(&headers).to_str().unwrap().to_owned()
    }

    #[test]
    fn a_harmless_id_is_kept_and_another_is_replaced() {
        assert_eq!(id_for("abc-123"), "abc-123");
        for bad in ["", "with blank", "<script>", "ü", &"x".repeat(MAX_ID + 1)] {
            assert_ne!(id_for(bad), bad);
        }
        assert_ne!(fresh_id(), fresh_id());
    }
}
