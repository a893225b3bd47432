//! The beginning of an answer is held back until it says something.
//!
//! An answer that turns out to be none before that is told as a failure, with a status of its own, and
//! OpenCode never sees a success. A provider that shows only that it is alive is not held for ever: the
//! child's client gives up an answer without a head.

use std::time::Duration;

use bytes::{Bytes, BytesMut};
use tokio::time::Instant;

use super::answer_reader::{AnswerReader, Read};
use super::validate::{BROKE_OFF, Fault};

/// Reasoning that the provider does not show takes longer; then the head goes out with what there is.
const MAX_HOLD: Duration = Duration::from_secs(10);
/// More than this is not kept back.
const MAX_HELD: usize = 256 * 1024;

/// An answer that may be shown.
#[derive(Debug)]
pub(super) struct Started {
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

/// Why an answer must not be shown.
#[derive(Debug)]
pub(super) enum StartError {
    Fault(Fault),
    /// Nothing came for the idle timeout.
    Stalled,
}

/// Reads until the answer says something, ends, or has shown for long enough that it is alive.
pub(super) async fn start(reader: &mut AnswerReader) -> Result<Started, StartError> {
    let release = Instant::now() + MAX_HOLD;
    let mut first = BytesMut::new();
    loop {
        let deadline = (!first.is_empty()).then_some(release);
        let next = match reader.read(deadline).await {
            Read::Taken(taken) => {
                first.extend_from_slice(&taken.pass);
                first.extend_from_slice(&reader.validator.take_merged());
                match taken.fault {
                    Some(fault) => Next::Fault(fault),
                    None if reader.validator.has_content() || first.len() > MAX_HELD => Next::More,
                    None => continue,
                }
            }
            Read::End(taken) => {
                first.extend_from_slice(&taken.pass);
                taken.fault.map_or(Next::End, Next::Fault)
            }
            Read::Broken(_) => Next::Fault(Fault::Bad(BROKE_OFF)),
            Read::Stalled => return Err(StartError::Stalled),
            Read::Deadline => Next::More,
        };
        return match next {
            Next::Fault(fault) if !reader.validator.has_content() => {
                reader.read_quote().await;
                Err(StartError::Fault(fault))
            }
            next => Ok(Started {
                first: first.freeze(),
                next,
            }),
        };
    }
}
