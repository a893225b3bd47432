//! Where the events of all sessions are read.

use std::sync::Arc;

use super::Registry;
use super::archive::ArchiveError;
use crate::session::all_events::Source;

// === impl Registry ===

impl Registry {
    /// Waits until the sessions of an earlier process are known, and with them their events.
    pub(crate) async fn all_events(&self) -> Result<Source, ArchiveError> {
        self.loaded().await?;
        let shared = &self.shared;
        Ok(Source::new(
            Arc::clone(&shared.order),
            Arc::clone(&shared.sessions),
            shared.journal.clone(),
        ))
    }
}
