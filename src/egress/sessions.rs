//! Which sessions may ask, and for what.
//!
//! A session is known as long as a turn of it runs. When its [`Grant`] goes, its tunnels are cut.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use parking_lot::Mutex;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::credential;
use super::decisions::{Decision, Decisions};
use super::refusal::Refusal;
use crate::egress_policy::{Host, InstanceEgress, Mode, SessionEgress};
use crate::secret::Secret;

/// Connections of one session at a time.
pub(super) const MOST_OF_ONE: usize = 128;

/// Whose turn it is.
#[derive(Clone, Debug)]
pub(crate) struct Subject {
    /// OpenCode's id of the root session: the name in the credential.
    pub(crate) remote_id: String,
    pub(crate) session: String,
    pub(crate) turn: u32,
}

/// All of them.
#[derive(Debug, Default)]
pub(super) struct Sessions {
    known: Mutex<HashMap<String, Arc<Known>>>,
    /// Of the present child.
    key: Mutex<Option<Secret>>,
}

/// A session whose turn runs.
#[derive(Debug)]
pub(super) struct Known {
    pub(super) subject: Subject,
    pub(super) egress: watch::Sender<Arc<SessionEgress>>,
    pub(super) revoked: CancellationToken,
    pub(super) decisions: Decisions,
    connections: AtomicUsize,
}

/// The right of one turn to ask. Dropping it cuts what is open.
#[derive(Debug)]
pub(crate) struct Grant {
    sessions: Arc<Sessions>,
    known: Arc<Known>,
}

/// The place of one connection among those of its session.
#[derive(Debug)]
pub(super) struct Place(Arc<Known>);

// === impl Sessions ===

impl Sessions {
    /// From here on the credentials that were made with the key before open nothing.
    pub(super) fn new_key(&self) -> Secret {
        let key = Secret::random();
        *self.key.lock() = Some(key.clone());
        key
    }

    pub(super) fn register(self: &Arc<Self>, subject: Subject, egress: SessionEgress) -> Grant {
        let known = Arc::new(Known {
            egress: watch::Sender::new(Arc::new(egress)),
            revoked: CancellationToken::new(),
            decisions: Decisions::default(),
            connections: AtomicUsize::new(0),
            subject,
        });
        let name = known.subject.remote_id.clone();
        let before = self.known.lock().insert(name, Arc::clone(&known));
        if let Some(before) = before {
            before.revoked.cancel();
        }
        Grant {
            sessions: Arc::clone(self),
            known,
        }
    }

    /// `now` is asked when no other change can come between: the last one holds.
    pub(super) fn refresh(&self, remote_id: &str, now: impl FnOnce() -> SessionEgress) {
        let known = self.known.lock().get(remote_id).cloned();
        if let Some(known) = known {
            known.refresh(now);
        }
    }

    /// Who shows this credential. The time that it takes tells whether the name is known, and nothing of the password.
    pub(super) fn authenticate(&self, credential: Option<&(String, String)>) -> Option<Arc<Known>> {
        let (name, password) = credential?;
        let known = self.known.lock().get(name).cloned()?;
        let key = self.key.lock().clone()?;
        credential::password(&key, name)
            .matches(password.as_bytes())
            .then_some(known)
    }
}

// === impl Known ===

impl Known {
    /// Whether it may ask for this host now.
    pub(super) fn check(
        &self,
        instance: &InstanceEgress,
        host: &Host,
        port: u16,
    ) -> Result<(), Refusal> {
        let egress = self.egress.borrow().clone();
        if instance.permits(&egress, host, port) {
            return Ok(());
        }
        let nothing = *egress == SessionEgress::None || instance.mode == Mode::None;
        Err(if nothing {
            Refusal::Nothing
        } else {
            Refusal::NotListed
        })
    }

    fn refresh(&self, now: impl FnOnce() -> SessionEgress) {
        self.egress.send_modify(|egress| *egress = Arc::new(now()));
    }

    /// Takes a place among its connections.
    pub(super) fn enter(self: &Arc<Self>) -> Result<Place, Refusal> {
        let taken = self.connections.fetch_add(1, Ordering::AcqRel);
        // Dropped again where it is one too many.
        let place = Place(Arc::clone(self));
        if taken < MOST_OF_ONE {
            Ok(place)
        } else {
            Err(Refusal::Crowded)
        }
    }
}

// === impl Grant ===

impl Grant {
    /// As [`super::Handle::refresh`].
    pub(crate) fn refresh(&self, now: impl FnOnce() -> SessionEgress) {
        self.known.refresh(now);
    }

    /// Waits until something was decided that the session is to be told of. Cancel-safe.
    pub(crate) async fn decided(&self) -> Vec<Decision> {
        self.known.decisions.next().await
    }

    /// What it was not told of yet.
    pub(crate) fn undisclosed(&self) -> Vec<Decision> {
        self.known.decisions.rest()
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.0.connections.fetch_sub(1, Ordering::AcqRel);
    }
}

impl Drop for Grant {
    fn drop(&mut self) {
        self.known.revoked.cancel();
        let mut known = self.sessions.known.lock();
        let name = &self.known.subject.remote_id;
        // A later turn of the same session is not ours to remove.
        if known
            .get(name)
            .is_some_and(|present| Arc::ptr_eq(present, &self.known))
        {
            known.remove(name);
        }
    }
}
