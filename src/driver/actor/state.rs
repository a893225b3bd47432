//! What the task of a turn keeps.

use futures_util::future::BoxFuture;
use futures_util::stream::FuturesUnordered;
use tokio::sync::{oneshot, watch};
use tokio::time::Instant;

use super::ask_calls::AskCalls;
use crate::clock::Timestamp;
use crate::driver::child_connection::ChildConnection;
use crate::driver::context::Context;
use crate::driver::open_turn::{OpenTurn, TaskCall};
use crate::driver::overlap::RunningTurn;
use crate::driver::resync::StoredState;
use crate::driver::seen_tool_results::SeenToolResults;
use crate::driver::steering::{HandOver, Steers};
use crate::driver::translate::End;
use crate::event::Phase;
use crate::opencode::CallError;
use crate::opencode::types::{Message, SessionStatus};
use crate::session::TurnHandle;
use crate::session::diagnosis::Cause;

/// What the child says of the root session when an end is suspected.
pub(super) struct Findings {
    pub(super) status: SessionStatus,
    pub(super) messages: Vec<Message>,
    /// [`Steers::changes`] when it was asked.
    pub(super) steers: u64,
}

pub(super) type EndCheckResult = Result<Findings, CallError>;

/// What came of a step of the recovery after the child died.
pub(super) enum RecoveryStep {
    /// The next child is there, and this is what the dead one had stored.
    NextChild(ChildConnection, StoredState),
    /// The agent was prompted to go on.
    Prompted,
    Failed(End),
}

pub(super) struct Actor {
    pub(super) turn_handle: TurnHandle,
    pub(super) context: Context,
    pub(super) turn: OpenTurn,
    pub(super) running_turn: RunningTurn,
    pub(super) deadline: Instant,
    /// How a turn that is being stopped is to end, and by when.
    pub(super) stopping: Option<(End, Instant)>,
    /// Who waits for the end.
    pub(super) waiting: Vec<oneshot::Sender<()>>,
    /// The question whether the turn has ended.
    pub(super) end_check: Option<BoxFuture<'static, EndCheckResult>>,
    /// A further sign of an end came while that was asked: it is asked once more.
    pub(super) check_again: bool,
    /// How often it was asked again since the last sign.
    pub(super) asked: u32,
    /// What does the task of a turn that is no prompt, until it is answered.
    pub(super) task_call: Option<TaskCall>,
    /// The question what was missed.
    pub(super) resync: Option<BoxFuture<'static, StoredState>>,
    /// The child is gone, and the next one is not here yet.
    pub(super) child_lost: bool,
    /// How often the turn went on after that.
    pub(super) recoveries: u32,
    pub(super) recovery: Option<BoxFuture<'static, RecoveryStep>>,
    /// Prompts that came while it runs.
    pub(super) steers: Steers,
    /// The one of them that is being handed over.
    pub(super) steer_call: Option<BoxFuture<'static, HandOver>>,
    /// Small calls whose result is only logged.
    pub(super) background_calls: FuturesUnordered<BoxFuture<'static, ()>>,
    pub(super) asks: AskCalls,
    pub(super) last_activity_at: Instant,
    /// Why it was last called stalled.
    pub(super) stalled: Option<Cause>,
    /// The phase that clients saw before it was called stalled, and its reason.
    pub(super) phase: (Option<Phase>, Option<String>),
    /// Since when the child's event stream is broken.
    pub(super) feed_lost: Option<Timestamp>,
    pub(super) results: SeenToolResults,
    /// Changes with the gateway's counts.
    pub(super) counts_rx: watch::Receiver<()>,
    /// The number of calls that is on disk, and whether anything of the counts is newer.
    pub(super) calls_kept: u64,
    pub(super) counts_changed: bool,
}
