//! Errors of the modules below, as clients see them.

use super::{ApiError, ErrorCode};
use crate::api::stream::StreamError;
use crate::driver::ConversationError;
use crate::engine::AskError;
use crate::session::{ArchiveError, CreateError};

impl From<AskError> for ApiError {
    fn from(error: AskError) -> Self {
        let message = error.to_string();
        match error {
            AskError::InProgress(_) | AskError::OtherPort(_) => {
                Self::new(ErrorCode::Conflict, message)
            }
            AskError::ShuttingDown => Self {
                retry_after_secs: Some(5),
                ..Self::new(ErrorCode::ShuttingDown, message)
            },
        }
    }
}

impl From<CreateError> for ApiError {
    fn from(error: CreateError) -> Self {
        let message = error.to_string();
        let later = |code, message| Self {
            retry_after_secs: Some(5),
            ..Self::new(code, message)
        };
        match error {
            CreateError::Duplicate
            | CreateError::Cancelled
            | CreateError::Stopped
            | CreateError::Withdrawn
            | CreateError::Running
            | CreateError::StillCreated
            | CreateError::NeverBegan
            | CreateError::RemoteGone => Self::new(ErrorCode::Conflict, message),
            CreateError::CredentialsRequired => Self::new(ErrorCode::CredentialsRequired, message),
            CreateError::QueueFull(_) => later(ErrorCode::QueueFull, message),
            CreateError::Removed => Self::new(ErrorCode::Gone, message),
            CreateError::Full(_) => later(ErrorCode::TooManySessions, message),
            CreateError::KeyReused => Self::new(ErrorCode::IdempotencyMismatch, message),
            CreateError::JournalUnavailable(_) => later(ErrorCode::JournalUnavailable, message),
            CreateError::ShuttingDown => later(ErrorCode::ShuttingDown, message),
            // Not to be sent again without a look.
            CreateError::SteerUnknown => Self::new(ErrorCode::EngineUnavailable, message),
            CreateError::EngineUnavailable(_) | CreateError::SteerLookedUp => {
                later(ErrorCode::EngineUnavailable, message)
            }
            CreateError::WorkspaceUnavailable(_) => later(ErrorCode::WorkspaceUnavailable, message),
            CreateError::Failed(cause) => Self::internal(cause),
        }
    }
}

impl From<ConversationError> for ApiError {
    fn from(error: ConversationError) -> Self {
        let message = error.to_string();
        match error {
            ConversationError::Cursor => {
                Self::invalid("cursor", "must be the next_cursor of a page of this list")
            }
            ConversationError::NoSubagent
            | ConversationError::NoPrompt
            | ConversationError::NoCommand(_) => Self::new(ErrorCode::NotFound, message),
            ConversationError::RemoteGone
            | ConversationError::Empty
            | ConversationError::Running
            | ConversationError::NothingUndone => Self::new(ErrorCode::Conflict, message),
            ConversationError::Create(error) => error.into(),
            ConversationError::EngineUnavailable(reason) => Self::engine_unavailable(reason),
            ConversationError::ShuttingDown => Self {
                retry_after_secs: Some(5),
                ..Self::new(ErrorCode::ShuttingDown, message)
            },
            ConversationError::Failed(cause) => Self::internal(cause),
        }
    }
}

impl From<ArchiveError> for ApiError {
    fn from(error: ArchiveError) -> Self {
        let retry_after_secs = Some(5);
        Self {
            retry_after_secs,
            ..Self::new(ErrorCode::JournalUnavailable, error.to_string())
        }
    }
}

impl From<StreamError> for ApiError {
    fn from(error: StreamError) -> Self {
        let message = error.to_string();
        match error {
            StreamError::TooManyStreams { retry_after } => {
                let retry_after_secs = Some(retry_after.as_secs());
                Self {
                    retry_after_secs,
                    ..Self::new(ErrorCode::TooManyStreams, message)
                }
            }
            StreamError::Gap(_) => Self::new(ErrorCode::Conflict, message),
        }
    }
}
