//! What we read of OpenCode's events, messages and history.
//!
//! Only what somebody needs: unknown fields are ignored, an unknown event is [`Event::Unknown`], and the
//! `sync` twin of a durable event is read for its place in the sequence and nothing else, because the
//! live event just before it said the same (in all 468 recorded pairs). A field that a later version may drop
//! has a default.
//!
//! The JSON never leaves this module, but for a few values that are passed on as they came.

mod decode;
mod event;
mod part;
mod raw;
mod stored;
#[cfg(test)]
mod tests;
mod text;

#[cfg(test)]
use decode::DecodeError;
pub(crate) use decode::{
    HistoryItem, Statuses, decode, history, messages, permissions, questions, sessions, statuses,
};
pub(crate) use event::{
    AskingTool, Delta, Event, Message, MessageInfo, PermissionAsked, ProviderError, QuestionAsked,
    Role, SessionInfo, SessionStatus, Todo,
};
#[cfg(test)]
pub(crate) use part::ToolMetadata;
pub(crate) use part::{Part, PartKind, StepFinish, ToolPart, ToolState, ToolStatus};
pub(crate) use stored::{
    PromptLabel, StoredDiff, StoredMessage, StoredPart, StoredSession, stored_message,
    stored_messages,
};
pub(crate) use text::{Text, optional};
