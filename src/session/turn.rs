//! What the driver is asked to do, and what the client gets.

use super::request::{CreateError, Request};
use crate::clock::Timestamp;
use crate::model::ModelSpec;

/// A session that runs, for the client who asked for it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Created {
    pub(crate) remote_id: String,
    pub(crate) created_at: Timestamp,
}

/// What the driver is to do.
#[derive(Debug)]
pub(crate) enum TurnKind {
    /// Run what a client asks for: the first turn of a session, or another one if its status has a `remote_id`.
    Prompt {
        request: Box<Request>,
        /// `None`: none is called.
        model: Option<Box<ModelSpec>>,
    },
    /// The sidecar died during a turn: find out what became of it, and end it.
    Recover(Interrupted),
}

/// A turn that another process began.
#[derive(Clone, Debug)]
pub(crate) struct Interrupted {
    pub(crate) remote_id: String,
    /// How much of each part was published.
    pub(crate) notes: Vec<(String, u64)>,
    /// OpenCode's newest message before the turn.
    pub(crate) before: Option<String>,
    pub(crate) began: Timestamp,
}

/// The result of a beginning, once there is one.
pub(super) type Outcome = Option<Result<Created, CreateError>>;
