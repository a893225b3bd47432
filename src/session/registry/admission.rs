//! Whether a turn may begin: the rules, and the place it gets.

use std::sync::Arc;
use std::sync::atomic::AtomicU32;

use parking_lot::Mutex;
use tokio::sync::{mpsc, watch};

use super::{Entry, LOG_LIMITS, Registry, State};
use crate::clock::Timestamp;
use crate::journal::Journal;
use crate::session::limits::StreamSlots;
use crate::session::log::{Epoch, EventLog, Place};
use crate::session::record::{Origin, SHOWN};
use crate::session::turn_handle::Outcome;
use crate::session::{
    CreateError, Created, Idempotency, Request, Session, Status, Turn, TurnHandle, TurnKind,
};

/// Commands that wait for a session's driver: a cancel each, and it looks between any two events.
const COMMANDS: usize = 16;

const JOURNAL_FULL: &str = "the journal cannot be written and no more sessions fit into memory; \
    make room on the disk of DATA_DIR";

// === impl Registry ===

impl Registry {
    /// Makes a session, and waits until it runs or was refused. It goes on if the caller does not wait.
    pub(crate) async fn create(
        &self,
        request: Request,
    ) -> Result<(Arc<Session>, Created), CreateError> {
        self.recall(&request).await?;
        let (session, outcome_rx) = self.admit(request)?;
        self.outcome(session, outcome_rx, 0).await
    }

    /// Begins another turn of a session that has ended, and waits likewise.
    pub(crate) async fn resume(
        &self,
        session: Arc<Session>,
        request: Request,
    ) -> Result<(Arc<Session>, Created), CreateError> {
        let last = session.log.last_event_id().seq;
        let outcome_rx = self.admit_again(&session, request)?;
        self.outcome(session, outcome_rx, last).await
    }

    async fn outcome(
        &self,
        session: Arc<Session>,
        mut outcome_rx: watch::Receiver<Outcome>,
        last: u64,
    ) -> Result<(Arc<Session>, Created), CreateError> {
        let outcome = outcome_rx
            .wait_for(Option::is_some)
            .await
            .ok()
            .and_then(|outcome| outcome.clone());
        let gone = || Err(CreateError::Failed("the session's driver ended".into()));
        let created = outcome.unwrap_or_else(gone)?;
        if self.shared.journal.is_some() {
            // Who was told that a session runs must find it after a restart.
            drop(tokio::time::timeout(SHOWN, session.log.shown_past(last)).await);
        }
        Ok((session, created))
    }

    pub(super) fn admit(
        &self,
        request: Request,
    ) -> Result<(Arc<Session>, watch::Receiver<Outcome>), CreateError> {
        if self.shared.closed.is_cancelled() {
            return Err(CreateError::ShuttingDown);
        }
        // Before the lock, which is not held while something else is asked.
        let room = self.journal_has_room();
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
        room?;
        state.last_number += 1;
        let session = self.new_session(&request, state.last_number);
        let (turn_handle, outcome_rx) = self.turn_handle(session.clone(), None);
        let kind = TurnKind::Prompt(Box::new(request));
        // A turn handle that cannot be taken gives itself up when it is dropped, which takes the lock.
        if let Err(error) = self.shared.turns_tx.try_send(Turn { kind, turn_handle }) {
            drop(state);
            drop(error);
            return Err(busy());
        }
        state.insert(&session, outcome_rx.clone());
        Ok((session, outcome_rx))
    }

    fn admit_again(
        &self,
        session: &Arc<Session>,
        request: Request,
    ) -> Result<watch::Receiver<Outcome>, CreateError> {
        if self.shared.closed.is_cancelled() {
            return Err(CreateError::ShuttingDown);
        }
        let room = self.journal_has_room();
        let mut state = self.shared.state.lock();
        let active = state.active();
        let entry = state
            .sessions
            .get_mut(&session.id)
            .filter(|entry| Arc::ptr_eq(&entry.session, session))
            .ok_or(CreateError::Removed)?;
        let earlier = session.status();
        if !earlier.state.is_final() {
            return Err(CreateError::Running);
        }
        if earlier.remote_id.is_none() {
            return Err(CreateError::NeverBegan);
        }
        let most = self.shared.config.most;
        if active >= most {
            return Err(CreateError::Full(most));
        }
        room?;
        session
            .status_tx
            .send_replace(Arc::new(earlier.next_turn(Timestamp::now())));
        let (turn_handle, outcome_rx) = self.turn_handle(session.clone(), Some(earlier));
        // The entry's own outcome stays: it answers whoever repeats the request that made the session.
        entry.removed = None;
        let kind = TurnKind::Prompt(Box::new(request));
        if let Err(error) = self.shared.turns_tx.try_send(Turn { kind, turn_handle }) {
            drop(state);
            drop(error);
            return Err(busy());
        }
        Ok(outcome_rx)
    }

    /// Each turn has a row to write, and while the disk takes none they lie in memory.
    fn journal_has_room(&self) -> Result<(), CreateError> {
        let journal = self.shared.journal.as_ref();
        if journal.is_some_and(Journal::is_full) {
            return Err(CreateError::JournalUnavailable(JOURNAL_FULL.into()));
        }
        Ok(())
    }

    fn new_session(&self, request: &Request, number: u64) -> Arc<Session> {
        let now = Timestamp::now();
        let place = Place::beginning(number, Epoch::random());
        let idempotency = request.idempotency.as_ref();
        let origin = Origin {
            prompt: Some(request.prompt.clone()).filter(|_| self.shared.config.keep_prompts),
            tools: request.tools.clone(),
            digest: idempotency.map(|idempotency| idempotency.digest),
        };
        Arc::new(Session {
            id: request.id.clone(),
            created_at: now,
            number,
            origin,
            key: idempotency.map(|idempotency| idempotency.key.clone()),
            log: self.log(place),
            slots: StreamSlots::default(),
            commands_tx: Mutex::new(mpsc::channel(1).0),
            status_tx: watch::Sender::new(Arc::new(Status::new(now))),
            reported: AtomicU32::new(0),
        })
    }

    pub(super) fn log(&self, place: Place) -> EventLog {
        let budget = &self.shared.budget;
        match &self.shared.journal {
            Some(journal) => EventLog::journaled(place, LOG_LIMITS, budget, journal.clone()),
            None => EventLog::new(place.epoch, LOG_LIMITS, budget),
        }
    }

    /// A place for the driver of the session's next turn.
    pub(super) fn turn_handle(
        &self,
        session: Arc<Session>,
        earlier: Option<Arc<Status>>,
    ) -> (TurnHandle, watch::Receiver<Outcome>) {
        let (commands_tx, commands_rx) = mpsc::channel(COMMANDS);
        *session.commands_tx.lock() = commands_tx;
        let (outcome_tx, outcome_rx) = watch::channel(None);
        let turn_handle = TurnHandle {
            session,
            commands_rx,
            earlier,
            outcome_tx,
            registry: self.clone(),
        };
        (turn_handle, outcome_rx)
    }
}

fn busy() -> CreateError {
    CreateError::Failed("the driver does not take sessions".into())
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
        if entry.session.idempotency().as_ref() == Some(wanted) {
            Ok(Some(entry))
        } else {
            Err(CreateError::KeyReused)
        }
    }
}

// === impl Session ===

impl Session {
    fn idempotency(&self) -> Option<Idempotency> {
        Some(Idempotency {
            key: self.key.clone()?,
            digest: self.origin.digest?,
        })
    }
}
