//! Whether a turn may begin.

use std::sync::Arc;

use tokio::sync::watch;

use super::Registry;
use crate::clock::Timestamp;
use crate::journal::Journal;
use crate::session::log::{Epoch, StoredRange};
use crate::session::record::{Origin, PUBLISH_WAIT, Session};
use crate::session::request::{CreateError, Request};
use crate::session::session_map::{Entry, State};
use crate::session::status::Status;
use crate::session::turn::{Created, Outcome, TurnKind};
use crate::session::turn_handle::{Turn, TurnHandle};

const JOURNAL_FULL: &str = "the journal cannot be written and no more sessions fit into memory; \
    make room on the disk of DATA_DIR";

// === impl Registry ===

impl Registry {
    /// Creates a session, and waits until it runs or was refused. It goes on if the caller does not wait.
    pub(crate) async fn create(
        &self,
        request: Request,
    ) -> Result<(Arc<Session>, Created), CreateError> {
        self.load_requested(&request).await?;
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
            // Whoever was told that a session runs must find it after a restart.
            drop(tokio::time::timeout(PUBLISH_WAIT, session.log.shown_past(last)).await);
        }
        Ok((session, created))
    }

    pub(super) fn admit(
        &self,
        request: Request,
    ) -> Result<(Arc<Session>, watch::Receiver<Outcome>), CreateError> {
        self.check_open()?;
        let has_room = self.check_journal();
        let mut state = self.shared.sessions.lock();
        if let Some(entry) = repeated(&state, &request)? {
            return Ok((entry.session.clone(), entry.outcome_rx.clone()));
        }
        if state.sessions.contains_key(&request.id) {
            return Err(CreateError::Duplicate);
        }
        self.check_limit(&state)?;
        has_room?;
        let number = state.next_number();
        let session = Arc::new(self.new_session(&request, number));
        let (turn_handle, outcome_rx) = self.turn_handle(&session, None);
        state.insert(&session, outcome_rx.clone());
        drop(state);
        self.start(TurnKind::Prompt(Box::new(request)), turn_handle)?;
        Ok((session, outcome_rx))
    }

    fn admit_again(
        &self,
        session: &Arc<Session>,
        request: Request,
    ) -> Result<watch::Receiver<Outcome>, CreateError> {
        self.check_open()?;
        let has_room = self.check_journal();
        let mut state = self.shared.sessions.lock();
        if !matches!(state.sessions.get(&session.id), Some(entry) if Arc::ptr_eq(&entry.session, session))
        {
            return Err(CreateError::Removed);
        }
        let earlier = session.status();
        if !earlier.state.is_final() {
            return Err(CreateError::Running);
        }
        if earlier.remote_id.is_none() {
            return Err(CreateError::NeverBegan);
        }
        self.check_limit(&state)?;
        has_room?;
        session
            .status_tx
            .send_replace(Arc::new(earlier.next_turn(Timestamp::now())));
        // The entry's own outcome stays: it answers whoever repeats the request that created the session.
        if let Some(entry) = state.sessions.get_mut(&session.id) {
            entry.removed = None;
        }
        let (turn_handle, outcome_rx) = self.turn_handle(session, Some(earlier));
        drop(state);
        self.start(TurnKind::Prompt(Box::new(request)), turn_handle)?;
        Ok(outcome_rx)
    }

    pub(super) fn check_open(&self) -> Result<(), CreateError> {
        if self.shared.closed.is_cancelled() {
            return Err(CreateError::ShuttingDown);
        }
        Ok(())
    }

    /// Each turn has a row to write, and while the disk takes none these are kept in memory. The journal is asked before
    /// the map is locked, and its answer matters after everything else.
    pub(super) fn check_journal(&self) -> Result<(), CreateError> {
        if self.journal().is_some_and(Journal::is_full) {
            return Err(CreateError::JournalUnavailable(JOURNAL_FULL.into()));
        }
        Ok(())
    }

    fn check_limit(&self, state: &State) -> Result<(), CreateError> {
        let most = self.shared.config.most;
        if state.active() < most {
            Ok(())
        } else {
            Err(CreateError::Full(most))
        }
    }

    fn new_session(&self, request: &Request, number: u64) -> Session {
        let now = Timestamp::now();
        let origin = Origin {
            prompt: Some(request.prompt.clone()).filter(|_| self.shared.config.keep_prompts),
            tools: request.tools.clone(),
            idempotency: request.idempotency.clone(),
            forked_from: None,
        };
        let log = self.log(StoredRange::empty(number, Epoch::random()));
        let session = Session::new(
            request.id.clone(),
            number,
            now,
            origin,
            Status::new(now),
            log,
        );
        *session.labels.lock() = request.labels.clone();
        session
    }

    pub(super) fn turn_handle(
        &self,
        session: &Arc<Session>,
        earlier: Option<Arc<Status>>,
    ) -> (TurnHandle, watch::Receiver<Outcome>) {
        let sessions = Arc::clone(&self.shared.sessions);
        TurnHandle::new(Arc::clone(session), earlier, sessions)
    }

    /// Gives a turn to the driver. One that it does not take undoes itself when it is dropped, and that takes the lock.
    fn start(&self, kind: TurnKind, turn_handle: TurnHandle) -> Result<(), CreateError> {
        let sent = self.shared.turns_tx.try_send(Turn { kind, turn_handle });
        sent.map_err(|_| CreateError::Failed("the driver does not take sessions".into()))
    }
}

/// The session that the same request created before, if it carries a key.
fn repeated<'a>(state: &'a State, request: &Request) -> Result<Option<&'a Entry>, CreateError> {
    let Some(wanted) = &request.idempotency else {
        return Ok(None);
    };
    let id = state.keys.get(&wanted.key);
    match id.and_then(|id| state.sessions.get(id)) {
        Some(entry) if entry.session.origin.idempotency.as_ref() == Some(wanted) => Ok(Some(entry)),
        Some(_) => Err(CreateError::KeyReused),
        None => Ok(None),
    }
}
