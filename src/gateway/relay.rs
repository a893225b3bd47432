//! The answer on its way to the child: judged, metered, and passed on event by event, never collected.
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

use super::error::{self, BAD_ANSWER};
use super::hold::{Begun, Next};
use super::judge::{Fault, Judge, Taken};
use super::meter::{CallId, LastError, Outcome};
use super::refusal;
use super::table::Entry;
use super::usage::Tap;

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
}

/// When there last was something worth the name.
#[derive(Debug)]
pub(super) struct Progress {
    pub(super) last: Instant,
    bytes: usize,
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
    judge: Judge,
    revoked: Pin<Box<WaitForCancellationFutureOwned>>,
    idle_timeout: Duration,
    idle: Pin<Box<Sleep>>,
    progress: Progress,
    /// What goes out before anything else.
    first: Bytes,
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

    pub(super) fn saw(&mut self, data: &[u8]) -> bool {
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

    /// How long the child is to wait after a failure whose provider does not say.
    pub(super) fn pause(&self) -> Duration {
        self.entry.meter.pause_after_failure(&self.id)
    }

    /// What came is no answer. Says how long the child is to wait before it calls again, if it is to.
    pub(super) fn was_bad(&mut self, status: Option<u16>, message: String) -> Option<Duration> {
        let pause = self.entry.meter.pause_after_bad_answer(&self.id);
        self.outcome(Outcome::Bad(LastError {
            code: BAD_ANSWER,
            status,
            message,
        }));
        pause
    }
}

// === impl Progress ===

impl Progress {
    pub(super) fn new() -> Self {
        Self {
            last: Instant::now(),
            bytes: 0,
        }
    }

    pub(super) fn saw(&mut self, bytes: usize, line_ended: bool) {
        self.bytes += bytes;
        if line_ended || self.bytes >= PROGRESS_BYTES {
            self.bytes = 0;
            self.last = Instant::now();
        }
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
    /// `call` must be answering, and `judge` have seen what `begun` says.
    pub(super) fn new(
        answer: Answer,
        call: Call,
        judge: Judge,
        begun: Begun,
        idle_timeout: Duration,
    ) -> Self {
        let mut relay = Self {
            answer,
            judge,
            revoked: Box::pin(call.entry.revoked.clone().cancelled_owned()),
            call,
            idle_timeout,
            idle: Box::pin(tokio::time::sleep(idle_timeout)),
            progress: Progress::new(),
            first: begun.first,
            behind: None,
            ending: None,
            done: false,
        };
        match begun.next {
            Next::More => {}
            Next::End => relay.done = true,
            Next::Fault(fault) => {
                let mut first = BytesMut::from(&*relay.first);
                first.extend_from_slice(relay.fault(&fault).as_bytes());
                relay.first = first.freeze();
            }
        }
        relay
    }

    /// Whether the idle time is over. The timer is moved only when it fires, not with every chunk.
    fn is_stalled(&mut self, cx: &mut Context<'_>) -> bool {
        while self.idle.as_mut().poll(cx).is_ready() {
            let deadline = self.progress.last + self.idle_timeout;
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

    /// Whole events only have gone out, so one more can be read.
    fn stalled(&mut self) -> Polled {
        let idle = self.idle_timeout;
        let message = format!("the provider's stream stalled: nothing came for {idle:?}");
        self.call.broken("provider_stalled", message);
        self.done = true;
        let event = error::stall_event(self.judge.dialect(), idle);
        Poll::Ready(Some(Ok(Frame::data(Bytes::from(event)))))
    }

    /// Ends the answer with the event that tells of `fault`.
    fn fault(&mut self, fault: &Fault) -> String {
        self.done = true;
        let dialect = self.judge.dialect();
        match fault {
            Fault::Told(json) => {
                self.call.broken("provider_error", refusal::told(json));
                error::told_event(dialect, json)
            }
            Fault::Bad(why) => {
                let said = self.judge.sentence(why);
                let again = self.call.was_bad(None, said.clone()).is_some();
                error::bad_answer_event(dialect, &said, again)
            }
        }
    }

    /// What may go out; `None` if that is nothing yet.
    fn taken(&mut self, taken: Taken) -> Option<Polled> {
        let mut pass = taken.pass;
        if let Some(fault) = &taken.fault {
            let mut whole = BytesMut::from(&*pass);
            whole.extend_from_slice(self.fault(fault).as_bytes());
            pass = whole.freeze();
        }
        (!pass.is_empty()).then(|| Poll::Ready(Some(Ok(Frame::data(pass)))))
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

    /// Passes on what was received; `None` if nothing of it may go out yet.
    fn pass(&mut self, cx: &mut Context<'_>, received: Received) -> Option<Polled> {
        match received {
            Some(Ok(first)) => {
                let data = self.join(cx, first);
                let line_ended = self.call.saw(&data);
                self.progress.saw(data.len(), line_ended);
                // A dripping provider always has something to pass, so the time is looked at here too.
                if self.is_stalled(cx) {
                    return Some(self.stalled());
                }
                let taken = self.judge.take(&data);
                self.taken(taken)
            }
            Some(Err(error)) => {
                self.call.broken(
                    "provider_broke_off",
                    format!("the provider's stream broke off: {error}"),
                );
                Some(self.break_off(cx, RelayError::Broken))
            }
            None => {
                self.done = true;
                let (taken, answered) = self.judge.end();
                if let Some(answered) = answered {
                    self.call.outcome(Outcome::Complete(answered));
                }
                Some(self.taken(taken).unwrap_or(Poll::Ready(None)))
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
        if !this.first.is_empty() {
            let first = std::mem::take(&mut this.first);
            return Poll::Ready(Some(Ok(Frame::data(first))));
        }
        if this.done {
            return Poll::Ready(None);
        }
        if this.revoked.as_mut().poll(cx).is_ready() {
            return this.break_off(cx, RelayError::Revoked);
        }
        loop {
            let received = match this.behind.take() {
                Some(behind) => behind,
                None => match this.poll_data(cx) {
                    Poll::Ready(received) => received,
                    Poll::Pending if this.is_stalled(cx) => return this.stalled(),
                    Poll::Pending => return Poll::Pending,
                },
            };
            if let Some(polled) = this.pass(cx, received) {
                return polled;
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        self.done && self.first.is_empty()
    }
}
