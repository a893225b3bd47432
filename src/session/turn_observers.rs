//! Who hears of a turn's events besides its readers: the metrics, the audit log, the trace.

use super::record::Session;
use super::turn_audit::TurnAudit;
use super::turn_progress::TurnProgress;
use crate::event::Event;
use crate::trace::{self, TraceContext, TurnTrace};

/// Those of one turn.
#[derive(Debug)]
pub(super) struct TurnObservers {
    progress: TurnProgress,
    audit: TurnAudit,
    trace: TurnTrace,
}

// === impl TurnObservers ===

impl TurnObservers {
    /// For the turn that begins now. `is_first`: the first of the session in this process. `parent`: the span of the
    /// request that asked for it.
    pub(super) fn new(session: &Session, is_first: bool, parent: Option<TraceContext>) -> Self {
        Self {
            progress: TurnProgress::new(),
            audit: TurnAudit::default(),
            trace: begin(session, is_first, parent),
        }
    }

    /// It began in this process.
    pub(super) fn began(&self) {
        self.progress.began();
    }

    pub(super) fn note(&self, session: &str, turn: u32, event: &Event) {
        self.progress.note(event, &self.trace);
        self.trace.note(event);
        self.audit.note(session, turn, event);
    }

    pub(super) const fn trace(&self) -> &TurnTrace {
        &self.trace
    }
}

/// A session that is new here and has a trace all the same had a turn when an earlier process died.
fn begin(session: &Session, is_first: bool, parent: Option<TraceContext>) -> TurnTrace {
    if !trace::is_on() {
        return TurnTrace::default();
    }
    let mut known = session.trace.lock();
    let status = session.status();
    let trace = match &*known {
        Some(span) if is_first => {
            let trace = TurnTrace::restore(Some(*span), &session.id, status.turn);
            trace.began(status.last_activity);
            trace
        }
        previous => {
            let previous = previous.map(|span| span.context);
            TurnTrace::begin(parent, previous, &session.id, status.turn)
        }
    };
    *known = trace.span();
    trace
}
