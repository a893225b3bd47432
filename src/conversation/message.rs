//! Messages, a page at a time.

use serde::Serialize;
use serde_json::value::RawValue;
use utoipa::ToSchema;

use crate::clock::Timestamp;
use crate::event::{FailureCode, ResultBody, Usage};

/// One page of messages, the newest first.
#[derive(Debug, Default, Serialize, ToSchema)]
#[schema(as = MessagePage)]
pub(crate) struct Page {
    pub(crate) messages: Vec<Message>,
    /// Asks for the next page, which has older messages; null on the last.
    pub(crate) next_cursor: Option<String>,
}

/// A prompt, or one answer of the model with the tools it called.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Message {
    /// The id that OpenCode gave it.
    pub(crate) id: String,
    /// Null if it is not known, as for what a fork has from another session.
    pub(crate) turn: Option<u32>,
    pub(crate) role: Role,
    /// The agent that was asked or that answered.
    pub(crate) agent: Option<String>,
    pub(crate) text: String,
    /// What the model thought; only with `include=reasoning`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) reasoning: Option<String>,
    /// What was sent along with a prompt.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schema(required = false)]
    pub(crate) files: Vec<Attachment>,
    pub(crate) tools: Vec<ToolUse>,
    /// What the answer cost.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) usage: Option<Usage>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) finish_reason: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) error: Option<MessageError>,
    /// It asks for a summary of the conversation, or is one.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    #[schema(value_type = Option<bool>)]
    pub(crate) compaction: bool,
    /// It is undone, and the next prompt removes it.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    #[schema(value_type = Option<bool>)]
    pub(crate) reverted: bool,
    /// A text is longer than what is here.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    #[schema(value_type = Option<bool>)]
    pub(crate) truncated: bool,
    pub(crate) created_at: Timestamp,
    /// Null while the answer is being written, and for a prompt.
    pub(crate) completed_at: Option<Timestamp>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
#[schema(as = MessageRole)]
pub(crate) enum Role {
    User,
    Assistant,
}

/// A file of a prompt.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Attachment {
    pub(crate) name: Option<String>,
    pub(crate) mime: String,
}

/// Why an answer is not whole.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct MessageError {
    pub(crate) code: FailureCode,
    pub(crate) error: String,
}

/// One call of a tool.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct ToolUse {
    pub(crate) tool: String,
    pub(crate) call_id: String,
    pub(crate) status: ToolStatus,
    #[schema(value_type = serde_json::Value)]
    pub(crate) args: Box<RawValue>,
    /// As in the event `tool_result`; null until there is one.
    pub(crate) result: Option<ResultBody>,
    pub(crate) is_error: bool,
    pub(crate) started_at: Option<Timestamp>,
    pub(crate) completed_at: Option<Timestamp>,
    /// The arguments or the result are longer than what is here.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    #[schema(value_type = Option<bool>)]
    pub(crate) truncated: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum ToolStatus {
    Pending,
    Running,
    Completed,
    Error,
}
