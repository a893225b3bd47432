//! Takes sessions from the registry and gives each a task of its own.

use tokio::sync::{mpsc, watch};
use tokio_util::task::TaskTracker;

use super::agent_sessions::AgentSessions;
use super::crowd::Crowd;
use super::switchboard::Switchboard;
use super::{Config, actor, link, recovery};
use crate::engine;
use crate::gateway;
use crate::session::{Errand, Job, Outlets, Registry};
use crate::shutdown::Shutdown;
use crate::workspace;

/// What all sessions share. Cheap to clone.
#[derive(Clone, Debug)]
pub(super) struct Surroundings {
    pub(super) config: Config,
    pub(super) links: link::Watch,
    pub(super) engine: engine::Handle,
    pub(super) workspace: workspace::Watch,
    pub(super) gateway: gateway::Handle,
    pub(super) switchboard: Switchboard,
    pub(super) crowd: Crowd,
    pub(super) registry: Registry,
    pub(super) shutdown: Shutdown,
}

/// Starts driving: one task listens to the child, one takes seats, and one drives each session. What is
/// returned answers which sessions the agent has.
pub(crate) fn spawn(
    config: Config,
    (engine, workspace): (engine::Handle, workspace::Watch),
    gateway: gateway::Handle,
    (registry, outlets): (Registry, Outlets),
    shutdown: Shutdown,
    tracker: &TaskTracker,
) -> AgentSessions {
    let (link_tx, links) = watch::channel(None);
    let switchboard = Switchboard::default();
    tracker.spawn(link::keep(
        engine.watch(),
        switchboard.clone(),
        link_tx,
        config.workspace.clone(),
        shutdown.gone.clone(),
    ));
    let agent_sessions = AgentSessions::new(links.clone());
    let crowd = Crowd::default();
    let around = Surroundings {
        config,
        links,
        engine,
        workspace,
        gateway,
        switchboard,
        crowd,
        registry,
        shutdown,
    };
    tracker.spawn(delete_removed(outlets.removals_rx, around.clone()));
    tracker.spawn(take_jobs(outlets.jobs_rx, around, tracker.clone()));
    agent_sessions
}

async fn take_jobs(mut jobs_rx: mpsc::Receiver<Job>, around: Surroundings, tracker: TaskTracker) {
    let stop = around.shutdown.gone.clone();
    while let Some(Some(job)) = stop.run_until_cancelled(jobs_rx.recv()).await {
        match job.errand {
            Errand::Begin(request) => {
                tracker.spawn(actor::run(request, None, job.seat, around.clone()));
            }
            Errand::Resume { request, remote_id } => {
                tracker.spawn(actor::run(
                    request,
                    Some(remote_id),
                    job.seat,
                    around.clone(),
                ));
            }
            Errand::Recover(interrupted) => {
                tracker.spawn(recovery::run(interrupted, job.seat, around.clone()));
            }
        }
    }
}

/// Sessions that nobody can ask for any more go from the child too. Without one they wait for the next.
async fn delete_removed(mut removals_rx: mpsc::Receiver<String>, around: Surroundings) {
    let stop = around.shutdown.gone.clone();
    let mut links = around.links.clone();
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
                Ok(()) => around.switchboard.forget(&remote_id),
                Err(error) => tracing::debug!(%error, "an old session stays in the engine"),
            }
        }
    };
    stop.run_until_cancelled(delete).await;
}
