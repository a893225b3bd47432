//! One log line per request: when its answer is made, or, of a stream, when it has ended.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll};
use std::time::Instant;

use axum::body::Body;
use axum::extract::MatchedPath;
use axum::http::Method;
use axum::response::Response;
use bytes::Bytes;
use http_body::{Body as _, Frame, SizeHint};
use parking_lot::Mutex;
use tracing::Span;

use crate::clock::millis;

/// What is known of a request from its head.
#[derive(Debug)]
pub(super) struct RequestHead {
    pub(super) method: Method,
    pub(super) path: String,
    pub(super) route: Option<MatchedPath>,
    pub(super) begun: Instant,
}

/// How a stream of events went. Its body fills it in, and the log line tells it.
#[derive(Debug, Default)]
pub(super) struct StreamReport {
    sent: AtomicU64,
    lag: AtomicU64,
    /// Nothing if its reader left.
    end: Mutex<Option<&'static str>>,
}

/// The body of an answer whose length is not known before its end: the request is logged when it is dropped.
struct LoggedBody {
    inner: Body,
    bytes: u64,
    head: RequestHead,
    status: u16,
    report: Option<Arc<StreamReport>>,
    span: Span,
}

/// Logs the request, now or at the end of its answer.
pub(super) fn log(head: RequestHead, response: Response) -> Response {
    let report = response.extensions().get::<Arc<StreamReport>>().cloned();
    let status = response.status().as_u16();
    if report.is_none()
        && let Some(bytes) = response.body().size_hint().exact()
    {
        write_line(&head, status, bytes, None);
        return response;
    }
    response.map(|inner| {
        Body::new(LoggedBody {
            inner,
            bytes: 0,
            head,
            status,
            report,
            span: Span::current(),
        })
    })
}

/// Reading that went well is frequent and harmless, so it is logged for whoever looks closer.
fn write_line(head: &RequestHead, status: u16, bytes: u64, report: Option<&StreamReport>) {
    let RequestHead {
        method,
        path,
        route,
        begun,
    } = head;
    let ms = millis(begun.elapsed());
    let route = route.as_ref().map(MatchedPath::as_str);
    let events = report.map(|report| report.sent.load(Ordering::Relaxed));
    let lag = report.map(|report| report.lag.load(Ordering::Relaxed));
    let end = report.map(|report| report.end.lock().unwrap_or("left"));
    macro_rules! line {
        ($level:ident) => {
            tracing::$level!(
                http.method = %method, http.path = path, http.route = route, http.status = status, ms, bytes,
                stream.end = end, stream.events = events, stream.lag = lag, "answered"
            )
        };
    }
    if method.is_safe() && (100..300).contains(&status) {
        line!(debug);
    } else {
        line!(info);
    }
}

// === impl StreamReport ===

impl StreamReport {
    /// `sent` events went out, and so many that could be read did not.
    pub(super) fn set(&self, (sent, lag): (u64, u64), end: Option<&'static str>) {
        self.sent.store(sent, Ordering::Relaxed);
        self.lag.store(lag, Ordering::Relaxed);
        *self.end.lock() = end;
    }
}

// === impl LoggedBody ===

impl http_body::Body for LoggedBody {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        let polled = Pin::new(&mut self.inner).poll_frame(cx);
        if let Poll::Ready(Some(Ok(frame))) = &polled {
            self.bytes += frame.data_ref().map_or(0, |data| data.len() as u64);
        }
        polled
    }

    fn is_end_stream(&self) -> bool {
        self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}

impl Drop for LoggedBody {
    fn drop(&mut self) {
        // With it goes the stream, which says how it went.
        self.inner = Body::empty();
        let _entered = self.span.enter();
        write_line(&self.head, self.status, self.bytes, self.report.as_deref());
    }
}
