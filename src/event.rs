//! What we publish: the closed vocabulary of a session's stream.
//!
//! Owns the types, their JSON and the bound on its size. [`Event::encode`] is the only way to the wire,
//! so nothing larger than [`MAX_DATA`] gets there: text is split, everything else is cut and says so.
//! It does not know ids, cursors, heartbeats or gaps; those belong to the log and its readers. And it
//! knows nothing of OpenCode.

mod encode;
mod merge;
mod shrink;
#[cfg(test)]
mod tests;

pub(crate) use encode::Encoded;

use std::sync::Arc;

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use strum::IntoStaticStr;
use utoipa::ToSchema;

use crate::clock::Timestamp;

/// The most bytes of JSON one event may have.
pub(crate) const MAX_DATA: usize = 256 << 10;

/// Something that happened in a session.
#[derive(Clone, Debug)]
pub(crate) struct Event {
    pub(crate) at: Timestamp,
    /// The subagent it happened in; nothing for the session's own agent.
    pub(crate) agent: Option<Arc<Agent>>,
    pub(crate) body: Body,
    /// Nothing for what belongs to no part.
    pub(crate) note: Option<Note>,
}

/// How far a part of the agent's answer is told, this event included. Clients do not see it: it is for
/// whoever tells the rest after this process.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Note {
    /// Which part; what else is in it is the driver's business.
    pub(crate) part: Arc<str>,
    /// Never less than before for the same part.
    pub(crate) value: u64,
}

/// A subagent. Shared by all its events.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
pub(crate) struct Agent {
    /// The id that OpenCode gave the subagent's session.
    pub(crate) id: String,
    pub(crate) name: String,
    /// The id of the session whose agent called this one.
    pub(crate) parent: String,
}

/// What happened. Each variant is one type of event, and its payload has the fields of that type's JSON.
#[derive(Clone, Debug, Serialize, IntoStaticStr)]
#[serde(untagged)]
#[strum(serialize_all = "snake_case", const_into_str)]
pub(crate) enum Body {
    Status(Status),
    Output(Output),
    ToolCall(ToolCall),
    ToolResult(ToolResult),
    Error(Failure),
    Complete(Complete),
    Permission(Permission),
    Question(Question),
    Todo(Todo),
}

/// How the turn is. `cancelled` ends it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
pub(crate) struct Status {
    #[serde(rename = "status")]
    pub(crate) state: State,
    /// Never less than before in the same turn.
    #[schema(maximum = 100)]
    pub(crate) progress: u8,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) phase: Option<Phase>,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    pub(crate) current_tool: Option<Arc<str>>,
    /// Why it is in this phase.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) reason: Option<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, IntoStaticStr, ToSchema)]
#[serde(rename_all = "snake_case")]
#[strum(serialize_all = "snake_case", const_into_str)]
pub(crate) enum State {
    Pending,
    Running,
    WaitingInput,
    Completed,
    Failed,
    Cancelled,
}

/// What a running turn is doing, when it is not simply working.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, IntoStaticStr, ToSchema)]
#[serde(rename_all = "snake_case")]
#[strum(serialize_all = "snake_case", const_into_str)]
pub(crate) enum Phase {
    /// The provider failed; it is asked again soon.
    ProviderRetry,
    /// The conversation is being summarised to fit the model's context.
    Compacting,
    /// Nothing is heard although something should be.
    Stalled,
    /// The agent's process died; the turn goes on in the next one.
    Recovering,
    /// What is published cannot be written to disk for now.
    JournalDegraded,
}

/// More text.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
pub(crate) struct Output {
    #[serde(rename = "type")]
    pub(crate) channel: Channel,
    pub(crate) text: String,
    pub(crate) source: Source,
    /// The tool call that printed it.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    pub(crate) call_id: Option<Arc<str>>,
    /// Text before this is missing, because there was too much of it at once.
    #[serde(skip_serializing_if = "is_false")]
    #[schema(value_type = Option<bool>)]
    pub(crate) truncated: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, IntoStaticStr, ToSchema)]
#[serde(rename_all = "snake_case")]
#[strum(serialize_all = "snake_case", const_into_str)]
pub(crate) enum Channel {
    Stdout,
    #[cfg_attr(
        not(test),
        expect(
            dead_code,
            reason = "of the contract; OpenCode joins both outputs of a command"
        )
    )]
    Stderr,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, IntoStaticStr, ToSchema)]
