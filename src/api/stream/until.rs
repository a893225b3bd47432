//! A stream that ends when it may not go on.

use std::pin::Pin;
use std::task::{Context, Poll};

use axum::body::Body;
use axum::http::header::CONTENT_TYPE;
use axum::response::Response;
use bytes::Bytes;
use http_body::Frame;
use tokio_util::sync::{CancellationToken, WaitForCancellationFutureOwned};

/// A body that ends, between two frames, when its token is cancelled.
struct Until {
    body: Body,
    cancelled: Pin<Box<WaitForCancellationFutureOwned>>,
}

/// Ends `response` when `token` is cancelled, if it is a stream of events. Every other answer is soon over.
pub(in crate::api) fn until(response: Response, token: &CancellationToken) -> Response {
    let kind = response.headers().get(CONTENT_TYPE);
    if kind.is_none_or(|kind| kind != "text/event-stream") {
        return response;
    }
    // One of its own: all streams of a token would wait for the lock of one whenever they wake.
    let cancelled = Box::pin(token.child_token().cancelled_owned());
    response.map(|body| Body::new(Until { body, cancelled }))
}

// === impl Until ===

impl http_body::Body for Until {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        if self.cancelled.as_mut().poll(cx).is_ready() {
            return Poll::Ready(None);
        }
        Pin::new(&mut self.body).poll_frame(cx)
    }
}
