//! Which sessions there are, and whether another may begin.
//!
//! One lock over a map; every look-up is short and synchronous. A session is in the map from the moment
//! its creation begins, so that the same id twice at once is one session and one refusal.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use tokio::sync::{mpsc, watch};
use tokio_util::sync::CancellationToken;

use super::limits::StreamSlots;
use super::log::{Budget, Epoch, EventLog, Limits};
use super::seat::Outcome;
use super::{Config, CreateError, Created, Idempotency, Request, Seat, Session, Status};
use crate::clock::Timestamp;

/// Events of one session kept in memory.
const LOG_LIMITS: Limits = Limits {
    events: 4096,
    bytes: 8 << 20,
};

/// Bytes of all logs together.
const LOG_BUDGET: usize = 64 << 20;

/// Creations that wait for the driver to take them. It only spawns a task for each.
const SEATS: usize = 64;

/// Commands that wait for a session's driver: a cancel each, and it looks between any two events.
const COMMANDS: usize = 16;

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
    seats_tx: mpsc::Sender<Seat>,
    budget: Budget,
    state: Mutex<State>,
    /// Set once: no new sessions.
    closed: CancellationToken,
    /// One more with every change of the number of active sessions.
    changes_tx: watch::Sender<()>,
}

#[derive(Debug, Default)]
struct State {
    sessions: HashMap<String, Entry>,
    keys: HashMap<String, String>,
    gone: HashMap<String, Instant>,
    made: u64,
}

#[derive(Debug)]
struct Entry {
    session: Arc<Session>,
    idempotency: Option<Idempotency>,
    outcome_rx: watch::Receiver<Outcome>,
}

// === impl Registry ===

impl Registry {
    /// The registry, and where it sends the sessions that may begin.
    pub(crate) fn new(config: Config, closed: CancellationToken) -> (Self, mpsc::Receiver<Seat>) {
        let (seats_tx, seats_rx) = mpsc::channel(SEATS);
        let shared = Shared {
            config,
            seats_tx,
            budget: Budget::new(LOG_BUDGET),
            state: Mutex::default(),
            closed,
            changes_tx: watch::Sender::new(()),
        };
        (
            Self {
                shared: Arc::new(shared),
            },
            seats_rx,
        )
    }

    /// Makes a session, and waits until it runs or was refused. It goes on if the caller does not wait.
    pub(crate) async fn create(
        &self,
        request: Request,
    ) -> Result<(Arc<Session>, Created), CreateError> {
        let (session, mut outcome_rx) = self.admit(request)?;
        let outcome = outcome_rx
            .wait_for(Option::is_some)
            .await
            .ok()
            .and_then(|outcome| outcome.clone());
        let lost = || Err(CreateError::Failed("the session's driver ended".into()));
        outcome
            .unwrap_or_else(lost)
            .map(|created| (session, created))
    }

    fn admit(
        &self,
        request: Request,
    ) -> Result<(Arc<Session>, watch::Receiver<Outcome>), CreateError> {
        if self.shared.closed.is_cancelled() {
            return Err(CreateError::ShuttingDown);
        }
        let mut state = self.shared.state.lock();
        if let Some(entry) = state.repeated(&request)? {
            return Ok((entry.session.clone(), entry.outcome_rx.clone()));
        }
        if state.sessions.contains_key(&request.id) {
            return Err(CreateError::Duplicate);
        }
        let most = self.shared.config.most;
        if state.active() >= most {
            return Err(CreateError::Full(most));
        }
        let (seat, entry) = self.seat(request, state.made);
        let (session, outcome_rx) = (entry.session.clone(), entry.outcome_rx.clone());
        // A seat that cannot be taken gives itself up when it is dropped, which takes the lock.
        if let Err(error) = self.shared.seats_tx.try_send(seat) {
            drop(state);
            drop(error);
            return Err(CreateError::Failed(
                "the driver does not take sessions".into(),
            ));
        }
        state.made += 1;
        state.gone.remove(&session.id);
        if let Some(idempotency) = &entry.idempotency {
            state
                .keys
                .insert(idempotency.key.clone(), session.id.clone());
        }
        state.sessions.insert(session.id.clone(), entry);
        Ok((session, outcome_rx))
    }

