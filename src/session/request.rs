//! What a client asks for, and why it may be refused.

use std::time::Duration;

use super::labels::Labels;
use super::prompt::Prompt;
use crate::event::FailureCode;
use crate::model::ModelChange;
use crate::permission::PolicyChange;
use crate::tool::Tools;

/// A turn that a client asks for, checked.
#[derive(Clone, Debug)]
pub(crate) struct Request {
    /// Of the session.
    pub(crate) id: String,
    pub(crate) task: Task,
    /// Of a task that is one.
    pub(crate) prompt: Prompt,
    pub(crate) system_prompt: Option<String>,
    /// The first turn of a session brings a whole model.
    pub(crate) model: ModelChange,
    /// `None`: every tool.
    pub(crate) tools: Option<Tools>,
    /// Of a new session.
    pub(crate) labels: Labels,
    /// How long the turn may take; `None`: as long as any.
    pub(crate) timeout: Option<Duration>,
    /// What it says of asking a person; the rest stays as it was in the turn before.
    pub(crate) policy: PolicyChange,
    pub(crate) idempotency: Option<Idempotency>,
}

/// What is to be done in a turn.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) enum Task {
    /// The agent gets a prompt.
    #[default]
    Prompt,
    /// The conversation is replaced by a summary, which the model writes.
    Compact,
    /// A command of the client runs as the agent's commands do. No model is called.
    Shell(String),
}

/// What becomes of a prompt that comes while a turn of its session runs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum OnBusy {
    /// It waits for its turn.
    #[default]
    Queue,
    /// It becomes part of the running turn.
    Steer,
    /// The running turn is cancelled, and it is the next.
    Interrupt,
    /// It is refused.
    Reject,
}

/// A key by which the same request is recognised.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Idempotency {
    pub(crate) key: String,
    /// Of the whole body: the key with another body is a mistake.
    pub(crate) digest: [u8; 32],
}

/// Why a turn did not begin. The texts are for the client.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum CreateError {
    #[error("a session with this session_id exists already; choose another id")]
    Duplicate,
    #[error(
        "{0} sessions are active, which is the most this sidecar runs (MAX_CONCURRENT_SESSIONS)"
    )]
    Full(usize),
    #[error("this Idempotency-Key was used with another body; use a new key for a new request")]
    KeyReused,
    #[error("a turn of this session is running; wait for its end, or stop it")]
    Running,
    #[error("this session is still being created; wait for the answer to its creation")]
    StillCreated,
    #[error("this session never began, so there is nothing to go on with; create a new one")]
    NeverBegan,
    #[error("the agent has nothing of this session any more; create a new one")]
    RemoteGone,
    #[error("the session was removed meanwhile")]
    Removed,
    #[error("the session was cancelled before it had begun")]
    Cancelled,
    #[error("the session was stopped before the agent had this prompt")]
    Stopped,
    #[error(
        "the prompt with this Idempotency-Key was withdrawn before its turn; send it under another key"
    )]
    Withdrawn,
    #[error(
        "no key of this session is kept any more; send model_config with provider, model and api_key"
    )]
    CredentialsRequired,
    #[error("{0} prompts of this session wait already; wait for a turn to end, or withdraw one")]
    QueueFull(usize),
    #[error(
        "the agent does not say whether it has this prompt; see GET /sessions/{{id}}/messages before it is sent again"
    )]
    SteerUnknown,
    #[error(
        "the sidecar was restarted while the agent was given this prompt, and looks up whether the agent has it; send it again under the same Idempotency-Key"
    )]
    SteerLookedUp,
    #[error("the sidecar is shutting down")]
    ShuttingDown,
    /// The agent's directory cannot be used.
    #[error("{0}")]
    WorkspaceUnavailable(String),
    #[error("{0}")]
    EngineUnavailable(String),
    #[error("{0}")]
    JournalUnavailable(String),
    /// The child refused or did not answer; the text is for the log.
    #[error("{0}")]
    Failed(String),
}

// === impl CreateError ===

impl CreateError {
    /// As the event says it that ends a turn which was promised and did not begin.
    pub(super) const fn failure_code(&self) -> FailureCode {
        match self {
            Self::CredentialsRequired => FailureCode::CredentialsRequired,
            Self::ShuttingDown => FailureCode::ShuttingDown,
            Self::WorkspaceUnavailable(_) => FailureCode::WorkspaceUnavailable,
            Self::EngineUnavailable(_) => FailureCode::EngineUnavailable,
            Self::RemoteGone => FailureCode::AgentError,
            _ => FailureCode::Internal,
        }
    }

    /// The sentence for a client.
    pub(super) fn for_clients(&self) -> String {
        match self {
            Self::Failed(_) => "something failed in the sidecar; its log says what".into(),
            error => error.to_string(),
        }
    }

    /// Whether another prompt may go on in the session.
    pub(super) const fn is_resumable(&self) -> bool {
        !matches!(self, Self::RemoteGone)
    }
}
