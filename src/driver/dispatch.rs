//! Takes sessions from the registry and gives each a task of its own.

use tokio::sync::{mpsc, watch};
use tokio_util::task::TaskTracker;

use super::crowd::Crowd;
use super::switchboard::Switchboard;
use super::{Config, actor, link};
use crate::engine;
use crate::gateway;
use crate::session::{Registry, Seat};
use crate::shutdown::Shutdown;

/// What all sessions share. Cheap to clone.
#[derive(Clone, Debug)]
pub(super) struct Surroundings {
    pub(super) config: Config,
    pub(super) links: link::Watch,
    pub(super) engine: engine::Handle,
    pub(super) gateway: gateway::Handle,
    pub(super) switchboard: Switchboard,
    pub(super) crowd: Crowd,
    pub(super) registry: Registry,
    pub(super) shutdown: Shutdown,
}

/// Starts driving: one task listens to the child, one takes seats, and one drives each session.
pub(crate) fn spawn(
    config: Config,
    engine: engine::Handle,
    gateway: gateway::Handle,
    (registry, seats_rx): (Registry, mpsc::Receiver<Seat>),
    shutdown: Shutdown,
    tracker: &TaskTracker,
) {
    let (link_tx, links) = watch::channel(None);
    let switchboard = Switchboard::default();
    tracker.spawn(link::keep(
        engine.watch(),
        switchboard.clone(),
        link_tx,
        config.workspace.clone(),
        shutdown.gone.clone(),
    ));
    let crowd = Crowd::default();
    let around = Surroundings {
        config,
        links,
        engine,
        gateway,
        switchboard,
        crowd,
        registry,
        shutdown,
    };
    tracker.spawn(take_seats(seats_rx, around, tracker.clone()));
}

async fn take_seats(
    mut seats_rx: mpsc::Receiver<Seat>,
    around: Surroundings,
    tracker: TaskTracker,
) {
    let stop = around.shutdown.gone.clone();
    while let Some(Some(seat)) = stop.run_until_cancelled(seats_rx.recv()).await {
        tracker.spawn(actor::run(seat, around.clone()));
    }
}
