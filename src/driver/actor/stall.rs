//! Says why a turn is silent.

use std::time::Duration;

use super::state::Actor;
use crate::clock::Timestamp;

// === impl Actor ===

impl Actor {
    /// Keeps what the turn is doing, for clients that ask. Publishes it once the turn has been silent for a while, and
    /// again if the cause changes.
    pub(super) fn check_stall(&mut self) {
        let found = self.diagnose();
        if self.stopping.is_some()
            || self.recovery.is_some()
            || self.asks.is_waiting()
            || self.last_activity_at.elapsed() < self.context.config.stall_after
        {
            return;
        }
        let before = self.stalled.replace(found.cause);
        if before == Some(found.cause) {
            return;
        }
        if before.is_none() {
            // The sign of the end may be what was lost. A session that works says so, and nothing changes.
            self.asked = 0;
            self.check_for_end(Duration::ZERO);
        }
        tracing::warn!(
            session.id = self.turn_handle.session.id,
            cause = found.cause.as_str(),
            reason = found.sentence,
            "a turn is silent"
        );
        let translator = &mut self.turn.translator;
        translator.set_stalled(Some(found.sentence), Timestamp::now());
    }
}
