//! What a session changed in the files of its workspace.

use serde::Serialize;
use utoipa::ToSchema;

use crate::clock::Timestamp;

/// The changes of each turn that made some, in order. The changes of a file in one turn come after those of an earlier turn.
#[derive(Debug, Default, Serialize, ToSchema)]
#[schema(as = SessionDiff)]
pub(crate) struct Changes {
    pub(crate) changes: Vec<TurnChanges>,
    /// There is more than what is here: older turns, or a longer patch.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    #[schema(value_type = Option<bool>)]
    pub(crate) truncated: bool,
}

/// What came of one prompt.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct TurnChanges {
    /// Null if it is not known.
    pub(crate) turn: Option<u32>,
    /// The prompt.
    pub(crate) message_id: String,
    pub(crate) source: Source,
    pub(crate) files: Vec<ChangedFile>,
    pub(crate) created_at: Timestamp,
}

/// How it is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
#[schema(as = DiffSource)]
pub(crate) enum Source {
    /// From the git work tree before and after: all that changed, by whomever.
    Snapshots,
    /// From what the file tools say: what a command changed is not in it.
    Tools,
}

#[derive(Debug, PartialEq, Eq, Serialize, ToSchema)]
pub(crate) struct ChangedFile {
    /// Within the workspace.
    pub(crate) path: String,
    pub(crate) status: FileStatus,
    pub(crate) additions: u64,
    pub(crate) deletions: u64,
    /// A unified diff; null if there is none, as for a binary file, or if it is not known.
    pub(crate) patch: Option<String>,
    /// The patch is too long to be here, or does not have all of the change.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    #[schema(value_type = Option<bool>)]
    pub(crate) truncated: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum FileStatus {
    Added,
    Modified,
    Deleted,
}
