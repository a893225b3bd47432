//! What the agent is told: the user's prompt, or why it goes on without one.

use crate::opencode::Prompt;

/// When its process died in the middle of a turn, and the turn goes on in the next one.
pub(super) const CONTINUE: &str = "\
The process you run in died in the middle of this task and was started again. This message is not from the user.

- Your last step was cut off. What you were writing may not have arrived.
- A command that was running was killed, with everything it had started; it may have done a part of its work. \
Servers and other programs you left running in the background are gone, and so are subagents.
- The conversation so far and the files of the workspace are as they were at that moment. A file that was being \
written may be incomplete.

Look at the state of the workspace first, as far as your last step may have changed it. Then go on with the task \
from where it stands: do not begin anew, and do not repeat what is done.";

/// When a client resumes a turn that had ended before it was done, and says nothing itself.
pub(super) const RESUME: &str = "\
Your last turn ended before this task was done, and is resumed now. This message is not from the user.

- Its last step may have been cut off. What you were writing may not have arrived.
- Commands that were running were killed, with everything they had started; they may have done a part of their work. \
Servers and other programs you left running in the background are gone, and so are subagents.
- The conversation so far is as it was at that moment. The files of the workspace may have been changed since.

Look at the state of the workspace first. Then go on with the task from where it stands: do not begin anew, and do \
not repeat what is done. If all of it is done, say so.";

/// What the agent was told last. It may have to be told again.
#[derive(Clone, Debug)]
pub(super) struct PromptText {
    pub(super) text: String,
    /// With OpenCode it holds for one prompt only.
    pub(super) system: Option<String>,
}

// === impl PromptText ===

impl PromptText {
    pub(super) fn prompt(&self, model: (&'static str, &'static str)) -> Prompt<'_> {
        Prompt {
            model,
            text: &self.text,
            system: self.system.as_deref(),
        }
    }
}
