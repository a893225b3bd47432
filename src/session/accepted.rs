//! What is known of prompts that were taken, and may be sent again.

use std::collections::VecDeque;
use std::sync::Arc;

use tokio::sync::watch;

use super::log::{EventId, TurnSpan};
use super::outcome::Outcome;
use super::prompt_row::KeyedPrompt;

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
pub(super) struct AcceptedPrompts {
    accepted: VecDeque<AcceptedPrompt>,
    /// Keys whose turn did not begin. The journal may still have their rows, which must not be read any more.
    forgotten: VecDeque<String>,
    /// Keys of prompts of an interrupted turn of which it is being looked up whether the agent has them.
    unsure: Vec<String>,
}

/// As many as the journal keeps.
const MOST: usize = 100;

// === impl AcceptedPrompts ===

impl AcceptedPrompts {
    pub(super) fn find(&self, key: &str) -> Option<&AcceptedPrompt> {
        self.accepted
            .iter()
            .find(|accepted| accepted.prompt.idempotency.key == key)
    }

    pub(super) fn add(&mut self, accepted: AcceptedPrompt) {
        let key = &accepted.prompt.idempotency.key;
        self.forgotten.retain(|forgotten| forgotten != key);
        self.unsure.retain(|unsure| unsure != key);
        if self.accepted.len() >= MOST {
            self.accepted.pop_front();
        }
        self.accepted.push_back(accepted);
    }

    /// The turn did not begin: the same prompt may come again.
    pub(super) fn forget(&mut self, turn: u32) {
        let all = std::mem::take(&mut self.accepted).into_iter();
        let (forgotten, kept): (Vec<_>, Vec<_>) =
            all.partition(|accepted| accepted.prompt.turn == turn);
        self.accepted = kept.into();
        for accepted in forgotten {
            self.forget_key(accepted.prompt.idempotency.key);
        }
    }

    /// The prompt with this key is none that was accepted.
    pub(super) fn forget_key(&mut self, key: String) {
        self.unsure.retain(|unsure| *unsure != key);
        if self.forgotten.len() >= MOST {
            self.forgotten.pop_front();
        }
        self.forgotten.push_back(key);
    }

    pub(super) fn add_unsure(&mut self, key: String) {
        self.unsure.push(key);
    }

    /// Whether it is being looked up whether the agent has the prompt with this key.
    pub(super) fn is_unsure(&self, key: &str) -> bool {
        self.unsure.iter().any(|unsure| unsure == key)
    }

    /// Whether the journal's row of this key does not hold any more.
    pub(super) fn is_forgotten(&self, key: &str) -> bool {
        self.forgotten.iter().any(|forgotten| forgotten == key)
    }

    /// The prompt was taken out of the queue: its turn never comes.
    pub(super) fn withdraw(&mut self, turn: u32) {
        let mut all = self.accepted.iter_mut();
        if let Some(accepted) =
            all.find(|accepted| accepted.prompt.turn == turn && !accepted.prompt.steered)
        {
            accepted.prompt.withdrawn = true;
        }
    }
}
