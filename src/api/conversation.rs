//! What is in a conversation (its messages, subagents, plan and changes of files), and what is done with it outside of turns.

pub(super) mod children;
pub(super) mod diff;
pub(super) mod fork;
pub(super) mod messages;
mod place;
pub(super) mod revert;
pub(super) mod todos;
pub(super) mod update;
