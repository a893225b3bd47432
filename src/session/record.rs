//! One session as everybody may see it: commands in, log and status out.

use std::sync::Arc;
use std::time::Instant;

use tokio::sync::{mpsc, oneshot, watch};
use tokio_util::sync::CancellationToken;

use super::limits::StreamSlots;
use super::log::EventLog;
use crate::clock::Timestamp;
use crate::event::{Phase, State, Usage};

/// A session. Shared by the registry, its readers and its driver.
#[derive(Debug)]
pub(crate) struct Session {
    pub(crate) id: String,
    pub(crate) created_at: Timestamp,
    /// The order in which sessions were made: newest first needs no clock.
    pub(super) number: u64,
    pub(crate) log: EventLog,
    pub(crate) slots: StreamSlots,
    pub(super) commands_tx: mpsc::Sender<Command>,
    pub(super) status_rx: watch::Receiver<Arc<Status>>,
    /// Cancelled when the registry lets go of it.
    pub(super) removed: CancellationToken,
}

/// What a client may want of a running session.
#[derive(Debug)]
pub(crate) enum Command {
    /// End the turn. The answer comes when it has ended.
    Cancel(oneshot::Sender<()>),
}

/// How a session is. Replaced as a whole with every change.
#[derive(Clone, Debug)]
pub(crate) struct Status {
    pub(crate) state: State,
    pub(crate) progress: u8,
    pub(crate) phase: Option<Phase>,
    pub(crate) current_tool: Option<Arc<str>>,
    pub(crate) reason: Option<String>,
    pub(crate) last_activity: Timestamp,
    /// OpenCode's own id.
    pub(crate) remote_id: Option<String>,
    pub(crate) completed_at: Option<Timestamp>,
    /// The same moment, for measuring how long ago it was.
    pub(crate) ended: Option<Instant>,
    pub(crate) problem: Option<Problem>,
    pub(crate) turn: u32,
    pub(crate) usage: Usage,
    pub(crate) calls: Calls,
    pub(crate) files_modified: Vec<String>,
}

/// What the gateway counted.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Calls {
    pub(crate) made: u64,
    pub(crate) retried: u64,
    /// Tokens of all calls, those included whose answer the agent threw away.
    pub(crate) total_tokens: u64,
    /// From the call to the first byte of its answer, the last one.
    pub(crate) first_byte_ms: Option<u64>,
    /// What all calls took together.
    pub(crate) duration_ms: u64,
    pub(crate) last_error: Option<String>,
}

/// Why a turn failed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Problem {
    pub(crate) code: &'static str,
    pub(crate) sentence: String,
}

// === impl Session ===

impl Session {
    pub(crate) fn status(&self) -> Arc<Status> {
        self.status_rx.borrow().clone()
    }

    /// Asks for the end of the turn, and waits until it has ended. A session that has ended already is
    /// left as it is. The caller has the deadline.
    pub(crate) async fn cancel(&self) -> Arc<Status> {
        let (done_tx, done_rx) = oneshot::channel();
        if !self.status().state.is_final()
            && self
                .commands_tx
                .send(Command::Cancel(done_tx))
                .await
                .is_ok()
        {
            // An error means that the driver is gone, and so is the turn.
            done_rx.await.ok();
        }
        self.status()
    }
}

// === impl Status ===

impl Status {
    pub(super) fn new(now: Timestamp) -> Self {
        Self {
            state: State::Pending,
            progress: 0,
            phase: None,
            current_tool: None,
            reason: None,
            last_activity: now,
            remote_id: None,
            completed_at: None,
            ended: None,
            problem: None,
            turn: 1,
            usage: Usage::default(),
            calls: Calls::default(),
            files_modified: Vec::new(),
        }
    }
}

impl State {
    /// Whether a session in this state is done.
    pub(crate) const fn is_final(self) -> bool {
        match self {
            Self::Completed | Self::Failed | Self::Cancelled => true,
            Self::Pending | Self::Running | Self::WaitingInput => false,
        }
    }
}
