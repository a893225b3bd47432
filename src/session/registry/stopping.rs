//! Takes prompts out of the queue of a session: one of them, or all with the stop of the session.

use std::sync::Arc;

use super::Registry;
use crate::event::PromptState;
use crate::session::prompt_row;
use crate::session::queue::Queued;
use crate::session::record::Session;
use crate::session::status::Status;

// === impl Registry ===

impl Registry {
    /// Withdraws turn `turn`, and says whether it waited.
    pub(crate) async fn withdraw(&self, session: &Arc<Session>, turn: u32) -> bool {
        let sessions = self.shared.sessions.lock();
        let withdrawn = session.queue.lock().withdraw(turn);
        let waited = !self
            .note_withdrawn(session, withdrawn.as_slice())
            .is_empty();
        drop(sessions);
        if waited {
            session.noted().await;
        }
        waited
    }

    /// Ends a session: what waits is withdrawn, what runs is cancelled, and its key is dropped. The caller has the
    /// deadline; what it does not wait for is only the end of what runs.
    pub(crate) async fn stop(&self, session: &Arc<Session>) -> (Arc<Status>, Vec<u32>) {
        let withdrawn = self.begin_stop(session);
        let status = session.cancel().await;
        if !withdrawn.is_empty() {
            session.noted().await;
        }
        (status, withdrawn)
    }

    /// What a stop takes with it at once: all that waits, what is on its way to the running turn, and the key.
    fn begin_stop(&self, session: &Session) -> Vec<u32> {
        let mut sessions = self.shared.sessions.lock();
        sessions.credentials.remove(session.number);
        let withdrawn = session.queue.lock().stop();
        self.note_withdrawn(session, &withdrawn)
    }

    /// Tells the session's readers what was taken out of its queue. Returns the turns.
    fn note_withdrawn(&self, session: &Session, withdrawn: &[Queued]) -> Vec<u32> {
        for queued in withdrawn {
            let after = session.log.last_appended();
            session.accepted.lock().withdraw(queued.turn);
            let note = (PromptState::Withdrawn, &*queued.request);
            let row = prompt_row::withdrawn(queued);
            self.note(session, note, row, Some(&queued.span));
            queued.span.begin(after);
        }
        withdrawn.iter().map(|queued| queued.turn).collect()
    }
}
