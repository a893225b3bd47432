//! What a turn has gathered for its end, and how it may end.

use super::files::Files;
use super::progress::Progress;
use crate::clock::{Timestamp, millis};
use crate::event::{Complete, Failure, Usage};
use crate::opencode::types as oc;
use crate::session::diagnosis::ToolCounts;

/// How a turn ended. Decided by `driver::ending`, a deadline or the caller.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum End {
    Complete { finish_reason: Option<String> },
    Failed(Failure),
    Cancelled,
}

#[derive(Debug, Default)]
pub(super) struct Turn {
    /// When it began; `None` outside of a turn.
    pub(super) began: Option<Timestamp>,
    pub(super) progress: Progress,
    pub(super) files: Files,
    /// Why the root session failed, until the model answers again.
    pub(super) error: Option<oc::ProviderError>,
    pub(super) usage: Usage,
    pub(super) tool_counts: ToolCounts,
    last_message: Option<String>,
    last_texts: Vec<String>,
}

// === impl Turn ===

impl Turn {
    pub(super) fn begin(now: Timestamp) -> Self {
        Self {
            began: Some(now),
            ..Self::default()
        }
    }

    pub(super) const fn running(&self) -> bool {
        self.began.is_some()
    }

    pub(super) fn add_usage(&mut self, step: &oc::StepFinish) {
        self.usage = self.usage.plus(Usage {
            input_tokens: step.input,
            output_tokens: step.output,
            reasoning_tokens: step.reasoning,
            cache_read_tokens: step.cache_read,
            cache_write_tokens: step.cache_write,
            cost: step.cost,
        });
        // Sums of decimal prices; beyond a billionth there is only the error of binary fractions.
        self.usage.cost = (self.usage.cost * 1e9).round() / 1e9;
    }

    /// A whole text of the model. The last message that has one is the turn's answer.
    pub(super) fn final_text(&mut self, message: String, text: String) {
        if text.trim().is_empty() {
            return;
        }
        if self.last_message.as_deref() != Some(&*message) {
            self.last_texts.clear();
            self.last_message = Some(message);
        }
        self.last_texts.push(text);
    }

    pub(super) fn restart_message(&mut self, message: &str) {
        if self.last_message.as_deref() == Some(message) {
            self.last_texts.clear();
        }
    }

    /// The answer of the turn, without the files it changed.
    pub(super) fn complete(&self, finish_reason: Option<String>, now: Timestamp) -> Complete {
        let took = self.began.map(|began| now.since(began)).unwrap_or_default();
        Complete {
            final_message: self.last_texts.join("\n\n"),
            usage: self.usage,
            duration_ms: millis(took),
            finish_reason,
            ..Complete::default()
        }
    }
}
