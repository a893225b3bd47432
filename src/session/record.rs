//! One session, shared by the registry, its readers and its driver: commands in, log and status out.

use std::sync::Arc;
use std::sync::atomic::AtomicU32;
use std::time::Duration;

use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use tokio::sync::{Semaphore, mpsc, oneshot, watch};

use super::accepted::AcceptedPrompts;
use super::asks::{Answer, AnswerCommand, AnswerError};
use super::diagnosis::Facts;
use super::labels::{LabelChange, Labels};
use super::limits::StreamSlots;
use super::log::{EventLog, TurnSpan};
use super::outcome::Created;
use super::queue::{Queue, QueueHead, QueuedPrompt};
use super::request::Idempotency;
use super::status::Status;
use super::steer::Steer;
use super::turn_ends::TurnEnds;
use crate::clock::Timestamp;
use crate::event::State;
use crate::locks::Named;
use crate::permission::{Policy, PolicyChange};
use crate::tool::Tools;
use crate::trace::SpanAndParent;

/// An event is on disk in milliseconds, or the disk counts as failing, and then it is shown from memory.
pub(super) const PUBLISH_WAIT: Duration = Duration::from_secs(5);

/// A turn begins or is refused within this time.
const BEGIN_WAIT: Duration = Duration::from_secs(25);

#[derive(Debug)]
pub(crate) struct Session {
    pub(crate) id: String,
    pub(crate) created_at: Timestamp,
    /// The order in which sessions were created: newest first needs no clock.
    pub(super) number: u64,
    pub(super) origin: Origin,
    pub(crate) log: EventLog,
    pub(crate) slots: StreamSlots,
    /// Where the events of the present or last turn lie.
    pub(super) span: Mutex<Arc<TurnSpan>>,
    /// To the driver of the running turn.
    pub(super) commands_tx: Mutex<mpsc::Sender<Command>>,
    pub(super) status_tx: watch::Sender<Arc<Status>>,
    /// Locked only for a moment, and the last of all locks.
    pub(super) queue: Mutex<Queue>,
    /// Prompts that may come again under their keys.
    pub(super) accepted: Mutex<AcceptedPrompts>,
    /// The policy whose rules OpenCode's session has. It differs from the status after a change, and after a turn that
    /// did not begin.
    engine_policy: Mutex<Arc<Policy>>,
    /// The last turn whose end the backend was told of.
    pub(super) reported: AtomicU32,
    /// Ends of earlier turns, if the backend is to be told of them.
    pub(super) ends: Mutex<TurnEnds>,
    pub(super) labels: Mutex<Labels>,
    /// The trace of the present or last turn.
    pub(super) trace: Mutex<Option<SpanAndParent>>,
    /// What the task of the running turn last found; nothing while none runs.
    facts: Mutex<Option<Facts>>,
    /// One permit: for whoever changes the conversation in OpenCode outside of a turn, and for a turn while it starts.
    /// Neither may find what the other has done half. Only a start waits for it.
    pub(crate) conversation: Semaphore,
}

/// What a session was created with, as far as it is kept.
#[derive(Clone, Debug, Default)]
pub(crate) struct Origin {
    /// `None` also if prompts are not to be kept.
    pub(crate) prompt: Option<String>,
    /// `None`: every tool.
    pub(crate) tools: Option<Tools>,
    pub(crate) idempotency: Option<Idempotency>,
    pub(crate) forked_from: Option<ForkedFrom>,
}

/// Which conversation a session began with.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub(crate) struct ForkedFrom {
    pub(crate) session_id: String,
    /// The last turn that was copied, if it was named.
    pub(crate) turn: Option<u32>,
    /// The first message that was not copied; null: all were.
    pub(crate) message_id: Option<String>,
}

/// What a client may want of a running session.
#[derive(Debug)]
pub(crate) enum Command {
    /// End the turn. The answer comes when it has ended.
    Cancel(oneshot::Sender<()>),
    /// Answer a request of the agent.
    Answer(AnswerCommand),
    /// Tell the agent more in the middle of the turn.
    Steer(Box<Steer>),
}

// === impl Session ===

impl Session {
    /// A session whose turn, if one runs, nobody drives yet.
    pub(super) fn new(
        id: String,
        number: u64,
        created_at: Timestamp,
        origin: Origin,
        status: Status,
        log: EventLog,
    ) -> Self {
        Self {
            id,
            created_at,
            number,
            origin,
            log,
            slots: StreamSlots::default(),
            commands_tx: Mutex::new(mpsc::channel(1).0),
            engine_policy: Mutex::new(status.policy.clone()),
            status_tx: watch::Sender::new(Arc::new(status)),
            span: Mutex::new(Arc::new(TurnSpan::new())),
            queue: Mutex::default(),
            accepted: Mutex::default(),
            reported: AtomicU32::new(0),
            ends: Mutex::default(),
            labels: Mutex::default(),
            trace: Mutex::default(),
            facts: Mutex::default(),
            conversation: Semaphore::new(1),
        }
    }

    pub(crate) fn status(&self) -> Arc<Status> {
        self.status_tx.borrow().clone()
    }

    pub(crate) fn facts(&self) -> Option<Facts> {
        self.facts.lock().clone()
    }

    pub(crate) fn set_facts(&self, facts: Option<Facts>) {
        *self.facts.lock() = facts;
    }

    /// The locks that may only be held for a moment.
    pub(super) fn locks(&self) -> [Named<'_>; 10] {
        [
            ("span", &self.span),
            ("commands", &self.commands_tx),
            ("queue", &self.queue),
            ("accepted_prompts", &self.accepted),
            ("engine_policy", &self.engine_policy),
            ("ends", &self.ends),
            ("labels", &self.labels),
            ("trace", &self.trace),
            ("facts", &self.facts),
            ("log", self.log.lock()),
        ]
    }

