//! The answer on its way to the child: passed on event by event, so that memory holds little of it.
//!
//! Ends with the provider's end; with the child's (dropping it drops the provider's connection); with the
//! session's; and when nothing comes for the idle timeout.
//!
//! Small pieces of text that follow a write within the same [`MergeWindow`] wait for its end and go out as one
//! event. The first piece, everything that is no such piece, and the end never wait.

use std::pin::Pin;

use bytes::{Bytes, BytesMut};
use futures_util::stream;
use http_body::Frame;
use http_body_util::{BodyExt, StreamBody};
use tokio::time::Instant;
use tokio_util::sync::WaitForCancellationFutureOwned;

use super::answer_reader::{AnswerReader, Read};
use super::body::{Answer, BoxError};
use super::error;
use super::merge_window::MergeWindow;
use super::provider_error;
use super::stream_start::{Next, Started};
use super::validate::{Fault, Taken};

/// More merged bytes than this do not wait.
const MAX_MERGED: usize = 16 * 1024;

/// Why the child's answer breaks off. It sees a closed connection.
#[derive(Debug, thiserror::Error)]
enum RelayError {
    #[error("the turn is over")]
    Revoked,
    #[error("the provider's stream broke off")]
    Broken,
}

struct Relay {
    reader: AnswerReader,
    revoked: Pin<Box<WaitForCancellationFutureOwned>>,
    merge_window: MergeWindow,
    /// Until then, pieces of text wait.
    window_end: Instant,
    /// What goes out before anything else.
    first: Bytes,
    /// Nothing more is read; how the answer ends.
    ended: Option<Result<(), RelayError>>,
}

/// The body for the child, of an answer of which `started` was read.
pub(super) fn relay(reader: AnswerReader, started: Started, merge_window: MergeWindow) -> Answer {
    let revoked = reader.call.route().revoked.clone();
    let mut relay = Box::new(Relay {
        reader,
        revoked: Box::pin(revoked.cancelled_owned()),
        merge_window,
        window_end: merge_window.end(Instant::now()),
        first: Bytes::new(),
        ended: None,
    });
    match started.next {
        Next::More => relay.first = started.first,
        Next::End => {
            relay.first = started.first;
            relay.ended = Some(Ok(()));
        }
        Next::Fault(fault) => {
            let event = relay.fault(&fault);
            relay.first = joined(started.first, event);
        }
    }
    let frames = stream::unfold(relay, |mut relay| async move {
        let next = relay.next().await?;
        Some((next.map(Frame::data).map_err(BoxError::from), relay))
    });
    StreamBody::new(frames).boxed_unsync()
}

// === impl Relay ===

impl Relay {
    async fn next(&mut self) -> Option<Result<Bytes, RelayError>> {
        let mut out = std::mem::take(&mut self.first);
        while out.is_empty() {
            match self.ended.take() {
                None => out = self.receive().await,
                Some(Ok(())) => return None,
                Some(Err(error)) => {
                    // The server drops what it has not written when a body fails: let it write first.
                    tokio::task::yield_now().await;
                    self.ended = Some(Ok(()));
                    return Some(Err(error));
                }
            }
        }
        Some(Ok(out))
    }

    /// What goes out next; empty if that is nothing yet.
    async fn receive(&mut self) -> Bytes {
        let waiting = self.reader.validator.merged_bytes() > 0;
        let deadline = waiting.then_some(self.window_end);
        let read = tokio::select! {
            biased;
            () = &mut self.revoked => {
                self.ended = Some(Err(RelayError::Revoked));
                return self.reader.validator.take_merged();
            }
            read = self.reader.read(deadline) => read,
        };
        match read {
            Read::Taken(Taken { pass, fault: None }) => self.released(pass),
            Read::Deadline => self.released(Bytes::new()),
            Read::Taken(Taken {
                pass,
                fault: Some(fault),
            }) => joined(pass, self.fault(&fault)),
            Read::End(Taken { pass, fault }) => {
                self.ended = Some(Ok(()));
                let event = fault.map(|fault| self.fault(&fault)).unwrap_or_default();
                joined(pass, event)
            }
            Read::Stalled => {
                // Whole events only have gone out, so one more can be read.
                let idle = self.reader.idle_timeout;
                let message = format!("the provider's stream stalled: nothing came for {idle:?}");
                self.reader.call.failed("provider_stalled", message);
                self.ended = Some(Ok(()));
                let event = error::stall_event(self.reader.validator.dialect(), idle);
                joined(self.reader.validator.take_merged(), event)
            }
            Read::Broken(error) => {
                let message = format!("the provider's stream broke off: {error}");
                self.reader.call.failed("provider_broke_off", message);
                self.ended = Some(Err(RelayError::Broken));
                self.reader.validator.take_merged()
            }
        }
    }

    /// `pass`, and behind it what was merged if that need not wait any longer.
    fn released(&mut self, pass: Bytes) -> Bytes {
        if !self.merge_window.merges() {
            return pass;
        }
        let now = Instant::now();
        let validator = &mut self.reader.validator;
        let out = if now >= self.window_end || validator.merged_bytes() >= MAX_MERGED {
            joined(pass, validator.take_merged())
        } else {
            pass
        };
        if !out.is_empty() {
            self.window_end = self.merge_window.end(now);
        }
        out
    }

    /// Ends the answer with the event that tells of `fault`.
    fn fault(&mut self, fault: &Fault) -> String {
        self.ended = Some(Ok(()));
        let dialect = self.reader.validator.dialect();
        match fault {
            Fault::Told(json) => {
                let message = provider_error::told(json);
                self.reader.call.failed("provider_error", message);
                error::told_event(dialect, json)
            }
            Fault::Bad(why) => {
                let said = self.reader.validator.sentence(why);
                let again = self
                    .reader
                    .call
                    .answered_badly(None, said.clone())
                    .is_some();
                error::bad_answer_event(dialect, &said, again)
            }
        }
    }
}

/// The two as one, copied only if neither is empty.
fn joined(first: Bytes, second: impl Into<Bytes>) -> Bytes {
    let second = second.into();
    if first.is_empty() {
        return second;
    }
    if second.is_empty() {
        return first;
    }
    let mut both = BytesMut::with_capacity(first.len() + second.len());
    both.extend_from_slice(&first);
    both.extend_from_slice(&second);
    both.freeze()
}
