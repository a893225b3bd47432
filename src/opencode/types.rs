//! What we read of OpenCode's events, messages and history.
//!
//! Only what somebody needs: unknown fields are ignored, an unknown event is [`Event::Unknown`], and the
//! `sync` twin of a durable event is read for its place in the sequence and nothing else, because the
//! live event just before it said the same (in all 468 recorded pairs).
//!
//! The JSON never leaves this module, but for a few values that are passed on as they came ([`Raw`]).

mod decode;
mod part;
#[cfg(test)]
mod tests;
mod text;
mod wire;

pub(crate) use decode::{
    DecodeError, HistoryItem, Statuses, decode, history, messages, sessions, statuses,
};
#[cfg(test)]
pub(crate) use part::ToolMetadata;
pub(crate) use part::{Part, PartKind, StepFinish, ToolPart, ToolState, ToolStatus};
pub(crate) use text::Text;

use serde_json::value::RawValue;

/// JSON we pass on and do not look into.
pub(crate) type Raw = Box<RawValue>;

/// One thing OpenCode said.
#[derive(Debug)]
pub(crate) enum Event {
    /// The feed is open.
    Connected,
    Heartbeat,
    /// The place of the event before in its session's sequence, from 0 without holes.
    Sync {
        session: String,
        seq: u64,
    },
    SessionCreated(SessionInfo),
    SessionUpdated(SessionInfo),
    SessionDeleted {
        session: String,
    },
    Status {
        session: String,
        status: SessionStatus,
    },
    Idle {
        session: String,
    },
    SessionError {
        session: Option<String>,
        error: ProviderError,
    },
    Compacted {
        session: String,
    },
    Message(MessageInfo),
    Part(Part),
    Delta(Delta),
    PermissionAsked(PermissionAsked),
    PermissionReplied {
        session: String,
        request: String,
        reply: String,
    },
    QuestionAsked(QuestionAsked),
    QuestionReplied {
        session: String,
        request: String,
    },
    QuestionRejected {
        session: String,
        request: String,
    },
    Todos {
        session: String,
        todos: Vec<Todo>,
    },
    /// Every run of this directory, or of all, was aborted.
    Disposed {
        directory: Option<String>,
    },
    /// Nobody here needs it.
    Unknown {
        #[cfg_attr(not(test), expect(dead_code, reason = "for whoever debugs"))]
        kind: String,
    },
}

/// An event and the directory it happened in.
#[derive(Debug)]
pub(crate) struct Envelope {
    #[cfg_attr(
        not(test),
        expect(dead_code, reason = "one directory is all there is today")
    )]
    pub(crate) directory: Option<String>,
    pub(crate) event: Event,
}

#[derive(Debug, PartialEq, Eq)]
pub(crate) struct SessionInfo {
    pub(crate) id: String,
    pub(crate) parent: Option<String>,
    pub(crate) agent: Option<String>,
    pub(crate) title: Option<String>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum SessionStatus {
    Idle,
    Busy,
    /// The provider failed, and will be asked again at `next` (milliseconds since 1970).
    Retry {
        attempt: u64,
        message: String,
        next: u64,
    },
    /// A word of a later version. Whatever it means, it is not idle.
    Other,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Role {
    User,
    Assistant,
}

/// A message without its parts.
#[derive(Debug)]
pub(crate) struct MessageInfo {
    pub(crate) id: String,
    pub(crate) session: String,
    pub(crate) role: Role,
    /// The user message an assistant message answers.
    #[cfg_attr(not(test), expect(dead_code, reason = "read by tests"))]
    pub(crate) parent: Option<String>,
    #[cfg_attr(not(test), expect(dead_code, reason = "read by tests"))]
    pub(crate) agent: Option<String>,
    /// Whether it is the summary that a compaction wrote.
    pub(crate) summary: bool,
    #[cfg_attr(not(test), expect(dead_code, reason = "read by tests"))]
    pub(crate) created: u64,
    pub(crate) completed: Option<u64>,
    pub(crate) finish: Option<String>,
    pub(crate) error: Option<ProviderError>,
}

/// A message as the messages list has it.
#[derive(Debug)]
pub(crate) struct Message {
    pub(crate) info: MessageInfo,
    pub(crate) parts: Vec<Part>,
}

/// More of a part that is being written.
#[derive(Debug)]
pub(crate) struct Delta {
    pub(crate) session: String,
    pub(crate) message: String,
    pub(crate) part: String,
    /// The field that grows; `text` for text and for reasoning.
    pub(crate) field: String,
    pub(crate) more: Text,
}

/// What went wrong, as OpenCode tells it. The message may hold anything the provider or the gateway
/// said, addresses included: the driver cleans it before a client sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ProviderError {
    /// `APIError`, `MessageAbortedError`, `ContextOverflowError`, `UnknownError`, …
    pub(crate) name: String,
    pub(crate) message: String,
    pub(crate) status: Option<u16>,
    pub(crate) retryable: bool,
}

#[derive(Debug)]
pub(crate) struct PermissionAsked {
    pub(crate) id: String,
    pub(crate) session: String,
    pub(crate) permission: String,
    pub(crate) patterns: Vec<String>,
    pub(crate) always: Vec<String>,
    pub(crate) metadata: Option<Raw>,
    pub(crate) call: Option<String>,
}

#[derive(Debug)]
pub(crate) struct QuestionAsked {
    pub(crate) id: String,
    pub(crate) session: String,
    pub(crate) questions: Raw,
    pub(crate) call: Option<String>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Todo {
    pub(crate) content: String,
    pub(crate) status: String,
    pub(crate) priority: String,
}

// === impl Event ===

impl Event {
    /// The OpenCode session it belongs to, which may be a subagent's.
    pub(crate) fn session(&self) -> Option<&str> {
        Some(match self {
            Self::Connected | Self::Heartbeat | Self::Disposed { .. } | Self::Unknown { .. } => {
                return None;
            }
            Self::SessionError { session, .. } => return session.as_deref(),
            Self::SessionCreated(info) | Self::SessionUpdated(info) => &info.id,
            Self::Message(info) => &info.session,
            Self::Part(part) => &part.session,
            Self::Delta(delta) => &delta.session,
            Self::PermissionAsked(ask) => &ask.session,
            Self::QuestionAsked(ask) => &ask.session,
            Self::Sync { session, .. }
            | Self::SessionDeleted { session }
            | Self::Status { session, .. }
            | Self::Idle { session }
            | Self::Compacted { session }
            | Self::PermissionReplied { session, .. }
            | Self::QuestionReplied { session, .. }
            | Self::QuestionRejected { session, .. }
            | Self::Todos { session, .. } => session,
        })
    }
}
