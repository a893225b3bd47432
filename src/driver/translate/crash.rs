//! The agent's process died in the middle of a turn, and the turn goes on in the next one.
//!
//! In this order: [`Translator::process_lost`], then what the dead process had stored is applied, then
//! [`Translator::abandon_run`], and [`Translator::resumed`] when the agent was told to go on.

use crate::clock::Timestamp;
use crate::event::Phase;

use super::{Batch, Translator};

// === impl Translator ===

impl Translator {
    /// From here on something is missing, and `reason` says what is done about it.
    pub(crate) fn process_lost(&mut self, reason: String, now: Timestamp, out: &mut Batch) {
        self.feed_lost();
        self.busy = false;
        // What waited for an answer is gone with the process that asked.
        self.turn.progress.forget_asks();
        self.turn
            .progress
            .set_phase(Some(Phase::Recovering), Some(reason));
        self.publish_status(now, out);
    }

    /// All that was stored is applied. What is open now will never go on, in subagents neither: texts are
    /// given up, and calls get their result.
    pub(crate) fn abandon_run(&mut self, now: Timestamp, out: &mut Batch) {
        self.give_up_texts(None, now, out);
        self.interrupt_tools(now, out);
        // The agent may well do once more what was cut off.
        for session in self.sessions.values_mut() {
            (session.retry, session.last_call) = (None, None);
        }
        self.turn.error = None;
        self.publish_status(now, out);
    }

    /// The agent was told to go on.
    pub(crate) fn resumed(&mut self, now: Timestamp, out: &mut Batch) {
        self.turn.progress.set_phase(None, None);
        self.publish_status(now, out);
    }

    /// The newest message of any of the sessions: ids sort in the order the messages were made.
    pub(crate) fn newest_message(&self) -> Option<&str> {
        let newest = self.messages.keys().max();
        newest.or(self.before.as_ref()).map(String::as_str)
    }
}