#[serde(rename_all = "snake_case")]
#[strum(serialize_all = "snake_case", const_into_str)]
pub(crate) enum Source {
    Assistant,
    Tool,
    Reasoning,
}

/// A tool runs.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub(crate) struct ToolCall {
    #[schema(value_type = String)]
    pub(crate) tool: Arc<str>,
    #[schema(value_type = serde_json::Value)]
    pub(crate) args: Arc<RawValue>,
    #[schema(value_type = String)]
    pub(crate) call_id: Arc<str>,
}

/// A tool has ended.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub(crate) struct ToolResult {
    #[schema(value_type = String)]
    pub(crate) tool: Arc<str>,
    pub(crate) result: ResultBody,
    #[schema(value_type = String)]
    pub(crate) call_id: Arc<str>,
    pub(crate) is_error: bool,
    pub(crate) duration_ms: u64,
    /// The tool's output was longer than what is here.
    #[serde(skip_serializing_if = "is_false")]
    #[schema(value_type = Option<bool>)]
    pub(crate) truncated: bool,
}

/// What a tool gave. `bash` gives a command's, `read` gives content, a failure of any tool gives an error,
/// and every other tool gives output.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, ToSchema)]
#[serde(untagged)]
#[schema(as = ToolOutcome)]
pub(crate) enum ResultBody {
    Command {
        /// Null when it did not exit by itself; `note` says why.
        exit_code: Option<i64>,
        stdout: String,
        stderr: String,
        #[serde(skip_serializing_if = "Option::is_none")]
        note: Option<String>,
    },
    Content {
        content: String,
    },
    Output {
        output: String,
        #[serde(skip_serializing_if = "Option::is_none")]
        title: Option<String>,
    },
    Error {
        error: String,
    },
}

/// Something failed. A fatal one ends the turn.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
pub(crate) struct Failure {
    /// One sentence for the caller.
    pub(crate) error: String,
    pub(crate) fatal: bool,
    pub(crate) code: FailureCode,
    /// Seconds until it is tried again.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) retry_after: Option<u64>,
    /// Whether another prompt may go on where this turn ended.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) resumable: Option<bool>,
}

/// Why a turn failed or is delayed; part of the contract.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, IntoStaticStr, ToSchema)]
#[serde(rename_all = "snake_case")]
#[strum(serialize_all = "snake_case", const_into_str)]
pub(crate) enum FailureCode {
    /// The provider failed and is asked again. Never fatal.
    ProviderRetry,
    /// The provider does not accept the key.
    ProviderAuth,
    /// The provider's limit, after all retries.
    ProviderRateLimited,
    /// The provider is down or cannot be reached, after all retries.
    ProviderUnavailable,
    /// The provider refused the request.
    ProviderError,
    /// What the provider sends is no answer, after all retries.
    ProviderBadAnswer,
    ModelNotFound,
    ContextOverflow,
    OutputLength,
    /// Something other than the caller stopped the turn.
    Aborted,
    /// The turn stopped before the model's answer was whole.
    Interrupted,
    Timeout,
    ToolLoop,
    /// The model was called again and again, and nothing new came of it.
    NoProgress,
    /// What the session may spend is spent.
    BudgetExceeded,
    /// The provider says that the account has nothing left.
    ProviderQuota,
    ShuttingDown,
    /// The agent's process died.
    EngineLost,
    /// The agent's directory is gone.
    WorkspaceUnavailable,
    /// Anything else in the agent.
    AgentError,
    /// A fault of the sidecar.
    Internal,
}

/// The turn ended well.
#[derive(Clone, Debug, Default, Serialize, ToSchema)]
pub(crate) struct Complete {
    pub(crate) final_message: String,
    /// Absolute, sorted, without doubles.
    pub(crate) files_modified: Vec<String>,
    /// Those of `files_modified` that are gone.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schema(required = false)]
    pub(crate) files_deleted: Vec<String>,
    pub(crate) usage: Usage,
    pub(crate) duration_ms: u64,
    /// Why the model stopped: `stop`, `length`, …
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) finish_reason: Option<String>,
}

