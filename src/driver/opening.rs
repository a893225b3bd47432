//! From a request to a turn that runs, or to a refusal that leaves nothing behind in the child.

use std::time::{Duration, Instant};

use tokio_util::sync::CancellationToken;

use super::context::Context;
use super::open_turn::OpenTurn;
use super::start::{Asked, delete_unopened, start};
use crate::clock::Timestamp;
use crate::event::State;
use crate::model::ModelSpec;
use crate::session::{CreateError, Request, TurnHandle};

/// The client gives up after 30 s; it gets an answer before that.
const DEADLINE: Duration = Duration::from_secs(20);

/// A child that is well undoes what was begun within milliseconds, and the refusal waits for that. A child that
/// is not well does not keep anybody waiting for longer than this.
const UNDO_TIMEOUT: Duration = Duration::from_secs(1);

/// Starts the turn that `request` asks for and accepts it. If it cannot start, is cancelled, takes too
/// long or the sidecar leaves, the client is refused instead and what was begun is undone: then `None`.
pub(super) async fn open(
    (request, model): (Request, Option<ModelSpec>),
    mut turn_handle: TurnHandle,
    context: &Context,
) -> Option<(TurnHandle, OpenTurn)> {
    let session = turn_handle.session.clone();
    let status = session.status();
    let new = status.remote_id.is_none();
    let asked = Asked {
        request,
        model,
        session: session.clone(),
        status,
        beginning: turn_handle.beginning(),
        trace: turn_handle.trace().clone(),
    };
    let abandoned = CancellationToken::new();
    // Not dropped in the middle: OpenCode could be making a session whose id only its answer says.
    let mut starting = Box::pin(async {
        // The semaphore is never closed.
        let _conversation = session.conversation.acquire().await;
        start(&asked, context, &abandoned).await
    });
    let (error, cancelled) = tokio::select! {
        started = &mut starting => match started {
            Ok(turn) => {
                tracing::info!(
                    session.id = session.id,
                    session.remote_id = turn.remote_id,
                    turn.number = turn_handle.turn(),
                    "session running"
                );
                turn_handle.accept(&turn.remote_id, turn.before.clone());
                return Some((turn_handle, turn));
            }
            Err(error) => {
                tracing::warn!(session.id = session.id, %error, "a turn did not begin");
                turn_handle.refuse(error);
                return None;
            }
        },
        // Nothing runs yet that would have to come to its end.
        () = context.shutdown.drain.cancelled() => (CreateError::ShuttingDown, None),
        cancelled = turn_handle.cancelled() => (CreateError::Cancelled, cancelled),
        () = tokio::time::sleep(DEADLINE) => (
            CreateError::EngineUnavailable("the engine did not take the session in time".into()),
            None,
        ),
    };
    tracing::warn!(session.id = session.id, %error, "a turn did not begin");
    abandoned.cancel();
    let undone = tokio::time::timeout(UNDO_TIMEOUT, &mut starting).await;
    if new && cancelled.is_some() {
        turn_handle.update(|status| {
            status.state = State::Cancelled;
            status.completed_at = Some(Timestamp::now());
            status.ended = Some(Instant::now());
        });
    }
    turn_handle.refuse(error);
    // Whoever cancelled has waited for this.
    drop(cancelled);
    let undone = match undone {
        Ok(undone) => undone,
        Err(_) => starting.await,
    };
    if let Ok(turn) = undone {
        turn.connection.abort(&turn.remote_id).await;
        drop(turn.grant);
        if new {
            delete_unopened(&turn.connection, turn.remote_id, context).await;
        }
    }
    None
}
