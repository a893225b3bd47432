//! Which sessions there are, and whether another turn may begin.
//!
//! With a journal the [map](super::session_map) holds the sessions that run or were asked for lately; [`archive`] finds
//! the others.

mod admission;
mod adoption;
mod all_events;
mod archive;
mod egress;
mod fork;
mod held;
mod prompting;
mod repeats;
mod reports;
mod stopping;
mod survey;
mod unsent;

pub(crate) use self::adoption::{Adoption, OrphanSession};
pub(crate) use self::archive::ArchiveError;
pub(crate) use self::fork::{AddedFork, NewFork};
pub(crate) use self::reports::Report;
pub(crate) use self::survey::{HeldLock, Survey};

use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::{mpsc, watch};
use tokio_util::sync::CancellationToken;

use super::config::Config;
use super::limits::StreamSlots;
use super::log::{Epoch, EventLog, Limits, MemoryBudget, Storage, StoredRange};
use super::record::Session;
use super::session_map::SessionMap;
use super::turn_handle::{Scheduler, Turn};
use crate::journal::{Figures, Health, Journal, Order, Removed};

/// Bytes of all logs together.
const LOG_BUDGET: usize = 64 << 20;

/// Turns that wait for the driver to take them, which only spawns a task for each: one of each session, since the turns of
/// all may end in the same moment, and up to this many.
const MAX_TURNS: usize = 4096;

/// Sessions of OpenCode that wait to be deleted because ours are gone. Beyond that they stay.
const REMOVALS: usize = 1024;

/// How often it is checked which sessions leave memory.
const CLEANING: Duration = Duration::from_secs(1);

/// A cheap clone.
#[derive(Clone, Debug)]
pub(crate) struct Registry {
    shared: Arc<Shared>,
}

/// Where a registry sends what is to be done.
#[derive(Debug)]
pub(crate) struct Receivers {
    /// Turns that may begin.
    pub(crate) turns_rx: mpsc::Receiver<Turn>,
    /// OpenCode's ids of sessions that nobody can ask for any more.
    pub(crate) removals_rx: mpsc::Receiver<String>,
}

#[derive(Debug)]
struct Shared {
    config: Config,
    journal: Option<Journal>,
    /// In which order the events of all sessions are shown.
    order: Arc<Order>,
    /// The streams of all events.
    all_slots: StreamSlots,
    /// Whether the sessions of an earlier process are known.
    loaded_tx: watch::Sender<bool>,
    turns_tx: mpsc::Sender<Turn>,
    budget: MemoryBudget,
    sessions: Arc<SessionMap>,
    scheduler: Scheduler,
    /// Set once: no new sessions.
    closed: CancellationToken,
    /// The health without a journal.
    well_tx: watch::Sender<Health>,
}

// === impl Registry ===

impl Registry {
    pub(crate) fn new(
        config: Config,
        journal: Option<Journal>,
        closed: CancellationToken,
    ) -> (Self, Receivers) {
        let (turns_tx, turns_rx) = mpsc::channel(config.most.clamp(1, MAX_TURNS));
        let (removals_tx, removals_rx) = mpsc::channel(REMOVALS);
        let order = match &journal {
            Some(journal) => Arc::clone(journal.order()),
            None => Arc::new(Order::in_memory(Epoch::random().to_string())),
        };
        let sessions = Arc::new(SessionMap::new(removals_tx));
        let scheduler = Scheduler {
            sessions: Arc::clone(&sessions),
            turns_tx: turns_tx.clone(),
            closed: closed.clone(),
            keeps_queues: journal.is_some() && config.keep_prompts,
            keeps_words: config.keep_prompts,
            credential_retention: config.credential_retention,
            tells_ends: config.tells_ends,
        };
        let shared = Shared {
            config,
            order,
            all_slots: StreamSlots::default(),
            loaded_tx: watch::Sender::new(journal.is_none()),
            journal,
            turns_tx,
            budget: MemoryBudget::new(LOG_BUDGET),
            sessions,
            scheduler,
            closed,
            well_tx: watch::Sender::new(Health::Well),
        };
        let registry = Self {
            shared: Arc::new(shared),
        };
        let receivers = Receivers {
            turns_rx,
            removals_rx,
        };
        (registry, receivers)
    }

    /// The sessions that run and those that were asked for lately.
    pub(crate) fn in_memory(&self) -> Vec<Arc<Session>> {
        self.shared.sessions.all()
    }

    /// How many sessions may be active at once.
    pub(crate) fn limit(&self) -> usize {
        self.shared.config.most
    }

    /// Turns that wait for the driver, and how many may.
    pub(crate) fn turns_queue(&self) -> (usize, usize) {
        let turns_tx = &self.shared.turns_tx;
        let bound = turns_tx.max_capacity();
        (bound.saturating_sub(turns_tx.capacity()), bound)
    }

    /// Waits until no session is active. New ones should be off by then.
    pub(crate) async fn idle(&self) {
        let mut changes_rx = self.changes();
        while self.shared.sessions.lock().active() > 0 {
            if changes_rx.changed().await.is_err() {
                return;
            }
        }
    }

    /// Wakes with every change of the sessions that are active.
    pub(crate) fn changes(&self) -> watch::Receiver<()> {
        self.shared.sessions.changes()
    }

    /// A session's turn has ended: whoever waits for that looks again.
    pub(crate) fn ended(&self) {
        self.shared.sessions.on_turn_ended();
    }

    /// Has OpenCode's session `remote_id` deleted, by the next child if there is none.
    pub(crate) fn delete_remote(&self, remote_id: String) {
        self.shared.sessions.delete_remote(remote_id);
    }

    pub(crate) fn journal(&self) -> Option<&Journal> {
        self.shared.journal.as_ref()
    }

    /// The health of the journal; without one it is always well.
    pub(crate) fn health(&self) -> watch::Receiver<Health> {
        match &self.shared.journal {
            Some(journal) => journal.health(),
            None => self.shared.well_tx.subscribe(),
        }
    }

    /// The figures of the journal; nothing without one.
    pub(crate) fn figures(&self) -> Option<Figures> {
        self.journal().map(Journal::figures)
    }

    /// Takes sessions out of memory when it is time, until `stop`; then ends all readers.
    pub(crate) async fn clean(self, stop: CancellationToken) {
        let sessions = &self.shared.sessions;
        let mut ticks = tokio::time::interval(CLEANING);
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        while stop.run_until_cancelled(ticks.tick()).await.is_some() {
            sessions.lock().credentials.expire(Instant::now());
            if self.shared.journal.is_some() {
                self.unload(Instant::now());
            } else {
                sessions.expire(self.shared.config.retention, Instant::now());
            }
        }
        for session in sessions.all() {
            session.log.close();
        }
        self.close_all_events();
    }

    /// Ends the readers of all events.
    pub(super) fn close_all_events(&self) {
        self.shared.order.close();
    }

    /// Follows the journal's retention until it ends.
    pub(crate) async fn follow_retention(self, mut removed_rx: mpsc::Receiver<Removed>) {
        while let Some(removed) = removed_rx.recv().await {
            self.shared.sessions.remove(removed);
        }
    }

    fn log(&self, extent: StoredRange) -> EventLog {
        let storage = match &self.shared.journal {
            Some(journal) => Storage::Journal(journal.clone()),
            None => Storage::Memory(Arc::clone(&self.shared.order)),
        };
        EventLog::new(extent, Limits::default(), &self.shared.budget, storage)
    }

    /// The streams of all events.
    pub(crate) fn all_slots(&self) -> &StreamSlots {
        &self.shared.all_slots
    }
}

#[cfg(test)]
mod tests;
