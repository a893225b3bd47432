//! Sessions that begin with the conversation of another one.

use std::sync::Arc;
use std::time::Instant;

use tokio::sync::watch;

use super::Registry;
use super::admission::repeated;
use crate::clock::Timestamp;
use crate::event::State;
use crate::session::labels::Labels;
use crate::session::log::{Epoch, StoredRange};
use crate::session::record::{ForkedFrom, Origin, PUBLISH_WAIT, Session};
use crate::session::request::{CreateError, Idempotency};
use crate::session::status::Status;

/// A copy of a conversation that OpenCode has made.
#[derive(Debug)]
pub(crate) struct NewFork {
    pub(crate) id: String,
    /// OpenCode's own id.
    pub(crate) remote_id: String,
    pub(crate) labels: Labels,
    pub(crate) forked_from: ForkedFrom,
    pub(crate) idempotency: Option<Idempotency>,
}

/// What came of a copy.
#[derive(Debug)]
pub(crate) enum AddedFork {
    New(Arc<Session>),
    /// The same request made this one before: the copy is not needed.
    Repeated(Arc<Session>),
}

// === impl Registry ===

impl Registry {
    /// The fork that the same request made before.
    pub(crate) async fn repeated_fork(
        &self,
        idempotency: &Idempotency,
    ) -> Result<Option<Arc<Session>>, CreateError> {
        let loaded = self.load_created(&idempotency.key).await;
        loaded.map_err(|error| CreateError::JournalUnavailable(error.to_string()))?;
        let state = self.shared.sessions.lock();
        let entry = repeated(&state, Some(idempotency))?;
        Ok(entry.map(|entry| Arc::clone(&entry.session)))
    }

    /// Makes a session of a copy of the conversation of `source`. It has had no turn, and is not active.
    pub(crate) async fn add_fork(
        &self,
        source: &Session,
        fork: NewFork,
    ) -> Result<AddedFork, CreateError> {
        let added = self.insert_fork(source, fork)?;
        let (AddedFork::New(session) | AddedFork::Repeated(session)) = &added;
        // Whoever was told of a session must find it after a restart.
        drop(tokio::time::timeout(PUBLISH_WAIT, session.log.shown_past(0)).await);
        Ok(added)
    }

    fn insert_fork(&self, source: &Session, fork: NewFork) -> Result<AddedFork, CreateError> {
        self.check_open()?;
        let has_room = self.check_journal();
        let reason = fork.forked_from.sentence();
        let mut state = self.shared.sessions.lock();
        if let Some(entry) = repeated(&state, fork.idempotency.as_ref())? {
            return Ok(AddedFork::Repeated(Arc::clone(&entry.session)));
        }
        if state.sessions.contains_key(&fork.id) {
            return Err(CreateError::Duplicate);
        }
        has_room?;
        let (now, number) = (Timestamp::now(), state.next_number());
        let status = Status {
            state: State::Completed,
            remote_id: Some(fork.remote_id),
            completed_at: Some(now),
            ended: Some(Instant::now()),
            turn: 0,
            // The driver gave the copy the rules of the original.
            policy: source.engine_policy(),
            ..Status::new(now)
        };
        let origin = Origin {
            idempotency: fork.idempotency,
            forked_from: Some(fork.forked_from),
            ..source.origin.clone()
        };
        let extent = StoredRange {
            idle: true,
            ..StoredRange::empty(number, Epoch::random())
        };
        let session = Session::new(fork.id, number, now, origin, status, self.log(extent));
        *session.labels.lock() = fork.labels;
        let session = Arc::new(session);
        let (_, outcome_rx) = watch::channel(Some(Ok(session.created())));
        state.insert(&session, outcome_rx);
        drop(state);
        session.note(reason);
        Ok(AddedFork::New(session))
    }
}

// === impl ForkedFrom ===

impl ForkedFrom {
    fn sentence(&self) -> String {
        let id = &self.session_id;
        match (&self.turn, &self.message_id) {
            (Some(turn), _) => format!("forked from session {id} after turn {turn}"),
            (None, Some(message)) => format!("forked from session {id} before message {message}"),
            (None, None) => format!("forked from session {id}"),
        }
    }
}