    fn seat(&self, request: Request, number: u64) -> (Seat, Entry) {
        let now = Timestamp::now();
        let (commands_tx, commands_rx) = mpsc::channel(COMMANDS);
        let (status_tx, status_rx) = watch::channel(Arc::new(Status::new(now)));
        let (outcome_tx, outcome_rx) = watch::channel(None);
        let session = Arc::new(Session {
            id: request.id.clone(),
            created_at: now,
            number,
            log: EventLog::new(Epoch::random(), LOG_LIMITS, &self.shared.budget),
            slots: StreamSlots::default(),
            commands_tx,
            status_rx,
            removed: CancellationToken::new(),
        });
        let idempotency = request.idempotency.clone();
        let entry = Entry {
            session: session.clone(),
            idempotency,
            outcome_rx,
        };
        (
            Seat {
                request,
                session,
                commands_rx,
                status_tx,
                outcome_tx,
                registry: self.clone(),
            },
            entry,
        )
    }

    pub(crate) fn find(&self, id: &str) -> Found {
        let state = self.shared.state.lock();
        match state.sessions.get(id) {
            Some(entry) => Found::Here(entry.session.clone()),
            None if state.gone.contains_key(id) => Found::Gone,
            None => Found::Unknown,
        }
    }

    /// All sessions older than number `before`, the newest first.
    pub(crate) fn list(&self, before: Option<u64>) -> Vec<(u64, Arc<Session>)> {
        let state = self.shared.state.lock();
        let mut all: Vec<(u64, Arc<Session>)> = state
            .sessions
            .values()
            .map(|entry| (entry.session.number, entry.session.clone()))
            .filter(|(number, _)| before.is_none_or(|before| *number < before))
            .collect();
        drop(state);
        all.sort_by_key(|(number, _)| std::cmp::Reverse(*number));
        all
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

    /// A session's turn has ended: whoever waits for that looks again.
    pub(crate) fn ended(&self) {
        self.shared.changes_tx.send_replace(());
    }

    /// Lets go of sessions past their retention, until `stop`; then of all.
    pub(crate) async fn clean(self, stop: CancellationToken) {
        let mut ticks = tokio::time::interval(CLEANING);
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        while stop.run_until_cancelled(ticks.tick()).await.is_some() {
            self.let_go(Instant::now());
        }
        for (_, session) in self.list(None) {
            session.log.close();
            session.removed.cancel();
        }
    }

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
                entry.session.removed.cancel();
                state.remember(id, now);
            }
        }
        state
            .gone
            .retain(|_, since| now.duration_since(*since) < REMEMBERED);
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
        session.removed.cancel();
        self.ended();
    }
}

// === impl State ===

impl State {
    /// The session that the same request made before, if it carries a key.
    fn repeated(&self, request: &Request) -> Result<Option<&Entry>, CreateError> {
        let Some(wanted) = &request.idempotency else {
            return Ok(None);
        };
        let Some(entry) = self
            .keys
            .get(&wanted.key)
            .and_then(|id| self.sessions.get(id))
        else {
            return Ok(None);
        };
        if entry.idempotency.as_ref() == Some(wanted) {
            Ok(Some(entry))
        } else {
            Err(CreateError::KeyReused)
        }
    }

    fn active(&self) -> usize {
        self.sessions
            .values()
            .filter(|entry| !entry.session.status().state.is_final())
            .count()
    }

    fn remove(&mut self, id: &str) -> Option<Entry> {
        let entry = self.sessions.remove(id)?;
        if let Some(idempotency) = &entry.idempotency {
            self.keys.remove(&idempotency.key);
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
}

#[cfg(test)]
mod tests;
