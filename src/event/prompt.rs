//! What became of a prompt that did not begin at once.

use serde::Serialize;
use utoipa::ToSchema;

/// A prompt that waits for its turn, or waits no more. `turn` is the number of its own turn.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[schema(as = Prompt)]
pub(crate) struct PromptNote {
    pub(crate) state: PromptState,
    /// The beginning of it, unless prompts are not to be kept.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) text: Option<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum PromptState {
    /// It waits for the turns before it.
    Queued,
    /// It is part of the turn that ran when it came: the agent has it before its next step. Of a turn that was cut off at
    /// that moment, it may be that the agent did not get it.
    Steered,
    /// It waits for a key: it was queued before a restart of the sidecar, or behind a prompt whose key went with it.
    Held,
    /// It was taken out of the queue; its turn never comes.
    Withdrawn,
}
