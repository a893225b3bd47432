//! The beginning of an answer: held back until it says something.
//!
//! What turns out to be no answer before that is told as a failure, with a status of its own, and OpenCode
//! never sees a success. A provider that shows only that it is alive is not held for ever: the child's
//! client gives up an answer without a head.

use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http_body_util::BodyExt;
use tokio::time::{Instant, timeout_at};

use super::judge::{self, Fault, Judge};
use super::meter::Outcome;
use super::relay::{Answer, Call, Progress};

/// Thinking that does not show takes longer; then the head goes out with what there is.
const HOLD: Duration = Duration::from_secs(10);
/// More than this is not kept back.
const MAX_HELD: usize = 256 * 1024;
/// How long to wait for more of what is no stream, to quote it.
const QUOTE_TIMEOUT: Duration = Duration::from_millis(500);

/// An answer that may be shown.
#[derive(Debug)]
pub(super) struct Begun {
    pub(super) first: Bytes,
    pub(super) next: Next,
}

/// What follows the first bytes.
#[derive(Debug)]
pub(super) enum Next {
    More,
    End,
    Fault(Fault),
}

/// Why it must not be shown.
#[derive(Debug)]
pub(super) enum Early {
    Fault(Fault),
    /// Nothing came for the idle timeout.
    Stalled,
}

/// Reads until the answer says something, ends, or has shown for long enough that it is alive.
pub(super) async fn begin(
    answer: &mut Answer,
    judge: &mut Judge,
    call: &mut Call,
    idle: Duration,
) -> Result<Begun, Early> {
    let release = Instant::now() + HOLD;
    let mut progress = Progress::new();
    let mut first = BytesMut::new();
    loop {
        let stalls = progress.last + idle;
        let wake = if first.is_empty() {
            stalls
        } else {
            stalls.min(release)
        };
        let next = match timeout_at(wake, answer.frame()).await {
            Ok(Some(Ok(frame))) => {
                let Ok(data) = frame.into_data() else {
                    continue;
                };
                let line_ended = call.saw(&data);
                progress.saw(data.len(), line_ended);
                let taken = judge.take(&data);
                first.extend_from_slice(&taken.pass);
                match taken.fault {
                    Some(fault) => Next::Fault(fault),
                    None if judge.has_content() || first.len() > MAX_HELD => Next::More,
                    None => continue,
                }
            }
            Ok(Some(Err(_))) => Next::Fault(Fault::Bad(judge::BROKE_OFF)),
            Ok(None) => {
                let (taken, answered) = judge.end();
                first.extend_from_slice(&taken.pass);
                if let Some(answered) = answered {
                    call.outcome(Outcome::Complete(answered));
                }
                taken.fault.map_or(Next::End, Next::Fault)
            }
            Err(_) if Instant::now() >= stalls => return Err(Early::Stalled),
            Err(_) => Next::More,
        };
        return match next {
            Next::Fault(fault) if !judge.has_content() => {
                read_on(answer, judge).await;
                Err(Early::Fault(fault))
            }
            next => Ok(Begun {
                first: first.freeze(),
                next,
            }),
        };
    }
}

/// A little more of it, for the sentence.
async fn read_on(answer: &mut Answer, judge: &mut Judge) {
    let deadline = Instant::now() + QUOTE_TIMEOUT;
    while judge.wants_beginning()
        && let Ok(Some(Ok(frame))) = timeout_at(deadline, answer.frame()).await
    {
        judge.note_beginning(frame.data_ref().map_or(&[][..], |data| data));
    }
}
