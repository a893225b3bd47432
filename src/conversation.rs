//! A conversation as clients read it: its messages, what its tools did, its subagents, and what it changed in files.
//!
//! Owns the types and their JSON. It knows nothing of OpenCode, and makes none of these itself.

mod change;
mod message;
mod subagent;

pub(crate) use self::change::{ChangedFile, Changes, FileStatus, Source, TurnChanges};
pub(crate) use self::message::{
    Attachment, Message, MessageError, Page, Role, ToolStatus, ToolUse,
};
pub(crate) use self::subagent::{Subagent, Subagents};
