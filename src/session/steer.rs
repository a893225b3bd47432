//! A prompt for the turn that runs.

use tokio::sync::oneshot;
use tokio::time::Instant;

use super::accepted::AcceptedPrompt;
use super::prompt::Prompt;
use super::request::Idempotency;
use crate::journal::PromptRow;

/// A prompt that is to become part of the running turn.
#[derive(Debug)]
pub(crate) struct Steer {
    pub(crate) prompt: Prompt,
    pub(crate) record: SteerRecord,
    /// When it came.
    pub(crate) since: Instant,
    /// Whoever sent it. When this is dropped, the prompt is not part of the turn.
    pub(crate) outcome_tx: oneshot::Sender<SteerOutcome>,
}

/// What becomes of it, for whoever sent it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum SteerOutcome {
    /// The agent has it.
    Taken,
    /// The agent never got it: it may be a turn of its own.
    NotTaken,
    /// The agent did not say whether it has it.
    Unknown,
    /// Its idempotency key came with another prompt.
    KeyReused,
}

/// What the session notes of it once it is part of the turn.
#[derive(Clone, Debug)]
pub(crate) struct SteerRecord {
    pub(super) row: PromptRow,
    /// The beginning of its words, if prompts are shown.
    pub(super) text: Option<String>,
    /// How it is recognised if it comes again.
    pub(super) keyed: Option<AcceptedPrompt>,
}

// === impl SteerRecord ===

impl SteerRecord {
    pub(crate) fn idempotency(&self) -> Option<&Idempotency> {
        self.keyed.as_ref().map(|keyed| &keyed.prompt.idempotency)
    }

    /// Of a prompt of turn 1.
    #[cfg(test)]
    pub(crate) fn for_tests() -> Self {
        Self {
            row: PromptRow {
                id: "p".into(),
                turn: 1,
                waits: false,
                key: None,
                details: "{}".into(),
            },
            text: None,
            keyed: None,
        }
    }

    /// The same with an idempotency key, of a prompt with this digest.
    #[cfg(test)]
    pub(crate) fn with_key(mut self, key: &str, digest: u8) -> Self {
        use super::log::TurnSpan;
        use super::prompt_row::KeyedPrompt;

        self.keyed = Some(AcceptedPrompt {
            prompt: KeyedPrompt {
                idempotency: Idempotency {
                    key: key.into(),
                    digest: [digest; 32],
                },
                turn: 1,
                steered: true,
                withdrawn: false,
                from: 0,
            },
            span: std::sync::Arc::new(TurnSpan::new()),
            outcome_rx: None,
        });
        self
    }
}
