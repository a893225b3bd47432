//! Notes on disk that a turn begins, before the agent hears of it.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use super::record::{PUBLISH_WAIT, Session};
use crate::journal::PromptRow;

/// The beginning of a turn, to be noted before the agent hears of it: nothing may be run twice.
#[derive(Clone, Debug)]
pub(crate) struct Beginning {
    session: Arc<Session>,
    prompt: Option<PromptRow>,
    recorded: Arc<AtomicBool>,
}

// === impl Beginning ===

impl Beginning {
    /// `recorded` is set when the beginning was handed to the disk.
    pub(super) const fn new(
        session: Arc<Session>,
        prompt: Option<PromptRow>,
        recorded: Arc<AtomicBool>,
    ) -> Self {
        Self {
            session,
            prompt,
            recorded,
        }
    }

    /// Notes that the turn begins, `before` being OpenCode's newest message before it, and waits until that is on disk. A
    /// disk that fails is not waited for. Only for a session that had a turn before: of a new one nobody knows yet.
    pub(crate) async fn record(&self, before: Option<&str>) {
        self.session
            .update(|status| status.before = before.map(str::to_owned));
        self.recorded.store(true, Ordering::Relaxed);
        let log = &self.session.log;
        match &self.prompt {
            Some(prompt) => log.record_beginning(self.session.row(), prompt.clone()),
            None => log.record(self.session.row(), true),
        }
        drop(tokio::time::timeout(PUBLISH_WAIT, log.written()).await);
    }
}
