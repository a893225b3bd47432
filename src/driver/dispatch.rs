//! Takes turns from the registry and gives each a task of its own.

use tokio::sync::{mpsc, watch};
use tokio_util::task::TaskTracker;
use tracing::{Instrument as _, Span};

use super::agent_sessions::AgentSessions;
use super::config::Config;
use super::context::Context;
use super::conversations::Conversations;
use super::demux::Demux;
use super::overlap::RunningTurns;
use super::{actor, child_connection, interrupted, opening};
use crate::session::{Receivers, Registry, Turn, TurnHandle, TurnKind};
use crate::shutdown::Shutdown;
use crate::{egress, engine, gateway, workspace};

/// Starts the driver: one task listens to the child, one takes turns, one deletes what retention removed,
/// and each turn has its own. What is returned answers which sessions the agent has, and what is in them.
pub(crate) fn spawn(
    config: Config,
    (engine, workspace): (engine::Handle, workspace::Watch),
    (gateway, egress): (gateway::Handle, Option<egress::Handle>),
    (registry, receivers): (Registry, Receivers),
    shutdown: Shutdown,
    tracker: &TaskTracker,
) -> (AgentSessions, Conversations) {
    let (connection_tx, connections) = watch::channel(None);
    let demux = Demux::default();
    tracker.spawn(child_connection::follow(
        engine.watch(),
        demux.clone(),
        connection_tx,
        config.workspace.clone(),
        shutdown.gone.clone(),
    ));
    let agent_sessions = AgentSessions::new(connections.clone());
    let context = Context {
        config,
        connections,
        engine,
        workspace,
        gateway,
        egress,
        demux,
        running_turns: RunningTurns::default(),
        registry,
        shutdown,
    };
    let conversations = Conversations::new(context.clone(), tracker.clone());
    tracker.spawn(delete_removed(receivers.removals_rx, context.clone()));
    tracker.spawn(take_turns(receivers.turns_rx, context, tracker.clone()));
    (agent_sessions, conversations)
}

async fn take_turns(mut turns_rx: mpsc::Receiver<Turn>, context: Context, tracker: TaskTracker) {
    let stop = context.shutdown.gone.clone();
    while let Some(Some(turn)) = stop.run_until_cancelled(turns_rx.recv()).await {
        let Turn { kind, turn_handle } = turn;
        let context = context.clone();
        let span = span(&turn_handle);
        match kind {
            TurnKind::Prompt { request, model } => {
                let model = model.map(|model| *model);
                let work = async move {
                    let opening = opening::open((*request, model), turn_handle, &context);
                    if let Some((turn_handle, turn)) = opening.await {
                        actor::run(turn_handle, turn, context).await;
                    }
                };
                tracker.spawn(work.instrument(span))
            }
            TurnKind::Recover(turn) => {
                tracker.spawn(interrupted::run(turn, turn_handle, context).instrument(span))
            }
        };
    }
}

/// Whatever is logged of a turn that is recorded says which trace it is.
fn span(turn_handle: &TurnHandle) -> Span {
    match turn_handle.trace().recorded() {
        Some(context) => tracing::info_span!(
            "turn",
            trace_id = context.trace_id(),
            span_id = context.span_id()
        ),
        None => Span::none(),
    }
}

/// Deletes sessions from the child that retention removed. Without a child they wait for the next.
async fn delete_removed(mut removals_rx: mpsc::Receiver<String>, context: Context) {
    let mut connections = context.connections.clone();
    let delete = async {
        while let Some(remote_id) = removals_rx.recv().await {
            let Some(connection) = child_connection::next(&mut connections).await else {
                return;
            };
            match connection.client.delete_session(&remote_id).await {
                Ok(()) => context.demux.forget(&remote_id),
                Err(error) => tracing::debug!(%error, "an old session stays in the engine"),
            }
        }
    };
    context.shutdown.gone.run_until_cancelled(delete).await;
}
