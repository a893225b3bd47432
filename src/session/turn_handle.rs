//! The driver's side of a session: where commands come from and results go to.

use std::sync::Arc;
use std::time::Instant;

use tokio::sync::{mpsc, oneshot, watch};

use super::record::{Command, Session};
use super::request::CreateError;
use super::session_map::SessionMap;
use super::status::{Problem, Status};
use super::turn::{Created, Outcome, TurnKind};
use crate::clock::Timestamp;
use crate::event::{Body, Event, Failure, FailureCode, State};

/// A turn, for the driver.
#[derive(Debug)]
pub(crate) struct Turn {
    pub(crate) kind: TurnKind,
    pub(crate) turn_handle: TurnHandle,
}

/// Dropping it before the turn has begun refuses the turn; dropping it before the turn has ended fails it.
#[derive(Debug)]
pub(crate) struct TurnHandle {
    pub(crate) session: Arc<Session>,
    commands_rx: mpsc::Receiver<Command>,
    /// The number of the turn, which each of its events has.
    turn: u32,
    /// How the session was before, if it had a turn before.
    earlier: Option<Arc<Status>>,
    outcome_tx: watch::Sender<Outcome>,
    sessions: Arc<SessionMap>,
}

/// Commands that wait for a session's driver: a cancel each, and it looks between any two events.
const COMMANDS: usize = 16;

// === impl TurnHandle ===

impl TurnHandle {
    /// For the next turn of a session. The receiver gets the result of its beginning.
    pub(super) fn new(
        session: Arc<Session>,
        earlier: Option<Arc<Status>>,
        sessions: Arc<SessionMap>,
    ) -> (Self, watch::Receiver<Outcome>) {
        let (commands_tx, commands_rx) = mpsc::channel(COMMANDS);
        *session.commands_tx.lock() = commands_tx;
        let (outcome_tx, outcome_rx) = watch::channel(None);
        let turn_handle = Self {
            turn: session.status().turn,
            session,
            commands_rx,
            earlier,
            outcome_tx,
            sessions,
        };
        (turn_handle, outcome_rx)
    }

    /// The turn runs: its client may be told. `before` is OpenCode's newest message before it.
    pub(crate) fn accept(&self, remote_id: &str, before: Option<String>) {
        self.update(|status| {
            status.state = State::Running;
            status.remote_id = Some(remote_id.to_owned());
            status.before = before;
        });
        self.session.log.record(self.session.row(), true);
        self.set_begun();
    }

    /// Answers whoever waits for the beginning of the turn: it runs.
    pub(super) fn set_begun(&self) {
        self.outcome_tx
            .send_replace(Some(Ok(Created::of(&self.session))));
    }

    /// The turn did not come about: a new session's id is free again, an older one is as it was.
    pub(crate) fn refuse(self, error: CreateError) {
        self.give_up(error);
    }

    /// The next command of a client. Nothing once the session is gone. Cancel-safe.
    pub(crate) async fn command(&mut self) -> Option<Command> {
        self.commands_rx.recv().await
    }

    /// Waits until a client wants the end of a turn that does not run yet, and returns who waits for that. Cancel-safe.
    pub(crate) async fn cancelled(&mut self) -> Option<oneshot::Sender<()>> {
        match self.commands_rx.recv().await? {
            Command::Cancel(done_tx) => Some(done_tx),
        }
    }

    /// Changes what clients see of the session.
    pub(crate) fn update(&self, change: impl FnOnce(&mut Status)) {
        self.session.update(change);
    }

    /// Adds an event to the session's log. With the last one the turn is over, on disk too.
    pub(crate) fn append(&self, event: &Event) {
        let row = event.is_terminal().then(|| self.session.row());
        let note = event.note.as_ref();
        let note = note.map(|note| (note.part.clone(), note.value));
        let pieces = event.encode(self.turn);
        self.session.log.append_all(&pieces, note, row);
    }

    /// The turn ran in a process that is gone, and nothing of it can be found.
    pub(super) fn fail_as_lost(&self) {
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
        self.append(&Event::new(at, Body::Error(failure)));
        self.sessions.on_turn_ended();
    }

    fn give_up(&self, error: CreateError) {
        if self.outcome_tx.borrow().is_none() {
            match &self.earlier {
                Some(earlier) => self.sessions.undo_turn(&self.session, earlier.clone()),
                None => self.sessions.discard(&self.session),
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
        } else if !self.session.is_final() {
            // A fault of ours, which must not keep readers waiting and the session active for ever.
            self.fail(
                FailureCode::Internal,
                "something failed in the sidecar; its log says what",
                true,
            );
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
