//! The body of a stream: whatever lies in the log, in as few pieces as it lies there.
//!
//! The server polls the body only while the socket takes more, so a slow reader pulls slowly and holds
//! nothing here but its place. There is no allocation per event: a piece is a slice of the log. (With async-stream
//! each event would set a timer for the heartbeat, which costs more than the event does.)

use std::convert::Infallible;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use http_body::{Body, Frame};
use tokio::time::{Instant, Sleep, sleep_until};
use tokio_util::sync::CancellationToken;

use crate::api::access::StreamReport;
use crate::api::encode::sse;
use crate::session::limits::StreamPermit;
use crate::session::log::{Cursor, End, EventId, Readable, Step};

/// Silence after which a heartbeat is sent: half of what common proxies allow at the least.
pub(super) const HEARTBEAT_INTERVAL: Duration = Duration::from_secs(15);

/// Where a stream's events come from.
pub(crate) trait Events: Send + 'static {
    fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<Step>;

    /// The place to tell a reader that has passed events it is not shown, once per place.
    fn skipped_to(&mut self) -> Option<EventId>;

    /// How many events went out, and how many more could be read now.
    fn progress(&self) -> (u64, u64);
}

pub(super) struct SseBody<C: Events> {
    opening: Option<Bytes>,
    cursor: C,
    /// Whether the process is about to end, and how long the reader is to wait then before it reconnects.
    leaving: CancellationToken,
    retry: Duration,
    /// When the reader last got something.
    last_sent: Instant,
    /// Set again only when it fires, not with each event: moving a timer costs more than an event.
    idle_timer: Pin<Box<Sleep>>,
    end: Option<End>,
    report: Arc<StreamReport>,
    /// Held for its drop.
    _permit: StreamPermit,
}

// === impl Events ===

impl<R: Readable + Unpin> Events for Cursor<R> {
    fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<Step> {
        self.poll_next(cx)
    }

    fn skipped_to(&mut self) -> Option<EventId> {
        self.skipped_to()
    }

    fn progress(&self) -> (u64, u64) {
        self.progress()
    }
}

// === impl SseBody ===

impl<C: Events> SseBody<C> {
    pub(super) fn new(
        opening: Bytes,
        cursor: C,
        permit: StreamPermit,
        report: Arc<StreamReport>,
        (leaving, retry): (CancellationToken, Duration),
    ) -> Self {
        let last_sent = Instant::now();
        Self {
            opening: Some(opening),
            cursor,
            leaving,
            retry,
            last_sent,
            idle_timer: Box::pin(sleep_until(last_sent + HEARTBEAT_INTERVAL)),
            end: None,
            report,
            _permit: permit,
        }
    }

    fn poll_bytes(&mut self, cx: &mut Context<'_>) -> Poll<Option<Bytes>> {
        if let Some(opening) = self.opening.take() {
            return Poll::Ready(Some(opening));
        }
        if self.end.is_some() {
            return Poll::Ready(None);
        }
        match self.cursor.poll_next(cx) {
            Poll::Ready(Step::Frames(bytes)) => Poll::Ready(Some(bytes)),
            Poll::Ready(Step::Gap(gap)) => Poll::Ready(Some(sse::gap(&gap))),
            Poll::Ready(Step::End(end)) => {
                self.end = Some(end);
                // Also after the last event of a turn: the shutdown may have ended it.
                let leaves = end != End::Idle || self.leaving.is_cancelled();
                Poll::Ready(leaves.then(|| sse::retry(self.retry)))
            }
            Poll::Pending => {
                ready!(self.poll_idle(cx));
                let passed = self.cursor.skipped_to();
                Poll::Ready(Some(sse::heartbeat(passed)))
            }
        }
    }

    /// Ready once the reader has got nothing for [`HEARTBEAT_INTERVAL`].
    fn poll_idle(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        loop {
            ready!(self.idle_timer.as_mut().poll(cx));
            let until = self.last_sent + HEARTBEAT_INTERVAL;
            if until <= Instant::now() {
                return Poll::Ready(());
            }
            self.idle_timer.as_mut().reset(until);
        }
    }
}

impl<C: Events> Drop for SseBody<C> {
    fn drop(&mut self) {
        let end = self.end.map(|end| match end {
            End::Idle => "idle",
            End::Closed => "closed",
            End::Unreadable => "unreadable",
        });
        self.report.set(self.cursor.progress(), end);
    }
}

impl<C: Events + Unpin> Body for SseBody<C> {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        let bytes = ready!(self.poll_bytes(cx));
        self.last_sent = Instant::now();
        Poll::Ready(bytes.map(|bytes| Ok(Frame::data(bytes))))
    }
}
