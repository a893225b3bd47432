//! What clients ask of a conversation besides its turns: to read it, to copy it, to undo a part of it.
//!
//! ```text
//! api -> Conversations -> connection (the present child) -> opencode -> message | changes (pure) -> crate::conversation
//! ```

mod changes;
mod commands;
mod error;
mod fork;
mod handle;
mod limits;
mod message;
mod read;
mod revert;

pub(crate) use self::error::ConversationError;
pub(crate) use self::fork::ForkRequest;
pub(crate) use self::handle::Conversations;
pub(crate) use self::read::{MessageQuery, Place};
pub(crate) use self::revert::Undone;
