//! One session as everybody may see it: commands in, log and status out.

use std::borrow::Cow;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use tokio::sync::{mpsc, oneshot, watch};

use super::limits::StreamSlots;
use super::log::EventLog;
use super::row::Details;
use crate::clock::Timestamp;
use crate::event::{Phase, State, Usage};
use crate::journal::Row;
use crate::model::ModelCalls;
use crate::tool::Tools;

/// An event is on disk in milliseconds, or the disk counts as failing, and then it is shown from memory.
pub(super) const SHOWN: Duration = Duration::from_secs(5);

/// A session. Shared by the registry, its readers and its driver.
#[derive(Debug)]
pub(crate) struct Session {
    pub(crate) id: String,
    pub(crate) created_at: Timestamp,
    /// The order in which sessions were made: newest first needs no clock.
    pub(super) number: u64,
    pub(super) origin: Origin,
    /// An idempotency key, by which it is found again.
    pub(super) key: Option<String>,
    pub(crate) log: EventLog,
    pub(crate) slots: StreamSlots,
    /// To the driver of the running turn.
    pub(super) commands_tx: Mutex<mpsc::Sender<Command>>,
    pub(super) status_tx: watch::Sender<Arc<Status>>,
    /// The last turn whose end the backend was told of.
    pub(super) reported: AtomicU32,
}

/// What a session was made with, as far as it is kept.
#[derive(Clone, Debug, Default)]
pub(crate) struct Origin {
    /// `None` also where prompts are not to be kept.
    pub(crate) prompt: Option<String>,
    /// `None`: every tool.
    pub(crate) tools: Option<Tools>,
    /// Of the whole body that made it, if that came with an idempotency key.
    pub(crate) digest: Option<[u8; 32]>,
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
    /// Of this turn, as the next.
    pub(crate) usage: Usage,
    pub(crate) calls: ModelCalls,
    pub(crate) earlier: Earlier,
    pub(crate) files_modified: Vec<String>,
    /// The newest message of OpenCode's before the turn: what is older is not of it.
    pub(crate) before: Option<String>,
}

/// What the turns before this one came to.
#[derive(Clone, Debug, Default)]
pub(crate) struct Earlier {
    pub(crate) usage: Usage,
    pub(crate) calls: ModelCalls,
}

/// Why a turn failed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Problem {
    pub(crate) code: Cow<'static, str>,
    pub(crate) sentence: String,
}

// === impl Session ===

impl Session {
    pub(crate) fn status(&self) -> Arc<Status> {
        self.status_tx.borrow().clone()
    }

    /// The tools it was made with; `None`: every tool.
    pub(crate) fn tools(&self) -> Option<&Tools> {
        self.origin.tools.as_ref()
    }

    /// Changes what clients see of it.
    pub(crate) fn update(&self, change: impl FnOnce(&mut Status)) {
        self.status_tx
            .send_modify(|status| change(Arc::make_mut(status)));
    }

    /// Asks for the end of the turn, and waits until it has ended. A session that has ended already is
    /// left as it is. The caller has the deadline.
    pub(crate) async fn cancel(&self) -> Arc<Status> {
        let (done_tx, done_rx) = oneshot::channel();
        let commands_tx = self.commands_tx.lock().clone();
        if !self.status().state.is_final()
            && commands_tx.send(Command::Cancel(done_tx)).await.is_ok()
        {
            // An error means that the driver is gone, and so is the turn.
            done_rx.await.ok();
        }
        self.settled().await
    }

    /// How it is, for a client. An end is told once readers have it: who was told of one must find the same
    /// after a crash, and `last_event_id` is to be the end's.
    pub(crate) async fn settled(&self) -> Arc<Status> {
        if self.status().state.is_final() {
            let mut status_rx = self.status_tx.subscribe();
            tokio::select! {
                () = self.log.end_shown() => {}
                // Another turn has begun: its readers wait for its own end.
                _ = status_rx.wait_for(|status| !status.state.is_final()) => {}
                () = tokio::time::sleep(SHOWN) => {}
            }
        }
        self.status()
    }

    /// How it is kept on disk.
    pub(crate) fn row(&self) -> Row {
        let status = self.status();
        let ended = status.state.is_final().then_some(status.completed_at);
        Row {
            number: self.number,
            id: self.id.clone(),
            epoch: self.log.last_event_id().epoch.to_string(),
            remote_id: status.remote_id.clone(),
            state: status.state.as_str().to_owned(),
            ended: ended.flatten().map(Timestamp::as_millis),
            key: self.key.clone(),
            reported: self.reported.load(Ordering::Relaxed),
            turn: status.turn,
            facts: Details::new(self.created_at, &self.origin, &status).to_json(),
        }
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
            calls: ModelCalls::default(),
            earlier: Earlier::default(),
            files_modified: Vec::new(),
            before: None,
        }
    }

    /// As the next turn begins: what the last one ended with is over.
    pub(super) fn next_turn(&self, now: Timestamp) -> Self {
        Self {
            turn: self.turn + 1,
            remote_id: self.remote_id.clone(),
            earlier: Earlier {
                usage: self.session_usage(),
                calls: self.session_calls(),
            },
            ..Self::new(now)
        }
    }

    /// Of all turns.
    pub(crate) fn session_usage(&self) -> Usage {
        self.earlier.usage.plus(self.usage)
    }

    /// Of all turns.
    pub(crate) fn session_calls(&self) -> ModelCalls {
        self.earlier.calls.plus(&self.calls)
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
