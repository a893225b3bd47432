//! What OpenCode says: its events, and the messages they are about.

use serde::{Deserialize, Deserializer};
use serde_json::value::RawValue;

use super::part::Part;
use super::raw::{self, Raw};
use super::text::{self, Text};

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
        answers: Vec<Vec<String>>,
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
        #[cfg_attr(
            not(test),
            expect(dead_code, reason = "shown when an event is debugged")
        )]
        kind: String,
    },
}

#[derive(Debug, PartialEq, Eq, Deserialize)]
pub(crate) struct SessionInfo {
    pub(crate) id: String,
    #[serde(rename = "parentID")]
    pub(crate) parent: Option<String>,
    pub(crate) agent: Option<String>,
    #[serde(default, deserialize_with = "text::optional")]
    pub(crate) title: Option<String>,
}

#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(from = "RawStatus")]
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

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Role {
    User,
    Assistant,
}

/// A message without its parts.
#[derive(Debug, Deserialize)]
pub(crate) struct MessageInfo {
    pub(crate) id: String,
    #[serde(rename = "sessionID")]
    pub(crate) session: String,
    pub(crate) role: Role,
    /// Whether it is the summary that a compaction wrote.
    #[serde(default, deserialize_with = "is_true")]
    pub(crate) summary: bool,
    #[serde(rename = "time", default, deserialize_with = "completed")]
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
#[derive(Debug, Deserialize)]
pub(crate) struct Delta {
    #[serde(rename = "sessionID")]
    pub(crate) session: String,
    #[serde(rename = "messageID")]
    pub(crate) message: String,
    #[serde(rename = "partID")]
    pub(crate) part: String,
    /// The field that grows; `text` for text and for reasoning.
    pub(crate) field: String,
    #[serde(rename = "delta")]
    pub(crate) more: Text,
}

/// What went wrong, as OpenCode tells it. The message may hold anything the provider or the gateway
/// said, addresses included: the driver cleans it before a client sees it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(from = "RawError")]
pub(crate) struct ProviderError {
    /// `APIError`, `MessageAbortedError`, `ContextOverflowError`, `UnknownError`, …
    pub(crate) name: String,
    pub(crate) message: String,
    pub(crate) status: Option<u16>,
    pub(crate) retryable: bool,
}

/// The tool call that asks.
#[derive(Debug, Deserialize)]
pub(crate) struct AskingTool {
    #[serde(rename = "messageID", default)]
    pub(crate) message: String,
    #[serde(rename = "callID", default)]
    pub(crate) call: Option<String>,
}

#[derive(Debug, Deserialize)]
pub(crate) struct PermissionAsked {
    pub(crate) id: String,
    #[serde(rename = "sessionID")]
    pub(crate) session: String,
    #[serde(default)]
    pub(crate) permission: String,
    #[serde(default, deserialize_with = "text::list")]
    pub(crate) patterns: Vec<String>,
    #[serde(default, deserialize_with = "text::list")]
    pub(crate) always: Vec<String>,
    #[serde(default, deserialize_with = "raw::optional")]
    pub(crate) metadata: Option<Raw>,
    #[serde(default)]
    pub(crate) tool: Option<AskingTool>,
}

#[derive(Debug, Deserialize)]
pub(crate) struct QuestionAsked {
    pub(crate) id: String,
    #[serde(rename = "sessionID")]
    pub(crate) session: String,
    #[serde(deserialize_with = "raw::required")]
    pub(crate) questions: Raw,
    #[serde(default)]
    pub(crate) tool: Option<AskingTool>,
}

#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub(crate) struct Todo {
    #[serde(deserialize_with = "text::required")]
    pub(crate) content: String,
    #[serde(default)]
    pub(crate) status: String,
    #[serde(default)]
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

#[derive(Deserialize)]
struct RawStatus {
    #[serde(rename = "type")]
    kind: String,
    #[serde(default)]
    attempt: u64,
    #[serde(default, deserialize_with = "text::optional")]
    message: Option<String>,
    #[serde(default)]
    next: u64,
}

impl From<RawStatus> for SessionStatus {
    fn from(raw: RawStatus) -> Self {
        match &*raw.kind {
            "idle" => Self::Idle,
            "busy" => Self::Busy,
            "retry" => Self::Retry {
                attempt: raw.attempt,
                message: raw.message.unwrap_or_default(),
                next: raw.next,
            },
            _ => Self::Other,
        }
    }
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct RawError {
    name: String,
    data: RawErrorData,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct RawErrorData {
    #[serde(deserialize_with = "text::optional")]
    message: Option<String>,
    #[serde(rename = "statusCode")]
    status: Option<u16>,
    #[serde(rename = "isRetryable")]
    retryable: bool,
}

impl From<RawError> for ProviderError {
    fn from(RawError { name, data }: RawError) -> Self {
        Self {
            name,
            message: data.message.unwrap_or_default(),
            status: data.status,
            retryable: data.retryable,
        }
    }
}

/// `true` on an answer that a compaction wrote; on a prompt the field is an object of changes.
fn is_true<'de, D: Deserializer<'de>>(deserializer: D) -> Result<bool, D::Error> {
    <&RawValue>::deserialize(deserializer).map(|raw| raw.get() == "true")
}

fn completed<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<u64>, D::Error> {
    #[derive(Deserialize)]
    struct Time {
        completed: Option<u64>,
    }
    Time::deserialize(deserializer).map(|time| time.completed)
}
