//! What the driver gets for a session that may begin: where commands come from and results go to.

use std::sync::Arc;
use std::time::Instant;

use tokio::sync::{mpsc, watch};
use tokio_util::sync::CancellationToken;

use super::registry::Registry;
use super::{Command, CreateError, Problem, Request, Session, Status};
use crate::clock::Timestamp;
use crate::event::{Body, Event, Failure, FailureCode, State};

/// A session that runs, for the client who asked for it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Created {
    pub(crate) remote_id: String,
    pub(crate) created_at: Timestamp,
}

/// The creation's outcome, once there is one.
pub(super) type Outcome = Option<Result<Created, CreateError>>;

/// The driver's side of a session. Dropping it before the session has begun refuses it.
#[derive(Debug)]
pub(crate) struct Seat {
    pub(crate) request: Request,
    pub(crate) session: Arc<Session>,
    pub(crate) commands_rx: mpsc::Receiver<Command>,
    pub(super) status_tx: watch::Sender<Arc<Status>>,
    pub(super) outcome_tx: watch::Sender<Outcome>,
    pub(super) registry: Registry,
}

// === impl Seat ===

impl Seat {
    /// The session runs: its client may be told.
    pub(crate) fn accept(&self, remote_id: &str) {
        self.update(|status| {
            status.state = State::Running;
            status.remote_id = Some(remote_id.to_owned());
        });
        let created = Created {
            remote_id: remote_id.to_owned(),
            created_at: self.session.created_at,
        };
        self.outcome_tx.send_replace(Some(Ok(created)));
    }

    /// The session did not come about: its id is free again.
    pub(crate) fn refuse(self, error: CreateError) {
        self.give_up(error);
    }

    /// Changes what clients see of the session.
    pub(crate) fn update(&self, change: impl FnOnce(&mut Status)) {
        self.status_tx
            .send_modify(|status| change(Arc::make_mut(status)));
    }

    /// Cancelled when nobody can ask for the session any more.
    pub(crate) fn removed(&self) -> CancellationToken {
        self.session.removed.clone()
    }

    /// The turn had begun, and its driver is gone without having ended it: a fault of ours, which must
    /// not keep readers and a place for ever.
    fn abandon(&self) {
        let at = Timestamp::now();
        let failure = Failure {
            code: FailureCode::Internal,
            error: "something failed in the sidecar; its log says what".into(),
            fatal: true,
            retry_after: None,
            resumable: Some(true),
        };
        self.update(|status| {
            status.state = State::Failed;
            status.problem = Some(Problem {
                code: failure.code.as_str(),
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
        for piece in event.encode() {
            self.session.log.end_turn(piece.kind, &piece.data);
        }
        self.registry.ended();
    }

    fn give_up(&self, error: CreateError) {
        if self.outcome_tx.borrow().is_none() {
            self.registry.forget(&self.session);
            self.outcome_tx.send_replace(Some(Err(error)));
        }
    }
}

impl Drop for Seat {
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
        let (registry, mut seats_rx) = small();
        let creating = TaskTracker::new().spawn({
            let registry = registry.clone();
            async move { registry.create(request("s1")).await }
        });
        let seat = seats_rx.recv().await.unwrap();
        seat.accept("ses_1");
        let (session, _) = creating.await.unwrap().unwrap();
        drop(seat);
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
