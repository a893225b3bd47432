//! Which sessions the agent has, for the backend's list: that names sessions of other pods too, and only the
//! agent's own data says which of them were ours.

use super::child_connection;

/// A cheap clone.
#[derive(Clone, Debug)]
pub(crate) struct AgentSessions(child_connection::Watch);

// === impl AgentSessions ===

impl AgentSessions {
    pub(super) const fn new(connections: child_connection::Watch) -> Self {
        Self(connections)
    }

    /// Whether the agent made its session `remote_id` for our session `id`, which then is its title.
    /// Waits for a child. `None`: it could not be asked.
    pub(crate) async fn made_for(&self, remote_id: &str, id: &str) -> Option<bool> {
        let connection = child_connection::next(&mut self.0.clone()).await?;
        match connection.client.session_title(remote_id).await {
            Ok(title) => Some(title.as_deref() == Some(id)),
            Err(error) => {
                tracing::debug!(%error, "the agent could not be asked for a session");
                None
            }
        }
    }
}
