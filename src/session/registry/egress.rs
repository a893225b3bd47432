//! What a session's tools may reach, changed while it exists.

use std::sync::Arc;

use super::Registry;
use crate::egress_policy::SessionEgress;
use crate::session::record::Session;

// === impl Registry ===

impl Registry {
    /// For this turn and those after it, until one of them says otherwise.
    pub(crate) async fn change_egress(&self, session: &Session, egress: SessionEgress) {
        // A turn that does not come about takes what it was to change with it.
        session.begun().await;
        // Under the lock no turn begins or ends, so none takes over what was before.
        let sessions = self.shared.sessions.lock();
        session.update(|status| Arc::make_mut(&mut status.policy).egress = egress);
        session.record_row();
        drop(sessions);
    }
}
