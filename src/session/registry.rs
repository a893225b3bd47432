//! Which sessions there are, and whether another turn may begin.
//!
//! One lock over a map; what is decided under it is short and synchronous. A session is in the map from
//! the moment its creation begins, so that the same id twice at once is one session and one refusal. With
//! a journal the map holds the sessions that run or were asked for lately; [`archive`] has the others.

mod admission;
mod adopt;
mod archive;

pub(crate) use self::adopt::{Adoption, OrphanSession};
pub(crate) use self::archive::{ArchiveError, Report};

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use tokio::sync::{mpsc, watch};
use tokio_util::sync::CancellationToken;

use super::log::{Budget, Limits};
use super::turn_handle::Outcome;
use super::{Config, Created, Session, Status, Turn, TurnKind};
use crate::event::State as SessionState;
use crate::journal::{Health, Journal, Removed};

/// Events of one session kept in memory.
const LOG_LIMITS: Limits = Limits {
    events: 4096,
    bytes: 8 << 20,
};

/// Bytes of all logs together.
const LOG_BUDGET: usize = 64 << 20;

/// Turns that wait for the driver to take them. It only spawns a task for each.
const JOBS: usize = 64;

/// Sessions of OpenCode that wait to be deleted because ours are gone. Past that they stay.
const REMOVALS: usize = 1024;

/// How long the id of a session that is gone is still known to have existed.
const REMEMBERED: Duration = Duration::from_mins(10);

/// Ids of sessions that are gone. Past that the oldest is forgotten early.
const MAX_REMEMBERED: usize = 10_000;

/// How often the retention is looked at.
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

/// What became of an id.
#[derive(Debug)]
pub(crate) enum Found {
    Here(Arc<Session>),
    /// It existed, and was let go.
    Gone,
    Unknown,
}

#[derive(Debug)]
struct Shared {
    config: Config,
    journal: Option<Journal>,
    /// Whether the sessions of an earlier life are known.
    loaded_tx: watch::Sender<bool>,
    turns_tx: mpsc::Sender<Turn>,
    removals_tx: mpsc::Sender<String>,
    budget: Budget,
    state: Mutex<State>,
    /// Set once: no new sessions.
    closed: CancellationToken,
    well_tx: watch::Sender<Health>,
    /// One more with every change of the number of active sessions.
    changes_tx: watch::Sender<()>,
}

#[derive(Debug, Default)]
struct State {
    sessions: HashMap<String, Entry>,
    keys: HashMap<String, String>,
    gone: HashMap<String, Instant>,
    /// The number of the newest session.
    last_number: u64,
}

#[derive(Debug)]
struct Entry {
    session: Arc<Session>,
    outcome_rx: watch::Receiver<Outcome>,
    /// When it was last asked for.
    used: Instant,
    /// Retention removed it while another turn was about to begin.
    removed: Option<Removed>,
}

// === impl Registry ===

impl Registry {
    pub(crate) fn new(
        config: Config,
        journal: Option<Journal>,
        closed: CancellationToken,
    ) -> (Self, Receivers) {
        let (turns_tx, turns_rx) = mpsc::channel(JOBS);
        let (removals_tx, removals_rx) = mpsc::channel(REMOVALS);
        let shared = Shared {
            config,
            loaded_tx: watch::Sender::new(journal.is_none()),
            journal,
            turns_tx,
            removals_tx,
            budget: Budget::new(LOG_BUDGET),
            state: Mutex::default(),
            closed,
            well_tx: watch::Sender::new(Health::Well),
            changes_tx: watch::Sender::new(()),
        };
        let shared = Arc::new(shared);
        (
            Self { shared },
            Receivers {
                turns_rx,
                removals_rx,
            },
        )
    }

    /// The sessions that run and those that were asked for lately.
    pub(crate) fn in_memory(&self) -> Vec<Arc<Session>> {
        let state = self.shared.state.lock();
        let sessions = state.sessions.values();
        sessions.map(|entry| entry.session.clone()).collect()
    }

    /// How many sessions may be active at once.
    pub(crate) fn limit(&self) -> usize {
        self.shared.config.most
    }

    /// Waits until no session is active. New ones should be off by then.
    pub(crate) async fn idle(&self) {
        let mut changes_rx = self.shared.changes_tx.subscribe();
        while self.shared.state.lock().active() > 0 {
            if changes_rx.changed().await.is_err() {
                return;
            }
        }
    }

