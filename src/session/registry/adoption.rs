//! Sessions that the backend has as active and only the agent knows: they are created here, so that they have an end.
//!
//! Such a session runs nowhere: the sidecar that ran it is gone, and so is its journal. It goes to the driver, which
//! publishes what it finds of it and ends the turn.

use std::sync::Arc;

use super::Registry;
use crate::clock::Timestamp;
use crate::event::State;
use crate::session::log::{Epoch, StoredRange};
use crate::session::record::{Origin, Session};
use crate::session::status::Status;
use crate::session::turn::{Interrupted, TurnKind};
use crate::session::turn_handle::{Turn, TurnOrigin};

/// A session for which the agent has a conversation, and which our journal does not know. Its id fulfils
/// [`is_id`](crate::id::is_id).
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct OrphanSession {
    pub(crate) id: String,
    pub(crate) created_at: Option<Timestamp>,
    /// OpenCode's own id.
    pub(crate) remote_id: String,
}

/// What came of an adoption.
#[derive(Debug)]
pub(crate) enum Adoption {
    /// It is ours now, and its turn ends soon.
    Taken(Arc<Session>),
    /// It is here already.
    Known(Arc<Session>),
    /// The limit of active sessions is reached for now.
    Full,
    /// The sidecar is shutting down.
    Closed,
}

// === impl Registry ===

impl Registry {
    /// Makes a session of what the backend and the agent know. [`find`](Self::find) has to say first that there is none.
    pub(crate) fn adopt(&self, orphan: OrphanSession) -> Adoption {
        if self.shared.closed.is_cancelled() {
            return Adoption::Closed;
        }
        // Before the session exists, so that nothing can fail any more.
        let Ok(permit) = self.shared.turns_tx.try_reserve() else {
            return Adoption::Full;
        };
        let mut state = self.shared.sessions.lock();
        // It may have come since.
        if let Some(entry) = state.sessions.get(&orphan.id) {
            return Adoption::Known(entry.session.clone());
        }
        if state.active() >= self.shared.config.most {
            return Adoption::Full;
        }
        let (now, number) = (Timestamp::now(), state.next_number());
        let status = Status {
            state: State::Running,
            remote_id: Some(orphan.remote_id.clone()),
            ..Status::new(now)
        };
        let session = Arc::new(Session::new(
            orphan.id,
            number,
            orphan.created_at.unwrap_or(now),
            Origin::default(),
            status,
            self.log(StoredRange::empty(number, Epoch::random())),
        ));
        let (turn_handle, outcome_rx) = self.turn_handle(&session, 0, TurnOrigin::New);
        turn_handle.set_begun();
        state.insert(&session, outcome_rx);
        drop(state);
        session.log.record(session.row(), true);
        let interrupted = Interrupted {
            remote_id: orphan.remote_id,
            notes: Vec::new(),
            begun: true,
            before: None,
            began: session.created_at,
            steers: Vec::new(),
        };
        permit.send(Turn {
            kind: TurnKind::Recover(interrupted),
            turn_handle,
        });
        Adoption::Taken(session)
    }
}
