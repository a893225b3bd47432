//! What happens to a session outside of its turns, as its readers see it.

use super::log::Addition;
use super::record::Session;
use crate::clock::Timestamp;
use crate::event::{Body, Event, Status};

// === impl Session ===

impl Session {
    /// Writes what happened to the session outside of a turn to its log, and with it what the session is now.
    pub(crate) fn note(&self, reason: String) {
        let status = self.status();
        let event = Status {
            state: status.state,
            progress: status.progress,
            phase: None,
            current_tool: None,
            reason: Some(reason),
        };
        let event = Event::new(Timestamp::now(), Body::Status(event));
        self.log.add(Addition {
            row: Some(self.row()),
            ..Addition::of(event.encode(status.turn))
        });
    }
}
