//! The answer on its way to the child: passed on chunk by chunk, metered, never collected.
//!
//! Ends with the provider's end; with the child's (dropping it drops the provider's connection); with the
//! session's; and when nothing worth the name comes for the idle timeout. A byte now and then is nothing:
//! only a finished line, or [`PROGRESS_BYTES`], counts as progress.
//!
//! Small chunks that are waiting together go on as one: nothing is delayed, and a burst of thousands costs
//! a few writes. Large ones are passed as they are.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http_body::{Body, Frame};
use http_body_util::combinators::UnsyncBoxBody;
use tokio::time::{Instant, Sleep};
use tokio_util::sync::WaitForCancellationFutureOwned;

use super::error;
use super::meter::{CallId, LastError, Outcome};
use super::table::Entry;
use super::usage::Tap;
use crate::provider::Dialect;

pub(super) type BoxError = Box<dyn std::error::Error + Send + Sync>;
/// A body from a provider, or from the demo model.
pub(super) type Answer = UnsyncBoxBody<Bytes, BoxError>;

/// So much is progress even without the end of a line.
const PROGRESS_BYTES: usize = 1024;
/// A chunk this large is passed as it is.
const JOIN_BELOW: usize = 4 * 1024;
/// Smaller ones are joined up to this.
const JOIN_UP_TO: usize = 16 * 1024;

/// Why the child's answer breaks off. It sees a closed connection.
#[derive(Debug, thiserror::Error)]
pub(super) enum RelayError {
    #[error("the turn is over")]
    Revoked,
    #[error("the provider's stream broke off")]
    Broken,
    #[error("the provider's stream stalled within an event")]
    Stalled,
}

/// One call that was begun. Whatever happens, it is ended once: a dropped call was cut.
#[derive(Debug)]
pub(super) struct Call {
    entry: Arc<Entry>,
    id: CallId,
    started: Instant,
    tap: Option<Tap>,
    /// The answer's first byte has passed.
    begun: bool,
    outcome: Option<Outcome>,
}

/// An answer that is passing.
pub(super) struct Relay {
    answer: Answer,
    call: Call,
    dialect: Dialect,
    revoked: Pin<Box<WaitForCancellationFutureOwned>>,
    idle_timeout: Duration,
    idle: Pin<Box<Sleep>>,
    last_progress: Instant,
    since_progress: usize,
    /// What came right behind the chunk that was passed last.
    behind: Option<Received>,
    /// What is said when everything before it has gone out.
    ending: Option<RelayError>,
    done: bool,
}

// === impl Call ===

impl Call {
    pub(super) const fn new(entry: Arc<Entry>, id: CallId, started: Instant) -> Self {
        Self {
            entry,
            id,
            started,
            tap: None,
            begun: false,
            outcome: None,
        }
    }

    pub(super) fn entry(&self) -> &Arc<Entry> {
        &self.entry
    }

    pub(super) fn answering(&mut self, tap: Tap) {
        self.entry.meter.answering(&self.id);
        self.tap = Some(tap);
    }

    fn saw(&mut self, data: &[u8]) -> bool {
        if !std::mem::replace(&mut self.begun, true) {
            self.entry.meter.first_byte(self.started.elapsed());
        }
        self.tap.as_mut().is_some_and(|tap| tap.see(data))
    }

    pub(super) fn outcome(&mut self, outcome: Outcome) {
        self.outcome.get_or_insert(outcome);
    }

    fn broken(&mut self, code: &'static str, message: String) {
        self.outcome(Outcome::Failed(LastError {
            code,
            status: None,
            message,
        }));
    }
}

impl Drop for Call {
    fn drop(&mut self) {
        let tokens = self.tap.take().and_then(Tap::finish);
        let outcome = self.outcome.take().unwrap_or(Outcome::Cut);
        self.entry
            .meter
            .end(&self.id, self.started.elapsed(), tokens, outcome);
    }
}

// === impl Relay ===

impl Relay {
    /// `call` must be answering.
    pub(super) fn new(
        answer: Answer,
        call: Call,
        dialect: Dialect,
        idle_timeout: Duration,
    ) -> Self {
        Self {
            answer,
            dialect,
            revoked: Box::pin(call.entry.revoked.clone().cancelled_owned()),
            call,
            idle_timeout,
            idle: Box::pin(tokio::time::sleep(idle_timeout)),
            last_progress: Instant::now(),
            since_progress: 0,
            behind: None,
            ending: None,
            done: false,
        }
    }