    /// Wakes with every change of the sessions that are active.
    pub(crate) fn changes(&self) -> watch::Receiver<()> {
        self.shared.changes_tx.subscribe()
    }

    /// How the disk under the sessions does; without one it is always well.
    pub(crate) fn health(&self) -> watch::Receiver<Health> {
        match &self.shared.journal {
            Some(journal) => journal.health(),
            None => self.shared.well_tx.subscribe(),
        }
    }

    /// A session's turn has ended: whoever waits for that looks again.
    pub(crate) fn ended(&self) {
        self.shared.changes_tx.send_replace(());
    }

    /// Lets go of sessions past their retention, until `stop`; then sends all readers home.
    pub(crate) async fn clean(self, stop: CancellationToken) {
        let mut ticks = tokio::time::interval(CLEANING);
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        while stop.run_until_cancelled(ticks.tick()).await.is_some() {
            if self.shared.journal.is_some() {
                self.unload(Instant::now());
            } else {
                self.let_go(Instant::now());
            }
        }
        for entry in self.shared.state.lock().sessions.values() {
            entry.session.log.close();
        }
    }

    /// Without a journal a session is gone when its time in memory is over.
    fn let_go(&self, now: Instant) {
        let retention = self.shared.config.retention;
        let mut state = self.shared.state.lock();
        let old: HashSet<String> = state
            .sessions
            .iter()
            .filter(|(_, entry)| {
                entry
                    .session
                    .status()
                    .ended
                    .is_some_and(|at| now.duration_since(at) >= retention)
            })
            .map(|(id, _)| id.clone())
            .collect();
        for id in old {
            if let Some(entry) = state.remove(&id) {
                entry.session.log.close();
                if let Some(remote_id) = &entry.session.status().remote_id {
                    self.delete_remote(remote_id.clone());
                }
                state.remember(id, now);
            }
        }
        state.forget_gone(now);
    }

    /// Has OpenCode's session `remote_id` deleted, by the next child if there is none.
    pub(crate) fn delete_remote(&self, remote_id: String) {
        if let Err(error) = self.shared.removals_tx.try_send(remote_id) {
            tracing::warn!(%error, "an old session stays in the engine");
        }
    }

    /// A session that never began.
    pub(super) fn forget(&self, session: &Arc<Session>) {
        let mut state = self.shared.state.lock();
        let same = |entry: &Entry| Arc::ptr_eq(&entry.session, session);
        if state.sessions.get(&session.id).is_some_and(same) {
            state.remove(&session.id);
        }
        drop(state);
        session.log.close();
        self.ended();
    }
}

// === impl State ===

impl State {
    fn active(&self) -> usize {
        self.sessions
            .values()
            .filter(|entry| !entry.session.status().state.is_final())
            .count()
    }

    fn insert(&mut self, session: &Arc<Session>, outcome_rx: watch::Receiver<Outcome>) {
        self.gone.remove(&session.id);
        if let Some(key) = &session.key {
            self.keys.insert(key.clone(), session.id.clone());
        }
        let entry = Entry {
            session: session.clone(),
            outcome_rx,
            used: Instant::now(),
            removed: None,
        };
        self.sessions.insert(session.id.clone(), entry);
    }

    fn find(&mut self, id: &str) -> Option<Found> {
        if let Some(entry) = self.sessions.get_mut(id) {
            entry.used = Instant::now();
            return Some(Found::Here(entry.session.clone()));
        }
        self.gone.contains_key(id).then_some(Found::Gone)
    }

    fn remove(&mut self, id: &str) -> Option<Entry> {
        let entry = self.sessions.remove(id)?;
        if let Some(key) = &entry.session.key {
            self.keys.remove(key);
        }
        Some(entry)
    }

    fn remember(&mut self, id: String, now: Instant) {
        if self.gone.len() >= MAX_REMEMBERED {
            let oldest = self
                .gone
                .iter()
                .min_by_key(|(_, since)| **since)
                .map(|(id, _)| id.clone());
            oldest.and_then(|oldest| self.gone.remove(&oldest));
        }
        self.gone.insert(id, now);
    }

    fn forget_gone(&mut self, now: Instant) {
        self.gone
            .retain(|_, since| now.duration_since(*since) < REMEMBERED);
    }
}

// === impl Session ===

impl Session {
    fn in_state(&self, wanted: Option<&str>) -> bool {
        wanted.is_none_or(|wanted| self.status().state.as_str() == wanted)
    }

    fn is_final(&self) -> bool {
        SessionState::is_final(self.status().state)
    }
}

#[cfg(test)]
mod tests;
