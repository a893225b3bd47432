//! What the driver is asked to do.

use super::request::Request;
use super::steer::SteerRecord;
use crate::clock::Timestamp;
use crate::model::ModelSpec;

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
    /// OpenCode may have the prompt of the turn. If not, nothing in the conversation belongs to it.
    pub(crate) begun: bool,
    /// OpenCode's newest message before the turn.
    pub(crate) before: Option<String>,
    pub(crate) began: Timestamp,
    /// Prompts that OpenCode was being given.
    pub(crate) steers: Vec<InterruptedSteer>,
}

/// A prompt with a key that OpenCode was being given when the sidecar before this one ended. Whoever sends it again waits until it
/// is known whether the conversation has it.
#[derive(Clone, Debug)]
pub(crate) struct InterruptedSteer {
    /// OpenCode's id of it.
    pub(crate) message_id: String,
    pub(crate) record: SteerRecord,
}