/// What the turn cost, subagents included.
// The journal of a version before this one has the names in the aliases.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(default)]
pub(crate) struct Usage {
    #[serde(alias = "input")]
    #[schema(required)]
    pub(crate) input_tokens: u64,
    #[serde(alias = "output")]
    #[schema(required)]
    pub(crate) output_tokens: u64,
    #[serde(alias = "reasoning")]
    #[schema(required)]
    pub(crate) reasoning_tokens: u64,
    #[serde(alias = "cache_read")]
    #[schema(required)]
    pub(crate) cache_read_tokens: u64,
    #[serde(alias = "cache_write")]
    #[schema(required)]
    pub(crate) cache_write_tokens: u64,
    #[schema(required)]
    pub(crate) cost: f64,
}

impl Usage {
    /// Both together.
    #[must_use]
    pub(crate) fn plus(self, other: Self) -> Self {
        Self {
            input_tokens: self.input_tokens.saturating_add(other.input_tokens),
            output_tokens: self.output_tokens.saturating_add(other.output_tokens),
            reasoning_tokens: self.reasoning_tokens.saturating_add(other.reasoning_tokens),
            cache_read_tokens: self
                .cache_read_tokens
                .saturating_add(other.cache_read_tokens),
            cache_write_tokens: self
                .cache_write_tokens
                .saturating_add(other.cache_write_tokens),
            cost: self.cost + other.cost,
        }
    }
}

/// A tool may not run until somebody says so.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub(crate) struct Permission {
    pub(crate) request_id: String,
    #[serde(flatten)]
    #[schema(inline)]
    pub(crate) step: PermissionStep,
}

#[derive(Clone, Debug, Serialize, ToSchema)]
#[serde(tag = "state", rename_all = "snake_case")]
pub(crate) enum PermissionStep {
    Asked {
        permission: String,
        patterns: Vec<String>,
        /// What the answer `always` would allow from then on.
        always: Vec<String>,
        #[serde(skip_serializing_if = "Option::is_none")]
        #[schema(value_type = Option<serde_json::Value>)]
        metadata: Option<Arc<RawValue>>,
        #[serde(skip_serializing_if = "Option::is_none")]
        call_id: Option<String>,
        /// When it is rejected if nobody has answered.
        deadline: Option<Timestamp>,
    },
    Answered {
        reply: String,
    },
}

/// The agent asks the user.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub(crate) struct Question {
    pub(crate) request_id: String,
    #[serde(flatten)]
    #[schema(inline)]
    pub(crate) step: QuestionStep,
}

#[derive(Clone, Debug, Serialize, ToSchema)]
#[serde(tag = "state", rename_all = "snake_case")]
pub(crate) enum QuestionStep {
    Asked {
        #[schema(value_type = serde_json::Value)]
        questions: Arc<RawValue>,
        #[serde(skip_serializing_if = "Option::is_none")]
        call_id: Option<String>,
        /// When it is rejected if nobody has answered.
        deadline: Option<Timestamp>,
    },
    Answered,
    Rejected,
}

/// The agent's plan, whole.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
pub(crate) struct Todo {
    pub(crate) items: Vec<TodoItem>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
pub(crate) struct TodoItem {
    pub(crate) content: String,
    pub(crate) status: String,
    pub(crate) priority: String,
}

/// For fields that are left out while they are false.
#[expect(
    clippy::trivially_copy_pass_by_ref,
    reason = "serde asks for a reference"
)]
const fn is_false(value: &bool) -> bool {
    !*value
}

// === impl Event ===

impl Event {
    /// The name in the `event:` line.
    pub(crate) const fn kind(&self) -> &'static str {
        self.body.into_str()
    }

    /// Whether it ends the turn. Every turn has exactly one such event, and it is the last.
    pub(crate) const fn is_terminal(&self) -> bool {
        match &self.body {
            Body::Complete(_) => true,
            Body::Error(failure) => failure.fatal,
            Body::Status(status) => matches!(status.state, State::Cancelled),
            _ => false,
        }
    }

    /// Whether a reader gets it only when it asked for reasoning.
    pub(crate) const fn is_reasoning(&self) -> bool {
        matches!(
            &self.body,
            Body::Output(Output {
                source: Source::Reasoning,
                ..
            })
        )
    }
}

// === impl names ===

impl State {
    pub(crate) const ALL: [Self; 6] = [
        Self::Pending,
        Self::Running,
        Self::WaitingInput,
        Self::Completed,
        Self::Failed,
        Self::Cancelled,
    ];

    pub(crate) const fn as_str(self) -> &'static str {
        self.into_str()
    }

    /// The state that is spelt like this.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|state| state.as_str() == text)
    }
}

impl FailureCode {
    pub(crate) const fn as_str(self) -> &'static str {
        self.into_str()
    }
}
