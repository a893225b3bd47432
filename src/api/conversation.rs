//! What is in a conversation: its messages, subagents, plan and changes of files.

pub(super) mod children;
pub(super) mod diff;
pub(super) mod messages;
pub(super) mod todos;
