//! What breaks off whatever the actor is doing: an operation that somebody asks for, and the shutdown.

use std::pin::pin;

use tokio::sync::mpsc;

use super::super::handle::Wish;
use crate::shutdown::Shutdown;

/// What may interrupt a state.
pub(super) enum Interruption {
    Wish(Wish),
    Shutdown,
}

/// Cancel-safe: receiving from a channel and waiting for a token both are.
pub(super) async fn interruption(
    wishes_rx: &mut mpsc::Receiver<Wish>,
    shutdown: &Shutdown,
) -> Interruption {
    tokio::select! {
        biased;
        () = shutdown.halt.cancelled() => Interruption::Shutdown,
        wish = wishes_rx.recv() => wish.map_or(Interruption::Shutdown, Interruption::Wish),
    }
}

/// Goes on with one step of a start until it is done or is not wanted any more. Whoever asks for what
/// is being done waits with the rest: his wish becomes `wish`.
pub(super) async fn unless_interrupted<T>(
    step: impl Future<Output = T>,
    wishes_rx: &mut mpsc::Receiver<Wish>,
    shutdown: &Shutdown,
    port: u16,
    wish: &mut Option<Wish>,
) -> Result<T, Interruption> {
    let mut step = pin!(step);
    loop {
        tokio::select! {
            done = &mut step => return Ok(done),
            interruption = interruption(wishes_rx, shutdown) => match interruption {
                Interruption::Wish(new) if new.operation.content_with(port) => *wish = Some(new),
                other => return Err(other),
            }
        }
    }
}
