//! What is known of prompts that were taken, and may be sent again.

use std::collections::VecDeque;
use std::sync::Arc;

use tokio::sync::watch;

use super::log::{EventId, TurnSpan};
use super::prompt_row::KeyedPrompt;
use super::turn::Outcome;

/// A prompt that was taken.
#[derive(Clone, Debug)]
pub(crate) struct Accepted {
    pub(crate) turn: u32,
    pub(crate) acceptance: Acceptance,
    /// A stream from here misses nothing of its turn.
    pub(crate) from: EventId,
    pub(crate) span: Arc<TurnSpan>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Acceptance {
    /// Its turn runs.
    Running,
    /// Its turn comes when those before it have ended.
    Queued,
    /// It is part of the running turn.
    Steered,
}

/// One with a key.
#[derive(Clone, Debug)]
pub(super) struct AcceptedPrompt {
    pub(super) prompt: KeyedPrompt,
    pub(super) span: Arc<TurnSpan>,
    /// Of one that began at once.
    pub(super) outcome_rx: Option<watch::Receiver<Outcome>>,
}

/// By their keys, the newest last.
#[derive(Debug, Default)]
pub(super) struct AcceptedPrompts(VecDeque<AcceptedPrompt>);

/// As many as the journal keeps.
const MOST: usize = 100;

// === impl AcceptedPrompts ===

impl AcceptedPrompts {
    pub(super) fn find(&self, key: &str) -> Option<&AcceptedPrompt> {
        self.0
            .iter()
            .find(|accepted| accepted.prompt.idempotency.key == key)
    }

    pub(super) fn add(&mut self, accepted: AcceptedPrompt) {
        if self.0.len() >= MOST {
            self.0.pop_front();
        }
        self.0.push_back(accepted);
    }

    /// The turn did not begin: the same prompt may come again.
    pub(super) fn forget(&mut self, turn: u32) {
        self.0.retain(|accepted| accepted.prompt.turn != turn);
    }
}
