//! Reads an answer from its provider: chunk by chunk, validated, metered and within the idle timeout.
//!
//! A byte now and then is no sign of life: only a finished line, or [`PROGRESS_BYTES`], counts.
//!
//! Small chunks that are waiting together are taken as one, so that a burst of thousands costs a few writes
//! and nothing is delayed. Large ones are taken as they are.

use std::time::Duration;

use bytes::{Bytes, BytesMut};
use futures_util::FutureExt;
use http_body_util::BodyExt;
use tokio::time::{Instant, timeout_at};

use super::body::{Answer, BoxError};
use super::call::Call;
use super::meter::Outcome;
use super::validate::{Taken, Validator};

/// This many bytes are progress even without the end of a line.
const PROGRESS_BYTES: usize = 1024;
/// A chunk this large is taken as it is.
const JOIN_BELOW: usize = 4 * 1024;
/// Smaller ones are joined up to this.
const JOIN_UP_TO: usize = 16 * 1024;
/// How long to wait for more of an answer that is no stream, to quote it.
const QUOTE_TIMEOUT: Duration = Duration::from_millis(500);

/// One answer while it is read.
#[derive(Debug)]
pub(super) struct AnswerReader {
    answer: Answer,
    pub(super) call: Call,
    pub(super) validator: Validator,
    pub(super) idle_timeout: Duration,
    last_progress: Instant,
    bytes_since_progress: usize,
    /// What was received behind the chunk that was taken last.
    behind: Option<Received>,
}

/// What comes next of an answer.
#[derive(Debug)]
pub(super) enum Read {
    Taken(Taken),
    /// The provider ended its answer.
    End(Taken),
    Broken(BoxError),
    /// Nothing came for the idle timeout.
    Stalled,
    /// The caller's own deadline has come first.
    Deadline,
}

type Received = Option<Result<Bytes, BoxError>>;

// === impl AnswerReader ===

impl AnswerReader {
    pub(super) fn new(
        answer: Answer,
        call: Call,
        validator: Validator,
        idle_timeout: Duration,
    ) -> Self {
        Self {
            answer,
            call,
            validator,
            idle_timeout,
            last_progress: Instant::now(),
            bytes_since_progress: 0,
            behind: None,
        }
    }

    /// The next bytes of the answer, its end, or why there are none. Nothing is lost if this is dropped.
    pub(super) async fn read(&mut self, deadline: Option<Instant>) -> Read {
        let stalled_at = self.last_progress + self.idle_timeout;
        let received = if let Some(behind) = self.behind.take() {
            behind
        } else {
            let until = deadline.map_or(stalled_at, |deadline| deadline.min(stalled_at));
            match timeout_at(until, data(&mut self.answer)).await {
                Ok(received) => received,
                Err(_) if until == stalled_at => return Read::Stalled,
                Err(_) => return Read::Deadline,
            }
        };
        match received {
            Some(Ok(first)) => {
                let chunk = self.join(first);
                let taken = self.validator.take(&chunk);
                self.call.received(chunk.len(), self.validator.tokens());
                self.bytes_since_progress += chunk.len();
                let line_ended = memchr::memchr(b'\n', &chunk).is_some();
                if line_ended || self.bytes_since_progress >= PROGRESS_BYTES {
                    self.bytes_since_progress = 0;
                    self.last_progress = Instant::now();
                } else if Instant::now() >= stalled_at {
                    // A provider that sends a byte at a time always has something to be read.
                    return Read::Stalled;
                }
                Read::Taken(taken)
            }
            Some(Err(error)) => Read::Broken(error),
            None => {
                let (taken, answered) = self.validator.end();
                self.call.received(0, self.validator.tokens());
                if let Some(answered) = answered {
                    self.call.outcome(Outcome::Complete(answered));
                }
                Read::End(taken)
            }
        }
    }

    /// `first` and the small chunks that are waiting behind it.
    fn join(&mut self, first: Bytes) -> Bytes {
        let mut joined = BytesMut::new();
        while first.len() < JOIN_BELOW && joined.len() < JOIN_UP_TO {
            match data(&mut self.answer).now_or_never() {
                Some(Some(Ok(next))) if next.len() < JOIN_BELOW => {
                    if joined.is_empty() {
                        joined.reserve(JOIN_UP_TO + JOIN_BELOW);
                        joined.extend_from_slice(&first);
                    }
                    joined.extend_from_slice(&next);
                }
                Some(behind) => {
                    self.behind = Some(behind);
                    break;
                }
                None => break,
            }
        }
        if joined.is_empty() {
            first
        } else {
            joined.freeze()
        }
    }

    /// Reads a little more of an answer that is no stream, so that it can be quoted.
    pub(super) async fn read_quote(&mut self) {
        let deadline = Instant::now() + QUOTE_TIMEOUT;
        while self.validator.wants_start() {
            let next = if let Some(behind) = self.behind.take() {
                behind
            } else {
                let next = timeout_at(deadline, data(&mut self.answer)).await;
                next.unwrap_or_default()
            };
            let Some(Ok(chunk)) = next else { return };
            self.validator.note_start(&chunk);
        }
    }
}

/// The next chunk of a body. Trailers have no place in what the child reads.
async fn data(answer: &mut Answer) -> Received {
    loop {
        match answer.frame().await? {
            Err(error) => return Some(Err(error)),
            Ok(frame) => {
                if let Ok(data) = frame.into_data() {
                    return Some(Ok(data));
                }
            }
        }
    }
}
