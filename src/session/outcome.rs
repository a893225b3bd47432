//! What the client of a turn gets once it has begun, or was refused.

use super::request::CreateError;
use crate::clock::Timestamp;

/// A session that runs, for the client who asked for it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Created {
    pub(crate) remote_id: String,
    pub(crate) created_at: Timestamp,
}

/// The result of a beginning, once there is one.
pub(super) type Outcome = Option<Result<Created, CreateError>>;