    fn saw(&mut self, data: &[u8]) {
        self.since_progress += data.len();
        let line_ended = self.call.saw(data);
        if line_ended || self.since_progress >= PROGRESS_BYTES {
            self.since_progress = 0;
            self.last_progress = Instant::now();
        }
    }

    /// Whether the idle time is over. The timer is moved only when it fires, not with every chunk.
    fn is_stalled(&mut self, cx: &mut Context<'_>) -> bool {
        while self.idle.as_mut().poll(cx).is_ready() {
            let deadline = self.last_progress + self.idle_timeout;
            if deadline <= Instant::now() {
                return true;
            }
            self.idle.as_mut().reset(deadline);
        }
        false
    }

    /// Breaks the answer off. The server drops what it has not written when a body fails, so it is given
    /// one more chance to write.
    fn break_off(&mut self, cx: &Context<'_>, error: RelayError) -> Polled {
        self.ending = Some(error);
        cx.waker().wake_by_ref();
        Poll::Pending
    }

    fn stalled(&mut self, cx: &Context<'_>) -> Polled {
        let idle = self.idle_timeout;
        let message = format!("the provider's stream stalled: nothing came for {idle:?}");
        self.call.broken("provider_stalled", message);
        if self.call.tap.as_ref().is_some_and(Tap::between_lines) {
            self.done = true;
            let event = error::stall_event(self.dialect, idle);
            return Poll::Ready(Some(Ok(Frame::data(Bytes::from(event)))));
        }
        self.break_off(cx, RelayError::Stalled)
    }

    /// The next chunk of the answer. Trailers have no place in what the child reads.
    fn poll_data(&mut self, cx: &mut Context<'_>) -> Poll<Received> {
        loop {
            match ready!(Pin::new(&mut self.answer).poll_frame(cx)) {
                None => return Poll::Ready(None),
                Some(Err(error)) => return Poll::Ready(Some(Err(error))),
                Some(Ok(frame)) => {
                    if let Ok(data) = frame.into_data() {
                        return Poll::Ready(Some(Ok(data)));
                    }
                }
            }
        }
    }

    /// `first` and the small chunks that are waiting behind it.
    fn join(&mut self, cx: &mut Context<'_>, first: Bytes) -> Bytes {
        let mut joined = BytesMut::new();
        while first.len() < JOIN_BELOW && joined.len() < JOIN_UP_TO {
            match self.poll_data(cx) {
                Poll::Ready(Some(Ok(next))) if next.len() < JOIN_BELOW => {
                    if joined.is_empty() {
                        joined.reserve(JOIN_UP_TO + JOIN_BELOW);
                        joined.extend_from_slice(&first);
                    }
                    joined.extend_from_slice(&next);
                }
                Poll::Ready(behind) => {
                    self.behind = Some(behind);
                    break;
                }
                Poll::Pending => break,
            }
        }
        if joined.is_empty() {
            first
        } else {
            joined.freeze()
        }
    }

    fn pass(&mut self, cx: &mut Context<'_>, received: Received) -> Polled {
        match received {
            Some(Ok(first)) => {
                let data = self.join(cx, first);
                self.saw(&data);
                // A dripping provider always has something to pass, so the time is looked at here too.
                if self.is_stalled(cx) {
                    self.stalled(cx)
                } else {
                    Poll::Ready(Some(Ok(Frame::data(data))))
                }
            }
            Some(Err(error)) => {
                self.call.broken(
                    "provider_broke_off",
                    format!("the provider's stream broke off: {error}"),
                );
                self.break_off(cx, RelayError::Broken)
            }
            None => {
                self.done = true;
                self.call.outcome(Outcome::Complete);
                Poll::Ready(None)
            }
        }
    }
}

type Received = Option<Result<Bytes, BoxError>>;
type Polled = Poll<Option<Result<Frame<Bytes>, RelayError>>>;

impl Body for Relay {
    type Data = Bytes;
    type Error = RelayError;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Polled {
        let this = &mut *self;
        if let Some(error) = this.ending.take() {
            this.done = true;
            return Poll::Ready(Some(Err(error)));
        }
        if this.done {
            return Poll::Ready(None);
        }
        if this.revoked.as_mut().poll(cx).is_ready() {
            return this.break_off(cx, RelayError::Revoked);
        }
        if let Some(behind) = this.behind.take() {
            return this.pass(cx, behind);
        }
        match this.poll_data(cx) {
            Poll::Ready(received) => this.pass(cx, received),
            Poll::Pending if this.is_stalled(cx) => this.stalled(cx),
            Poll::Pending => Poll::Pending,
        }
    }

    fn is_end_stream(&self) -> bool {
        self.done
    }
}