    pub(super) fn is_final(&self) -> bool {
        self.status_tx.borrow().state.is_final()
    }

    /// What whoever asked for it is told.
    pub(super) fn created(&self) -> Created {
        Created {
            remote_id: self.status().remote_id.clone().unwrap_or_default(),
            created_at: self.created_at,
        }
    }

    /// The tools it was created with; `None`: every tool.
    pub(crate) fn tools(&self) -> Option<&Tools> {
        self.origin.tools.as_ref()
    }

    pub(crate) fn forked_from(&self) -> Option<&ForkedFrom> {
        self.origin.forked_from.as_ref()
    }

    pub(crate) fn labels(&self) -> Labels {
        self.labels.lock().clone()
    }

    /// Changes what the caller calls it, on disk too.
    pub(crate) async fn set_labels(&self, change: LabelChange) {
        self.labels.lock().change(change);
        self.begun().await;
        self.record_row();
        self.noted().await;
    }

    /// Waits until no turn is about to begin, up to a limit.
    pub(super) async fn begun(&self) {
        let mut status_rx = self.status_tx.subscribe();
        let begun = status_rx.wait_for(|status| status.state != State::Pending);
        drop(tokio::time::timeout(BEGIN_WAIT, begun).await);
    }

    /// Writes what it is now. The row of a turn that is about to begin must not be on disk before it has begun; with its
    /// beginning or its refusal this is written.
    pub(super) fn record_row(&self) {
        let row = self.row();
        if row.state != State::Pending.as_str() {
            self.log.record(row, false);
        }
    }

    /// Waits until what was noted of it is on disk: whoever is told of it must find it after a restart.
    pub(crate) async fn noted(&self) {
        drop(tokio::time::timeout(PUBLISH_WAIT, self.log.written()).await);
    }

    /// What it was created under, by which it is found again.
    pub(crate) const fn idempotency(&self) -> Option<&Idempotency> {
        self.origin.idempotency.as_ref()
    }

    /// The idempotency key, by which it is found again.
    pub(super) fn key(&self) -> Option<&String> {
        self.origin.idempotency.as_ref().map(|known| &known.key)
    }

    /// The prompts that wait, the next one first.
    pub(crate) fn queued(&self) -> Vec<QueuedPrompt> {
        self.queue.lock().list()
    }

    /// The next prompt that waits.
    pub(crate) fn next_queued(&self) -> Option<QueueHead> {
        self.queue.lock().head()
    }

    /// Turn `turn` is about to begin, after one that ended like this.
    pub(super) fn begin_turn(&self, earlier: &Status, turn: u32, change: &PolicyChange) {
        let next = earlier.next_turn(turn, Timestamp::now(), change);
        self.status_tx.send_replace(Arc::new(next));
    }

    /// Whether OpenCode's session has other rules than `policy` says.
    pub(crate) fn policy_differs(&self, policy: &Policy) -> bool {
        **self.engine_policy.lock() != *policy
    }

    /// The policy whose rules OpenCode's session has.
    pub(super) fn engine_policy(&self) -> Arc<Policy> {
        self.engine_policy.lock().clone()
    }

    pub(crate) fn set_engine_policy(&self, policy: Arc<Policy>) {
        *self.engine_policy.lock() = policy;
    }

    /// Changes what clients see of it.
    pub(crate) fn update(&self, change: impl FnOnce(&mut Status)) {
        self.status_tx
            .send_modify(|status| change(Arc::make_mut(status)));
    }

    /// Asks for the end of the turn, and waits until it has ended. A session that has ended already is left as it is. The
    /// caller has the deadline.
    pub(crate) async fn cancel(&self) -> Arc<Status> {
        let (done_tx, done_rx) = oneshot::channel();
        let commands_tx = self.commands_tx.lock().clone();
        if !self.is_final() && commands_tx.send(Command::Cancel(done_tx)).await.is_ok() {
            // An error means that the driver is gone, and so is the turn.
            done_rx.await.ok();
        }
        self.settled().await
    }

    /// Answers a request of the agent, and waits until the agent has the answer. The first answer is taken; a later
    /// one is told which it was. The caller has the deadline.
    pub(crate) async fn answer(&self, request_id: &str, answer: Answer) -> Result<(), AnswerError> {
        let kind = answer.kind();
        let (result_tx, result_rx) = oneshot::channel();
        let command = Command::Answer(AnswerCommand {
            request_id: request_id.to_owned(),
            answer,
            result_tx,
        });
        let commands_tx = self.commands_tx.lock().clone();
        // Without a driver no turn runs, and every request has ended.
        if !self.is_final()
            && commands_tx.send(command).await.is_ok()
            && let Ok(result) = result_rx.await
        {
            return result;
        }
        let outcome = self.status().asks.outcome(request_id, kind).cloned();
        Err(outcome.map_or(AnswerError::Unknown, AnswerError::Ended))
    }

    /// The status for a client. An end is told once readers may see it: whoever was told of one must find the same after a
    /// crash, and `last_event_id` is to be that of the end.
    pub(crate) async fn settled(&self) -> Arc<Status> {
        if self.is_final() {
            let mut status_rx = self.status_tx.subscribe();
            tokio::select! {
                () = self.log.end_shown() => {}
                // Another turn has begun: its readers wait for its own end.
                _ = status_rx.wait_for(|status| !status.state.is_final()) => {}
                () = tokio::time::sleep(PUBLISH_WAIT) => {}
            }
        }
        self.status()
    }
}
