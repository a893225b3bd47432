//! What breaks off whatever the actor is doing: an operation that somebody asks for, and the shutdown.

use std::fmt;
use std::pin::pin;

use tokio::sync::mpsc;

use super::super::operation::Operation;
use super::super::request::Request;
use crate::shutdown::Shutdown;

/// What may interrupt a state.
pub(super) enum Interruption {
    Request(Request),
    Shutdown,
}

/// Why a child that could have gone on is ended.
impl fmt::Display for Interruption {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Request(Request {
                operation: Operation::Stop,
                ..
            }) => "POST /engine/stop asked for it",
            Self::Request(_) => "POST /engine/restart asked for it",
            Self::Shutdown => "the sidecar leaves",
        })
    }
}

/// Cancel-safe: receiving from a channel and waiting for a token both are.
pub(super) async fn interruption(
    requests_rx: &mut mpsc::Receiver<Request>,
    shutdown: &Shutdown,
) -> Interruption {
    tokio::select! {
        biased;
        () = shutdown.halt.cancelled() => Interruption::Shutdown,
        request = requests_rx.recv() => request.map_or(Interruption::Shutdown, Interruption::Request),
    }
}

/// Goes on with one step of a start until it is done or is not wanted any more. Whoever asks for what
/// is being done waits with the rest: theirs becomes `request`.
pub(super) async fn unless_interrupted<T>(
    step: impl Future<Output = T>,
    requests_rx: &mut mpsc::Receiver<Request>,
    shutdown: &Shutdown,
    port: u16,
    request: &mut Option<Request>,
) -> Result<T, Interruption> {
    let mut step = pin!(step);
    loop {
        tokio::select! {
            done = &mut step => return Ok(done),
            interruption = interruption(requests_rx, shutdown) => match interruption {
                Interruption::Request(new) if new.operation.is_satisfied_by(port) => *request = Some(new),
                other => return Err(other),
            }
        }
    }
}
