//! Takes sessions from the registry and gives each a task of its own.

use tokio::sync::{mpsc, watch};
use tokio_util::task::TaskTracker;

use super::agent_sessions::AgentSessions;
use super::demux::Demux;
use super::overlap::RunningTurns;
use super::{Config, actor, link, recovery};
use crate::engine;
use crate::gateway;
use crate::session::{Receivers, Registry, Turn, TurnKind};
use crate::shutdown::Shutdown;
use crate::workspace;

/// What all sessions share. Cheap to clone.
#[derive(Clone, Debug)]
pub(super) struct Context {
    pub(super) config: Config,
    pub(super) links: link::Watch,
    pub(super) engine: engine::Handle,
    pub(super) workspace: workspace::Watch,
    pub(super) gateway: gateway::Handle,
    pub(super) demux: Demux,
    pub(super) running_turns: RunningTurns,
    pub(super) registry: Registry,
    pub(super) shutdown: Shutdown,
}

/// Starts driving: one task listens to the child, one takes seats, and one drives each session. What is
/// returned answers which sessions the agent has.
pub(crate) fn spawn(
    config: Config,
    (engine, workspace): (engine::Handle, workspace::Watch),
    gateway: gateway::Handle,
    (registry, receivers): (Registry, Receivers),
    shutdown: Shutdown,
    tracker: &TaskTracker,
) -> AgentSessions {
    let (link_tx, links) = watch::channel(None);
    let demux = Demux::default();
    tracker.spawn(link::keep(
        engine.watch(),
        demux.clone(),
        link_tx,
        config.workspace.clone(),
        shutdown.gone.clone(),
    ));
    let agent_sessions = AgentSessions::new(links.clone());
    let running_turns = RunningTurns::default();
    let context = Context {
        config,
        links,
        engine,
        workspace,
        gateway,
        demux,
        running_turns,
        registry,
        shutdown,
    };
    tracker.spawn(delete_removed(receivers.removals_rx, context.clone()));
    tracker.spawn(take_turns(receivers.turns_rx, context, tracker.clone()));
    agent_sessions
}

async fn take_turns(mut turns_rx: mpsc::Receiver<Turn>, context: Context, tracker: TaskTracker) {
    let stop = context.shutdown.gone.clone();
    while let Some(Some(turn)) = stop.run_until_cancelled(turns_rx.recv()).await {
        match turn.kind {
            TurnKind::Prompt(request) => {
                tracker.spawn(actor::run(*request, turn.turn_handle, context.clone()));
            }
            TurnKind::Recover(interrupted) => {
                tracker.spawn(recovery::run(
                    interrupted,
                    turn.turn_handle,
                    context.clone(),
                ));
            }
        }
    }
}

/// Sessions that nobody can ask for any more go from the child too. Without one they wait for the next.
async fn delete_removed(mut removals_rx: mpsc::Receiver<String>, context: Context) {
    let stop = context.shutdown.gone.clone();
    let mut links = context.links.clone();
    let delete = async {
        while let Some(remote_id) = removals_rx.recv().await {
            let Ok(link) = links
                .wait_for(Option::is_some)
                .await
                .map(|link| link.clone())
            else {
                return;
            };
            let Some(link) = link else { continue };
            match link.client.delete_session(&remote_id).await {
                Ok(()) => context.demux.forget(&remote_id),
                Err(error) => tracing::debug!(%error, "an old session stays in the engine"),
            }
        }
    };
    stop.run_until_cancelled(delete).await;
}
