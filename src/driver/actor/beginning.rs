//! From a request to a turn that runs, or to a refusal that leaves nothing behind in the child.

use std::time::{Duration, Instant};

use futures_util::future::BoxFuture;
use tokio_util::sync::CancellationToken;

use super::super::dispatch::Context;
use super::super::opening::{self, Earlier, Opened};
use crate::clock::Timestamp;
use crate::event::State;
use crate::session::{Command, CreateError, Request, Status, TurnHandle};

/// What was begun is undone in milliseconds where the child is well, and then nobody hears of a refusal before
/// that is done. A child that is not well does not keep anybody waiting.
const UNDOING: Duration = Duration::from_secs(1);

type Opening = BoxFuture<'static, Result<Opened, CreateError>>;

/// A turn that is not to begin.
pub(super) struct Unwanted {
    error: CreateError,
    /// Of whoever cancelled, and waits for this.
    command: Option<Command>,
    /// Whether it would have been the first turn of its session.
    new: bool,
    /// What is under way and has to be undone.
    opening: Option<Opening>,
}

/// Waits until the turn has begun, or until it is not to begin: it cannot, somebody cancelled, the sidecar
/// leaves, or it takes too long.
pub(super) async fn begin(
    request: Request,
    turn_handle: &mut TurnHandle,
    context: &Context,
) -> Result<Opened, Unwanted> {
    let status = turn_handle.session.status();
    let earlier = Earlier {
        spent: status.earlier.calls.clone(),
        remote_id: status.remote_id.clone(),
    };
    let (new, abandoned) = (status.remote_id.is_none(), CancellationToken::new());
    let mut opening: Opening = Box::pin(opening::open(
        request,
        earlier,
        context.clone(),
        abandoned.clone(),
    ));
    let (error, command) = tokio::select! {
        opened = &mut opening => {
            return opened.map_err(|error| Unwanted { error, command: None, new, opening: None });
        }
        // Nothing runs yet that would have to come to its end.
        () = context.shutdown.drain.cancelled() => (CreateError::ShuttingDown, None),
        command = turn_handle.commands_rx.recv() => (CreateError::Cancelled, command),
        () = tokio::time::sleep(opening::DEADLINE) => (opening::late(), None),
    };
    abandoned.cancel();
    Err(Unwanted {
        error,
        command,
        new,
        opening: Some(opening),
    })
}

// === impl Unwanted ===

impl Unwanted {
    /// Tells whoever waits, and undoes what was begun.
    pub(super) async fn refuse(self, turn_handle: TurnHandle, context: &Context) {
        let Self {
            error,
            command,
            new,
            opening,
        } = self;
        tracing::warn!(session.id = turn_handle.session.id, %error, "a turn did not begin");
        let Some(mut opening) = opening else {
            return turn_handle.refuse(error);
        };
        let undone = tokio::time::timeout(UNDOING, &mut opening).await;
        if new && command.is_some() {
            turn_handle.update(cancelled);
        }
        turn_handle.refuse(error);
        drop(command);
        let undone = match undone {
            Ok(undone) => undone,
            Err(_) => opening.await,
        };
        if let Ok(opened) = undone {
            opening::undo(opened, new, context).await;
        }
    }
}

fn cancelled(status: &mut Status) {
    status.state = State::Cancelled;
    status.completed_at = Some(Timestamp::now());
    status.ended = Some(Instant::now());
}
