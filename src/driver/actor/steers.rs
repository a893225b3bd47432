//! The prompts that came while a turn runs, and how far each has got.

use std::collections::VecDeque;

use futures_util::future::BoxFuture;
use tokio::sync::oneshot;

use crate::driver::prompt::PromptText;
use crate::opencode::CallError;

/// The prompts of a running turn besides the one it began with.
#[derive(Default)]
pub(super) struct Steers {
    /// Not handed over yet.
    pub(super) waiting: VecDeque<PendingSteer>,
    /// The one that is on its way.
    pub(super) call: Option<BoxFuture<'static, Handed>>,
    /// OpenCode said that it has them.
    pub(super) taken: Vec<PromptText>,
}

/// A prompt that is to be handed over.
pub(super) struct PendingSteer {
    pub(super) text: PromptText,
    /// Nobody waits for one that is handed over again.
    pub(super) taken_tx: Option<oneshot::Sender<bool>>,
    pub(super) attempts: u32,
}

/// What came of handing one over.
pub(super) type Handed = (PendingSteer, Result<(), CallError>);
