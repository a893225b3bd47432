//! Finds out why a turn is silent.

use std::time::Duration;

use super::state::Actor;
use crate::clock::Timestamp;
use crate::gateway::{Grant, Wait};

// === impl Actor ===

impl Actor {
    /// Publishes the reason once the turn has been silent for a while, and again if the reason changes.
    pub(super) fn check_stall(&mut self) {
        let silence = self.last_activity_at.elapsed();
        if self.stopping.is_some()
            || self.recovery.is_some()
            || silence < self.context.config.stall_after
        {
            return;
        }
        let seconds = silence.as_secs();
        let tool = self.turn_handle.session.status().current_tool.clone();
        let (kind, reason) = match (self.turn.grant.as_ref().map(Grant::wait), tool) {
            (Some(Wait::Provider { deadline, .. }), _) => {
                let until = Timestamp::from(deadline);
                let reason = format!("waiting for the model provider until {until}");
                ("provider", reason)
            }
            (Some(Wait::Retry { until }), _) => {
                let until = Timestamp::from(until);
                let reason = format!("the model provider is asked again at {until}");
                ("retry", reason)
            }
            (Some(Wait::Answering { .. }), _) => (
                "answering",
                "the model's answer comes in, but the engine says nothing".into(),
            ),
            (_, Some(tool)) => {
                let reason =
                    format!("the tool {tool} is running and has said nothing for {seconds} s");
                ("tool", reason)
            }
            _ => {
                let reason = format!("nothing was heard from the engine for {seconds} s");
                ("silent", reason)
            }
        };
        let before = self.stalled.replace(kind);
        if before == Some(kind) {
            return;
        }
        if before.is_none() {
            // The sign of the end may be what was lost. A session that works says so, and nothing changes.
            self.asked = 0;
            self.check_for_end(Duration::ZERO);
        }
        let translator = &mut self.turn.translator;
        translator.set_stalled(Some(reason), Timestamp::now());
    }
}
