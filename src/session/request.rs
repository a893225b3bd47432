//! What a client asks for, and why it may be refused.

use super::labels::Labels;
use crate::model::ModelSpec;
use crate::tool::Tools;

/// A turn that a client asks for, checked.
#[derive(Clone, Debug)]
pub(crate) struct Request {
    pub(crate) id: String,
    pub(crate) prompt: String,
    pub(crate) system_prompt: Option<String>,
    pub(crate) model: ModelSpec,
    /// `None`: every tool.
    pub(crate) tools: Option<Tools>,
    /// Of a new session.
    pub(crate) labels: Labels,
    pub(crate) idempotency: Option<Idempotency>,
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
    #[error("this session never began, so there is nothing to go on with; create a new one")]
    NeverBegan,
    #[error("the agent has nothing of this session any more; create a new one")]
    RemoteGone,
    #[error("the session was removed meanwhile")]
    Removed,
    #[error("the session was cancelled before it had begun")]
    Cancelled,
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
