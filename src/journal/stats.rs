//! What everybody may know of the journal: whether it is open, its health and its figures.

use parking_lot::Mutex;
use tokio::sync::{mpsc, watch};

use super::row::{Opened, Removed};
use crate::locks::Lock;

/// How the journal does.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Health {
    Opening,
    Well,
    /// Nothing can be written; the text says why.
    Degraded(String),
}

/// For metrics. Counts are since the start.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Figures {
    /// What the database takes on disk, its WAL included.
    pub(crate) bytes: u64,
    pub(crate) commits: u64,
    /// Commits that waited for the disk itself.
    pub(crate) synced: u64,
    pub(crate) events: u64,
    /// Groups that could not be written; each try counts.
    pub(crate) failures: u64,
    /// Events that were dropped from memory before they could be written.
    pub(crate) lost: u64,
    /// Sessions that retention removed.
    pub(crate) removed: u64,
    pub(crate) degraded: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Stage {
    Opening,
    Open,
    Ended,
}

pub(super) struct Stats {
    stage: watch::Sender<Stage>,
    health: watch::Sender<Health>,
    figures: Mutex<Figures>,
    opened: Mutex<Option<Opened>>,
    pub(super) removals: mpsc::Sender<Removed>,
    removals_rx: Mutex<Option<mpsc::Receiver<Removed>>>,
}

/// Removed sessions that may wait for whoever deletes what they left elsewhere.
const REMOVALS: usize = 64;

// === impl Stats ===

impl Stats {
    pub(super) fn new() -> Self {
        let (removals, removals_rx) = mpsc::channel(REMOVALS);
        Self {
            stage: watch::Sender::new(Stage::Opening),
            health: watch::Sender::new(Health::Opening),
            figures: Mutex::default(),
            opened: Mutex::default(),
            removals,
            removals_rx: Mutex::new(Some(removals_rx)),
        }
    }

    /// Waits until this stage is reached, and returns the present one.
    pub(super) async fn reaches(&self, stage: Stage) -> Stage {
        let mut now = self.stage.subscribe();
        // The sender is ours, so it cannot be gone.
        now.wait_for(|now| *now >= stage)
            .await
            .map_or(Stage::Ended, |now| *now)
    }

    pub(super) fn set_opened(&self, opened: Opened) {
        *self.opened.lock() = Some(opened);
        self.stage.send_replace(Stage::Open);
    }

    pub(super) fn take_opened(&self) -> Opened {
        self.opened.lock().take().unwrap_or_default()
    }

    pub(super) fn set_ended(&self) {
        self.stage.send_replace(Stage::Ended);
    }

    pub(super) fn health(&self) -> watch::Receiver<Health> {
        self.health.subscribe()
    }

    /// Writes to the log when it becomes worse or better, and not at every try.
    pub(super) fn set_health(&self, health: Health) {
        let degraded = matches!(health, Health::Degraded(_));
        // First, so that the figures agree with the health for whoever waits for that.
        self.count(|figures| figures.degraded = degraded);
        let before = self.health.send_replace(health);
        let now = self.health.borrow();
        match (&before, &*now) {
            (Health::Degraded(_), Health::Degraded(_)) => {}
            (_, Health::Degraded(reason)) => {
                tracing::error!(
                    reason,
                    "the journal cannot be written; events are shown from memory until it can, \
                     and are lost if the sidecar ends before"
                );
            }
            (Health::Degraded(_), _) => tracing::info!("the journal is written again"),
            _ => {}
        }
    }

    pub(super) fn figures(&self) -> Figures {
        self.figures.lock().clone()
    }

    pub(super) fn lock(&self) -> &dyn Lock {
        &self.figures
    }

    pub(super) fn count(&self, change: impl FnOnce(&mut Figures)) {
        change(&mut self.figures.lock());
    }

    /// The receiver is for the first caller; a later one gets nothing.
    pub(super) fn take_removals(&self) -> mpsc::Receiver<Removed> {
        let first = self.removals_rx.lock().take();
        first.unwrap_or_else(|| mpsc::channel(1).1)
    }
}
