//! What the driver gets for a turn that may begin: where commands come from and results go to.

use std::sync::Arc;
use std::time::Instant;

use tokio::sync::{mpsc, watch};

use super::registry::Registry;
use super::{Command, CreateError, Problem, Request, Session, Status};
use crate::clock::Timestamp;
use crate::event::{Body, Encoded, Event, Failure, FailureCode, State};
use crate::session::log::Note;

/// A session that runs, for the client who asked for it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Created {
    pub(crate) remote_id: String,
    pub(crate) created_at: Timestamp,
}

/// What the driver is to do.
#[derive(Debug)]
pub(crate) enum TurnKind {
    /// Run what a client asks for: the first turn of a session, or another one if its status has a `remote_id`.
    Prompt(Box<Request>),
    /// The sidecar died under a turn: find out what became of it, and end it.
    Recover(Interrupted),
}

/// A turn that another process began.
#[derive(Clone, Debug)]
pub(crate) struct Interrupted {
    pub(crate) remote_id: String,
    /// How far each part was told.
    pub(crate) notes: Vec<(String, u64)>,
    /// The newest message before the turn.
    pub(crate) before: Option<String>,
    pub(crate) began: Timestamp,
}

/// A turn, for the driver.
#[derive(Debug)]
pub(crate) struct Turn {
    pub(crate) kind: TurnKind,
    pub(crate) turn_handle: TurnHandle,
}

/// The outcome of a beginning, once there is one.
pub(super) type Outcome = Option<Result<Created, CreateError>>;

/// The driver's side of a session. Dropping it before the turn has begun refuses it.
#[derive(Debug)]
pub(crate) struct TurnHandle {
    pub(crate) session: Arc<Session>,
    pub(crate) commands_rx: mpsc::Receiver<Command>,
    /// How the session was before, if it had a turn before.
    pub(super) earlier: Option<Arc<Status>>,
    pub(super) outcome_tx: watch::Sender<Outcome>,
    pub(super) registry: Registry,
}

// === impl TurnHandle ===

impl TurnHandle {
    /// The turn runs: its client may be told. `before` is the newest message before it.
    pub(crate) fn accept(&self, remote_id: &str, before: Option<String>) {
        self.update(|status| {
            status.state = State::Running;
            status.remote_id = Some(remote_id.to_owned());
            status.before = before;
        });
        self.session.log.record(self.session.row(), true);
        let created = Created {
            remote_id: remote_id.to_owned(),
            created_at: self.session.created_at,
        };
        self.outcome_tx.send_replace(Some(Ok(created)));
    }

    /// The turn did not come about: a new session's id is free again, an older one is as it was.
    pub(crate) fn refuse(self, error: CreateError) {
        self.give_up(error);
    }

    /// Changes what clients see of the session.
    pub(crate) fn update(&self, change: impl FnOnce(&mut Status)) {
        self.session.update(change);
    }

    /// Adds an event to the session's log. With the last one the turn is over, on disk too.
    pub(crate) fn append(&self, pieces: &[Encoded], note: Option<Note>) {
        let terminal = pieces.iter().any(|piece| piece.terminal);
        let row = terminal.then(|| self.session.row());
        self.session.log.append_all(pieces, note, row);
    }

    /// The turn had begun, and its driver is gone without having ended it: a fault of ours, which must
    /// not keep readers and a place for ever.
    fn abandon(&self) {
        self.fail(
            FailureCode::Internal,
            "something failed in the sidecar; its log says what",
            true,
        );
    }

    /// The turn ran somewhere else, and nothing of it is here to look for.
    pub(super) fn lost(&self) {
        self.fail(
            FailureCode::Interrupted,
            "the sidecar that ran this session is gone, and nothing of the session is here",
            false,
        );
    }

    fn fail(&self, code: FailureCode, sentence: &str, resumable: bool) {
        let at = Timestamp::now();
        let failure = Failure {
            code,
            error: sentence.into(),
            fatal: true,
            retry_after: None,
            resumable: Some(resumable),
        };
        self.update(|status| {
            status.state = State::Failed;
            status.problem = Some(Problem {
                code: failure.code.as_str().into(),
                sentence: failure.error.clone(),
            });
            status.last_activity = at;
            status.completed_at = Some(at);
            status.ended = Some(Instant::now());
        });
        let event = Event {
            at,
            agent: None,
            body: Body::Error(failure),
            note: None,
        };
        self.append(&event.encode(), None);
        self.registry.ended();
    }

    fn give_up(&self, error: CreateError) {
        if self.outcome_tx.borrow().is_none() {
            match &self.earlier {
                Some(earlier) => self.registry.restore(&self.session, earlier.clone()),
                None => self.registry.forget(&self.session),
            }
            self.outcome_tx.send_replace(Some(Err(error)));
        }
    }
}

impl Drop for TurnHandle {
    /// A driver that fails must not leave a client waiting: neither for its 201 nor for an end.
    fn drop(&mut self) {
        let began = matches!(&*self.outcome_tx.borrow(), Some(Ok(_)));
        if !began {
            self.give_up(CreateError::Failed("the session's driver ended".into()));
        } else if !self.session.status().state.is_final() {
            self.abandon();
        }
    }
}

#[cfg(test)]
mod tests {
    use tokio_util::task::TaskTracker;

    use super::super::tests::{request, small};
    use super::*;

    #[tokio::test]
    async fn a_driver_that_fails_ends_its_turn() {
        let (registry, mut turns_rx) = small();
        let creating = TaskTracker::new().spawn({
            let registry = registry.clone();
            async move { registry.create(request("s1")).await }
        });
        let turn_handle = turns_rx.recv().await.unwrap().turn_handle;
        turn_handle.accept("ses_1", None);
        let (session, _) = creating.await.unwrap().unwrap();
        drop(turn_handle);
        let status = session.status();
        assert_eq!(status.state, State::Failed);
        assert_eq!(status.problem.as_ref().unwrap().code, "internal");
        assert_eq!(
            session.log.last_event_id().seq,
            1,
            "and its stream has the end"
        );
        registry.idle().await;
    }
}
