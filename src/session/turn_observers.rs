//! Who hears of a turn's events besides its readers: the metrics, and the audit log.

use super::turn_audit::TurnAudit;
use super::turn_progress::TurnProgress;
use crate::event::Event;

/// Those of one turn.
#[derive(Debug)]
pub(super) struct TurnObservers {
    progress: TurnProgress,
    audit: TurnAudit,
}

// === impl TurnObservers ===

impl TurnObservers {
    pub(super) fn new() -> Self {
        Self {
            progress: TurnProgress::new(),
            audit: TurnAudit::default(),
        }
    }

    /// It began in this process.
    pub(super) fn began(&self) {
        self.progress.began();
    }

    pub(super) fn note(&self, session: &str, turn: u32, event: &Event) {
        self.progress.note(event);
        self.audit.note(session, turn, event);
    }
}
