//! The status of a turn: how far it is, what runs, what it waits for.

use std::sync::Arc;

use crate::event::{Phase, State, Status};
use crate::opencode::types as oc;

/// The most a turn may claim before it has ended.
const MAX_PERCENT: u8 = 99;

#[derive(Debug, Default)]
pub(super) struct Progress {
    percent: u8,
    /// The root's calls that run, oldest first: call and tool.
    tools: Vec<(Arc<str>, Arc<str>)>,
    /// Whether a person is waited for.
    pub(super) waiting: bool,
    phase: Option<Phase>,
    reason: Option<String>,
    /// Why events are not kept at present. Published while there is no other phase.
    pub(super) degraded: Option<String>,
    published: Option<Status>,
}

// === impl Progress ===

impl Progress {
    /// The status now, if it differs from the last one that this returned.
    pub(super) fn changed_status(&mut self) -> Option<Status> {
        let (phase, reason) = match (self.phase, &self.degraded) {
            (None, Some(degraded)) => (Some(Phase::JournalDegraded), Some(degraded.clone())),
            (phase, _) => (phase, self.reason.clone()),
        };
        let state = if self.waiting {
            State::WaitingInput
        } else {
            State::Running
        };
        let status = Status {
            phase,
            reason,
            ..self.final_status(state)
        };
        if self.published.as_ref() == Some(&status) {
            return None;
        }
        self.published = Some(status.clone());
        Some(status)
    }

    /// The status with which a turn ends.
    pub(super) fn final_status(&self, state: State) -> Status {
        let completed = state == State::Completed;
        Status {
            state,
            progress: if completed { 100 } else { self.percent },
            phase: None,
            current_tool: self.tools.last().map(|(_, tool)| tool.clone()),
            reason: None,
        }
    }

    pub(super) const fn phase(&self) -> Option<Phase> {
        self.phase
    }

    pub(super) fn set_phase(&mut self, phase: Option<Phase>, reason: Option<String>) {
        (self.phase, self.reason) = (phase, reason);
    }

    pub(super) fn tool_began(&mut self, call: Arc<str>, tool: Arc<str>) {
        self.tools.push((call, tool));
    }

    pub(super) fn tool_ended(&mut self, call: &str) {
        self.tools.retain(|(open, _)| **open != *call);
    }

    pub(super) fn tools_ended(&mut self) {
        self.tools.clear();
    }

    /// Completed items of all that count; never less than before.
    pub(super) fn todos(&mut self, todos: &[oc::Todo]) {
        let count = |word| todos.iter().filter(|todo| todo.status == word).count();
        let total = todos.len() - count("cancelled");
        let percent = (count("completed") * 100)
            .checked_div(total)
            .unwrap_or_default();
        let percent = u8::try_from(percent).unwrap_or(MAX_PERCENT);
        self.percent = self.percent.max(percent.min(MAX_PERCENT));
    }
}
