//! Sessions that the backend has as active and only the agent knows: made here, so that they have an end.
//!
//! Such a session runs nowhere: the sidecar that ran it is gone, and so is its journal. It goes to the
//! driver, which tells what it finds of it and ends the turn.

use std::sync::Arc;
use std::sync::atomic::AtomicU32;

use parking_lot::Mutex;
use tokio::sync::{mpsc, watch};

use super::archive::created;
use super::{Registry, Status, Turn, TurnKind};
use crate::clock::Timestamp;
use crate::event::State as SessionState;
use crate::session::limits::StreamSlots;
use crate::session::log::{Epoch, Place};
use crate::session::record::Origin;
use crate::session::{Interrupted, Session};

/// A session that the agent made a conversation for, and that our journal does not know. Its id is one of
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
    /// There is no place for it now.
    Full,
    /// The sidecar is leaving.
    Closed,
}

// === impl Registry ===

impl Registry {
    /// Makes a session of what the backend and the agent know. [`find`](Self::find) has to say first that
    /// there is none.
    pub(crate) fn adopt(&self, stray: OrphanSession) -> Adoption {
        if self.shared.closed.is_cancelled() {
            return Adoption::Closed;
        }
        // Before the session exists: then nothing can fail any more.
        let Ok(permit) = self.shared.turns_tx.try_reserve() else {
            return Adoption::Full;
        };
        let mut state = self.shared.state.lock();
        // It may have come since.
        if let Some(entry) = state.sessions.get(&stray.id) {
            return Adoption::Known(entry.session.clone());
        }
        if state.active() >= self.shared.config.most {
            return Adoption::Full;
        }
        state.last_number += 1;
        let remote_id = stray.remote_id.clone();
        let session = self.adopted(stray, state.last_number);
        let (turn_handle, outcome_rx) = self.turn_handle(session.clone(), None);
        turn_handle
            .outcome_tx
            .send_replace(Some(Ok(created(&session))));
        state.insert(&session, outcome_rx);
        drop(state);
        session.log.record(session.row(), true);
        let interrupted = Interrupted {
            remote_id,
            notes: Vec::new(),
            before: None,
            began: session.created_at,
        };
        permit.send(Turn {
            kind: TurnKind::Recover(interrupted),
            turn_handle,
        });
        Adoption::Taken(session)
    }

    fn adopted(&self, stray: OrphanSession, number: u64) -> Arc<Session> {
        let now = Timestamp::now();
        let status = Status {
            state: SessionState::Running,
            remote_id: Some(stray.remote_id),
            ..Status::new(now)
        };
        Arc::new(Session {
            id: stray.id,
            created_at: stray.created_at.unwrap_or(now),
            number,
            origin: Origin::default(),
            key: None,
            log: self.log(Place::beginning(number, Epoch::random())),
            slots: StreamSlots::default(),
            commands_tx: Mutex::new(mpsc::channel(1).0),
            status_tx: watch::Sender::new(Arc::new(status)),
            reported: AtomicU32::new(0),
        })
    }
}
