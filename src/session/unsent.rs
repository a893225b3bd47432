//! The words of a turn that the agent may never have had: its sidecar was killed, or could not begin it, before OpenCode had
//! stored the prompt.

use super::prompt::Prompt;

/// The prompt of a session's last turn, for whoever goes on with that turn.
#[derive(Clone, Debug)]
pub(crate) struct Unsent {
    /// The turn whose prompt it is.
    pub(super) turn: u32,
    pub(crate) prompt: Prompt,
    pub(crate) system_prompt: Option<String>,
    /// Nothing: it was never handed over.
    pub(crate) handed_over: Option<HandedOver>,
}

/// It may have been handed over.
#[derive(Clone, Debug)]
pub(crate) struct HandedOver {
    /// OpenCode's newest message before that.
    pub(crate) before: Option<String>,
}
