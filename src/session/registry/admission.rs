//! Whether a turn may begin.

use std::sync::Arc;

use tokio::sync::watch;

use super::Registry;
use crate::clock::Timestamp;
use crate::journal::Journal;
use crate::model::ModelSpec;
use crate::permission::Policy;
use crate::session::log::{Epoch, StoredRange, TurnSpan};
use crate::session::outcome::{Created, Outcome};
use crate::session::record::{Origin, PUBLISH_WAIT, Session};
use crate::session::request::{CreateError, Idempotency, Request};
use crate::session::session_map::{Entry, State};
use crate::session::status::Status;
use crate::session::turn::TurnKind;
use crate::session::turn_handle::{Turn, TurnHandle, TurnOrigin};
use crate::trace;

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

    pub(super) async fn outcome(
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
        if let Some(entry) = repeated(&state, request.idempotency.as_ref())? {
            return Ok((entry.session.clone(), entry.outcome_rx.clone()));
        }
        if state.sessions.contains_key(&request.id) {
            return Err(CreateError::Duplicate);
        }
        self.check_limit(&state)?;
        has_room?;
        let model = request.model.clone().apply(None);
        let model = model.ok_or(CreateError::CredentialsRequired)?;
        let number = state.next_number();
        let session = Arc::new(self.new_session(&request, number));
        let (turn_handle, outcome_rx) = self.turn_handle(&session, 0, TurnOrigin::New);
        state.credentials.keep_while_running(number, model.clone());
        state.insert(&session, outcome_rx.clone());
        drop(state);
        self.start(request, Some(model), turn_handle)?;
        Ok((session, outcome_rx))
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

    pub(super) fn check_limit(&self, state: &State) -> Result<(), CreateError> {
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
            prompt: Some(request.prompt.words()).filter(|_| self.shared.config.keep_prompts),
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
            Status {
                policy: Arc::new(Policy::default().with(&request.policy)),
                ..Status::new(now)
            },
            log,
        );
        *session.labels.lock() = request.labels.clone();
        session
    }

    /// For a turn whose events come after number `after`.
    pub(super) fn turn_handle(
        &self,
        session: &Arc<Session>,
        after: u64,
        origin: TurnOrigin,
    ) -> (TurnHandle, watch::Receiver<Outcome>) {
        let span = Arc::new(TurnSpan::beginning_after(after));
        let scheduler = self.shared.scheduler.clone();
        TurnHandle::new(
            Arc::clone(session),
            (span, trace::current()),
            origin,
            scheduler,
        )
    }

    /// Gives a turn to the driver. One that it does not take undoes itself when it is dropped, and that takes the lock.
    pub(super) fn start(
        &self,
        request: Request,
        model: Option<ModelSpec>,
        turn_handle: TurnHandle,
    ) -> Result<(), CreateError> {
        let kind = TurnKind::Prompt {
            request: Box::new(request),
            model: model.map(Box::new),
        };
        let sent = self.shared.turns_tx.try_send(Turn { kind, turn_handle });
        sent.map_err(|_| CreateError::Failed("the driver does not take sessions".into()))
    }
}

/// The session that the same request created before, if it carries a key.
pub(super) fn repeated<'a>(
    state: &'a State,
    wanted: Option<&Idempotency>,
) -> Result<Option<&'a Entry>, CreateError> {
    let Some(wanted) = wanted else {
        return Ok(None);
    };
    let id = state.keys.get(&wanted.key);
    match id.and_then(|id| state.sessions.get(id)) {
        Some(entry) if entry.session.origin.idempotency.as_ref() == Some(wanted) => Ok(Some(entry)),
        Some(_) => Err(CreateError::KeyReused),
        None => Ok(None),
    }
}
