//! What the events of a turn say for the metrics: how long it took until something could be seen, its tools, its end.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use crate::event::{Body, Event, FailureCode};
use crate::metrics::turn as metrics;
use crate::tool;
use crate::trace::TurnTrace;

/// One turn, as far as its times go.
#[derive(Debug)]
pub(super) struct TurnProgress {
    /// When the prompt came.
    since: Instant,
    /// It began in this process. Of one that an earlier process began nobody knows how long it took.
    began: AtomicBool,
    /// Something of the agent's was published.
    shown: AtomicBool,
}

// === impl TurnProgress ===

impl TurnProgress {
    pub(super) fn new() -> Self {
        Self {
            since: Instant::now(),
            began: AtomicBool::new(false),
            shown: AtomicBool::new(false),
        }
    }

    pub(super) fn began(&self) {
        self.began.store(true, Ordering::Relaxed);
    }

    /// `trace` is what its durations point at.
    pub(super) fn note(&self, event: &Event, trace: &TurnTrace) {
        let exemplar = || trace.recorded().map(|context| context.trace_id());
        match &event.body {
            Body::Output(_) | Body::ToolCall(_) => self.note_first(),
            Body::ToolResult(result) => {
                let tool = tool::known(&result.tool).unwrap_or("other");
                let ran = Duration::from_millis(result.duration_ms);
                metrics::tool_ended(tool, result.is_error, ran, exemplar());
            }
            Body::Permission(permission) => {
                if let Some(outcome) = permission.step.outcome() {
                    metrics::ask_ended("permission", outcome);
                }
            }
            Body::Question(question) => {
                if let Some(outcome) = question.step.outcome() {
                    metrics::ask_ended("question", outcome);
                }
            }
            _ => {}
        }
        if let Some((state, code)) = event.turn_end() {
            let code = code.map_or("none", FailureCode::as_str);
            metrics::ended(state.as_str(), code, self.took(), exemplar());
        }
    }

    fn note_first(&self) {
        if self.began.load(Ordering::Relaxed) && !self.shown.swap(true, Ordering::Relaxed) {
            metrics::FIRST_EVENT.observe(self.since.elapsed());
        }
    }

    fn took(&self) -> Option<Duration> {
        self.began
            .load(Ordering::Relaxed)
            .then(|| self.since.elapsed())
    }
}
