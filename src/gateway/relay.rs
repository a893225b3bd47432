//! The answer on its way to the child: passed on chunk by chunk, metered, never collected.
//!
//! Ends with the provider's end; with the child's (dropping it drops the provider's connection); with the
//! session's; and when nothing worth the name comes for the idle timeout. A byte now and then is nothing:
//! only a finished line, or [`PROGRESS_BYTES`], counts as progress.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http_body::{Body, Frame};
use http_body_util::combinators::UnsyncBoxBody;
use tokio::time::{Instant, Sleep};
use tokio_util::sync::WaitForCancellationFutureOwned;

use super::error;
use super::meter::{CallId, LastError, Outcome};
use super::provider::Dialect;
use super::table::Entry;
use super::usage::Tap;

pub(super) type BoxError = Box<dyn std::error::Error + Send + Sync>;
/// A body from a provider, or from the demo model.
pub(super) type Answer = UnsyncBoxBody<Bytes, BoxError>;

/// So much is progress even without the end of a line.
const PROGRESS_BYTES: usize = 1024;

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
        self.entry.meter.answering(self.id);
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
            .end(self.id, self.started.elapsed(), tokens, outcome);
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

    fn stalled(&mut self) -> Result<Frame<Bytes>, RelayError> {
        let message = format!(
            "the provider's stream stalled: nothing came for {:?}",
            self.idle_timeout
        );
        self.call.broken("provider_stalled", message);
        if self.call.tap.as_ref().is_some_and(Tap::between_lines) {
            let event = error::stall_event(self.dialect, self.idle_timeout);
            return Ok(Frame::data(Bytes::from(event)));
        }
        Err(RelayError::Stalled)
    }
}

impl Body for Relay {
    type Data = Bytes;
    type Error = RelayError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, RelayError>>> {
        let this = &mut *self;
        if this.done {
            return Poll::Ready(None);
        }
        if this.revoked.as_mut().poll(cx).is_ready() {
            this.done = true;
            return Poll::Ready(Some(Err(RelayError::Revoked)));
        }
        match Pin::new(&mut this.answer).poll_frame(cx) {
            Poll::Ready(Some(Ok(frame))) => {
                if let Some(data) = frame.data_ref() {
                    this.saw(data);
                }
                // A provider that sends without pause must not outrun the idle check of a dripping one.
                if this.is_stalled(cx) {
                    this.done = true;
                    return Poll::Ready(Some(this.stalled()));
                }
                Poll::Ready(Some(Ok(frame)))
            }
            Poll::Ready(Some(Err(error))) => {
                this.done = true;
                this.call.broken(
                    "provider_broke_off",
                    format!("the provider's stream broke off: {error}"),
                );
                Poll::Ready(Some(Err(RelayError::Broken)))
            }
            Poll::Ready(None) => {
                this.done = true;
                this.call.outcome(Outcome::Complete);
                Poll::Ready(None)
            }
            Poll::Pending if this.is_stalled(cx) => {
                this.done = true;
                Poll::Ready(Some(this.stalled()))
            }
            Poll::Pending => Poll::Pending,
        }
    }

    fn is_end_stream(&self) -> bool {
        self.done
    }
}
