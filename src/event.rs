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

use serde_json::value::RawValue;
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
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Agent {
    /// The agent engine's own id of the subagent's session.
    pub(crate) id: String,
    pub(crate) name: String,
    /// The same of the session that called it.
    pub(crate) parent: String,
}

#[derive(Clone, Debug)]
pub(crate) enum Body {
    Status(Status),
    Output(Output),
    ToolCall(ToolCall),
    ToolResult(ToolResult),
    Error(Failure),
    Complete(Complete),
    Permission(Permission),
    Question(Question),
    Todo(Vec<TodoItem>),
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Status {
    pub(crate) state: State,
    /// 0 to 100, never less than before in the same turn.
    pub(crate) progress: u8,
    pub(crate) phase: Option<Phase>,
    pub(crate) current_tool: Option<Arc<str>>,
    pub(crate) reason: Option<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ToSchema)]
#[schema(rename_all = "snake_case")]
pub(crate) enum State {
    Pending,
    Running,
    WaitingInput,
    Completed,
    Failed,
    Cancelled,
}

/// What a running turn is doing, when it is not simply working.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ToSchema)]
#[schema(rename_all = "snake_case")]
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
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Output {
    pub(crate) channel: Channel,
    pub(crate) source: Source,
    pub(crate) text: String,
    /// The tool call that printed it.
    pub(crate) call_id: Option<Arc<str>>,
    /// Text before this is missing, because there was too much of it at once.
    pub(crate) truncated: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ToSchema)]
#[schema(rename_all = "snake_case")]
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

#[derive(Clone, Copy, Debug, PartialEq, Eq, ToSchema)]
#[schema(rename_all = "snake_case")]
pub(crate) enum Source {
    Assistant,
    Tool,
    Reasoning,
}

#[derive(Clone, Debug)]
pub(crate) struct ToolCall {
    pub(crate) tool: Arc<str>,
    pub(crate) call_id: Arc<str>,
    pub(crate) args: Arc<RawValue>,
}

#[derive(Clone, Debug)]
pub(crate) struct ToolResult {
    pub(crate) tool: Arc<str>,
    pub(crate) call_id: Arc<str>,
    pub(crate) result: ResultBody,
    pub(crate) is_error: bool,
    pub(crate) duration_ms: u64,
    /// The tool's output was longer than what is here.
    pub(crate) truncated: bool,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) enum ResultBody {
    Command {
        /// Nothing when it did not exit by itself; `note` says why.
        exit_code: Option<i64>,
        stdout: String,
        stderr: String,
        note: Option<String>,
    },
    Content {
        content: String,
    },
    Output {
        output: String,
        title: Option<String>,
    },
    Error {
        error: String,
    },
}

/// Something failed. A fatal one ends the turn.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Failure {
    pub(crate) code: FailureCode,
    /// One sentence for the caller.
    pub(crate) error: String,
    pub(crate) fatal: bool,
    /// Seconds until it is tried again.
    pub(crate) retry_after: Option<u64>,
    /// Whether another prompt may go on where this turn ended.
    pub(crate) resumable: Option<bool>,
}

/// Why a turn failed or is delayed; part of the contract.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ToSchema)]
#[schema(rename_all = "snake_case")]
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
    /// Anything else in the agent.
    AgentError,
    /// A fault of the sidecar.
    Internal,
}

/// A turn that ended well.
#[derive(Clone, Debug, Default)]
pub(crate) struct Complete {
    pub(crate) final_message: String,
    /// Absolute, sorted, without doubles.
    pub(crate) files_modified: Vec<String>,
    /// Those of `files_modified` that are gone.
    pub(crate) files_deleted: Vec<String>,
    pub(crate) usage: Usage,
    pub(crate) duration_ms: u64,
    /// Why the model stopped: `stop`, `length`, …
    pub(crate) finish_reason: Option<String>,
}

/// What the turn cost, subagents included.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct Usage {
    pub(crate) input_tokens: u64,
    pub(crate) output_tokens: u64,
    pub(crate) reasoning_tokens: u64,
    pub(crate) cache_read_tokens: u64,
    pub(crate) cache_write_tokens: u64,
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
#[derive(Clone, Debug)]
pub(crate) struct Permission {
    pub(crate) request_id: String,
    pub(crate) step: PermissionStep,
}

#[derive(Clone, Debug)]
pub(crate) enum PermissionStep {
    Asked {
        permission: String,
        patterns: Vec<String>,
        /// What a lasting yes would allow.
        always: Vec<String>,
        metadata: Option<Arc<RawValue>>,
        call_id: Option<String>,
        /// When silence becomes a no.
        deadline: Option<Timestamp>,
    },
    Answered {
        reply: String,
    },
}

/// The agent asks the user.
#[derive(Clone, Debug)]
pub(crate) struct Question {
    pub(crate) request_id: String,
    pub(crate) step: QuestionStep,
}

#[derive(Clone, Debug)]
pub(crate) enum QuestionStep {
    Asked {
        questions: Arc<RawValue>,
        call_id: Option<String>,
        deadline: Option<Timestamp>,
    },
    Answered,
    Rejected,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct TodoItem {
    pub(crate) content: String,
    pub(crate) status: String,
    pub(crate) priority: String,
}

// === impl Event ===

impl Event {
    /// The name in the `event:` line.
    pub(crate) const fn kind(&self) -> &'static str {
        match self.body {
            Body::Status(_) => "status",
            Body::Output(_) => "output",
            Body::ToolCall(_) => "tool_call",
            Body::ToolResult(_) => "tool_result",
            Body::Error(_) => "error",
            Body::Complete(_) => "complete",
            Body::Permission(_) => "permission",
            Body::Question(_) => "question",
            Body::Todo(_) => "todo",
        }
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
        match self {
            Self::Pending => "pending",
            Self::Running => "running",
            Self::WaitingInput => "waiting_input",
            Self::Completed => "completed",
            Self::Failed => "failed",
            Self::Cancelled => "cancelled",
        }
    }

    /// The state that is spelt like this.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|state| state.as_str() == text)
    }
}

impl Phase {
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::ProviderRetry => "provider_retry",
            Self::Compacting => "compacting",
            Self::Stalled => "stalled",
            Self::Recovering => "recovering",
            Self::JournalDegraded => "journal_degraded",
        }
    }
}

impl Channel {
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Stdout => "stdout",
            Self::Stderr => "stderr",
        }
    }
}

impl Source {
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Assistant => "assistant",
            Self::Tool => "tool",
            Self::Reasoning => "reasoning",
        }
    }
}

impl FailureCode {
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::ProviderRetry => "provider_retry",
            Self::ProviderAuth => "provider_auth",
            Self::ProviderRateLimited => "provider_rate_limited",
            Self::ProviderUnavailable => "provider_unavailable",
            Self::ProviderError => "provider_error",
            Self::ProviderBadAnswer => "provider_bad_answer",
            Self::ModelNotFound => "model_not_found",
            Self::ContextOverflow => "context_overflow",
            Self::OutputLength => "output_length",
            Self::Aborted => "aborted",
            Self::Interrupted => "interrupted",
            Self::Timeout => "timeout",
            Self::ToolLoop => "tool_loop",
            Self::NoProgress => "no_progress",
            Self::BudgetExceeded => "budget_exceeded",
            Self::ProviderQuota => "provider_quota",
            Self::ShuttingDown => "shutting_down",
            Self::EngineLost => "engine_lost",
            Self::AgentError => "agent_error",
            Self::Internal => "internal",
        }
    }
}
