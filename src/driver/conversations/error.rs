//! Why a conversation could not be read or changed.

use crate::opencode::CallError;
use crate::session::CreateError;

/// The texts are for the client.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ConversationError {
    #[error("the agent has nothing of this session any more; create a new one")]
    RemoteGone,
    #[error("cursor: must be the next_cursor of a page of this list")]
    Cursor,
    #[error("this session has no subagent with this id; GET /sessions/{{id}}/children lists them")]
    NoSubagent,
    /// The message or the turn that was named.
    #[error("this conversation has no such prompt; GET /sessions/{{id}}/messages lists them")]
    NoPrompt,
    /// These are the commands there are.
    #[error("there is no such command")]
    NoCommand(Vec<String>),
    #[error("this session never got a prompt")]
    Empty,
    #[error("a turn of this session is running; wait for its end, or stop it")]
    Running,
    #[error("nothing of this session is undone")]
    NothingUndone,
    #[error(transparent)]
    Create(#[from] CreateError),
    #[error("{0}")]
    EngineUnavailable(String),
    #[error("the sidecar is shutting down")]
    ShuttingDown,
    /// OpenCode refused, or its answer is of no use; the text is for the log.
    #[error("{0}")]
    Failed(String),
}

impl From<CallError> for ConversationError {
    fn from(error: CallError) -> Self {
        match error {
            CallError::Status { status: 404, .. } => Self::RemoteGone,
            // Something of it runs that is no turn of ours.
            CallError::Status { status: 409, .. } => Self::Running,
            CallError::Connection { .. } => {
                tracing::warn!(%error, "lost the engine during a call about a conversation");
                Self::EngineUnavailable("the engine died while it was asked".into())
            }
            CallError::Deadline { .. } => {
                tracing::warn!(%error, "the engine did not answer a call about a conversation");
                Self::EngineUnavailable("the engine did not answer in time".into())
            }
            CallError::Status { .. } | CallError::TooLarge { .. } | CallError::Body { .. } => {
                Self::Failed(error.to_string())
            }
        }
    }
}
