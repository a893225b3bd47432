//! One task per session: everything that happens to its turn happens here, in one order.
//!
//! ```text
//! opening --> running --sign of an end--> asking --it has ended--> closed --> parked --> gone
//!                |  ^                        | not yet
//!                |  +------------------------+
//!                +--cancel, timeout, loop, shutdown--> stopping --ended, or 4 s later--> closed
//!                +--the child is gone--> closed
//! ```
//!
//! While it asks the child something it goes on hearing: calls are futures beside the queue, never in
//! front of it. The one exception is after a lost feed, when what was missed must come first.

use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt as _;
use futures_util::future::BoxFuture;
use futures_util::stream::FuturesUnordered;
use tokio::sync::oneshot;
use tokio::time::Instant;

use super::closing;
use super::crowd::Presence;
use super::dispatch::Surroundings;
use super::ending::{self, Facts, Verdict};
use super::link::Link;
use super::opening::{self, Opened};
use super::publish::publish;
use super::resync::{self, Missed};
use super::switchboard::{Item, Place};
use super::translate::{Batch, End, Signal, Translator};
use crate::clock::Timestamp;
use crate::event::State;
use crate::gateway::{Grant, Wait};
use crate::opencode::CallError;
use crate::opencode::types::{Message, SessionStatus};
use crate::session::{Command, CreateError, Seat, Status};

/// Items taken before the others get a turn: enough to merge small texts, too few to hold anybody up.
const AT_ONCE: usize = 512;

/// How long a stopped turn may take to end in good order. A client that cancels is answered within 5 s.
const STOPPING: Duration = Duration::from_secs(4);

/// How long the child may take to abort.
const ABORT: Duration = Duration::from_millis(2500);

/// After a question about the turn's end that got no answer.
const ASK_AGAIN: Duration = Duration::from_millis(500);

/// How often a silent turn is looked at.
const LOOK: Duration = Duration::from_secs(1);

/// Drives one session from its creation until nobody can ask for it any more.
pub(super) async fn run(mut seat: Seat, around: Surroundings) {
    let opened = tokio::select! {
        opened = opening::open(&seat.request, &around) => opened,
        command = seat.commands_rx.recv() => {
            seat.update(cancelled);
            seat.refuse(CreateError::Cancelled);
            // Whoever cancelled waits for this.
            drop(command);
            return;
        }
    };
    let opened = match opened {
        Ok(opened) => opened,
        Err(error) => {
            tracing::warn!(session.id = seat.session.id, %error, "a session was not created");
            return seat.refuse(error);
        }
    };
    let remote_id = opened.remote_id.clone();
    tracing::info!(
        session.id = seat.session.id,
        session.remote_id = remote_id,
        "session running"
    );
    seat.accept(&remote_id);
    let seat = Turn::new(seat, around.clone(), opened).drive().await;
    park(seat, &around, &remote_id).await;
}

fn cancelled(status: &mut Status) {
    status.state = State::Cancelled;
    status.completed_at = Some(Timestamp::now());
    status.ended = Some(std::time::Instant::now());
}

/// The turn is over; what is left is to answer, and to clean up in the child at the end.
async fn park(mut seat: Seat, around: &Surroundings, remote_id: &str) {
    let removed = seat.removed();
    // A command to a session that has ended is carried out already: dropping it says so.
    while let Some(Some(_)) = removed.run_until_cancelled(seat.commands_rx.recv()).await {}
    let link = around.links.borrow().clone();
    if let Some(link) = link
        && let Err(error) = link.client.delete_session(remote_id).await
    {
        tracing::debug!(%error, "an old session stays in the engine");
    }
}

/// What is known of the root session when an end is suspected.
type Findings = Result<(SessionStatus, Vec<Message>), CallError>;

struct Turn {
    seat: Seat,
    around: Surroundings,
    link: Link,
    remote_id: String,
    place: Place,
    /// Gone as soon as the turn is to stop: then no call of a model goes out or on.
    grant: Option<Grant>,
    translator: Translator,
    batch: Batch,
    presence: Presence,
    /// How a turn that is being stopped is to end, and by when.
    stopping: Option<(End, Instant)>,
    inquiry: Option<BoxFuture<'static, Findings>>,
    /// A further sign of an end came while one was looked into.
    inquire_again: bool,
    asked: u32,
    resync: Option<BoxFuture<'static, Missed>>,
    /// Small calls nobody waits for.
    errands: FuturesUnordered<BoxFuture<'static, ()>>,
    /// Who waits for the end.
    waiting: Vec<oneshot::Sender<()>>,
    deadline: Instant,
    last_heard: Instant,
    stalled: bool,
}

// === impl Turn ===

impl Turn {
    fn new(seat: Seat, around: Surroundings, opened: Opened) -> Self {
        let Opened {
            link,
            remote_id,
            place,
            grant,
            translator,
            batch,
        } = opened;
        let now = Instant::now();
        Self {
            presence: around.crowd.enter(),
            deadline: now + around.config.turn_timeout,
            seat,
            around,
            link,
            remote_id,
            place,
            grant: Some(grant),
            translator,
            batch,
            stopping: None,
            inquiry: None,
            inquire_again: false,
            asked: 0,
            resync: None,
            errands: FuturesUnordered::new(),
            waiting: Vec::new(),
            last_heard: now,
            stalled: false,
        }
    }

    /// Runs the turn to its one terminal event. Every branch of the select is cancel-safe: queues,
    /// tokens, timers, and futures that are kept in `self`.
    async fn drive(mut self) -> Seat {
        let (halt, lost) = (self.around.shutdown.halt.clone(), self.link.lost.clone());
        let mut looks = tokio::time::interval(LOOK);
        looks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let end = loop {
            publish(&self.seat, &mut self.batch);
            let stop_by = self.stopping.as_ref().map_or(self.deadline, |(_, by)| *by);
            let stopping = self.stopping.is_some();
            let end = tokio::select! {
                item = self.place.items_rx.recv(), if self.resync.is_none() => item.and_then(|item| self.hear(item)),
                command = self.seat.commands_rx.recv() => { self.obey(command); None }
                findings = settled(&mut self.inquiry), if self.inquiry.is_some() => self.judge(findings),
                missed = settled(&mut self.resync), if self.resync.is_some() => self.catch_up(missed),
                Some(()) = self.errands.next(), if !self.errands.is_empty() => None,
                () = lost.cancelled() => Some(closing::engine_lost()),
                () = halt.cancelled(), if !stopping => { self.stop(closing::shutting_down()); None }
                () = tokio::time::sleep_until(stop_by) => self.time_is_up(),
                _ = looks.tick() => { self.look(); None }
            };
            if let Some(end) = end {
                break end;
            }
        };
        self.close(end).await
    }

    /// Takes what is in the queue, up to a point.
    fn hear(&mut self, first: Item) -> Option<End> {
        let mut next = Some(first);
        let mut taken = 0;
        while let Some(item) = next {
            match item {
                Item::Event(event) => {
                    self.translator
                        .apply(*event, Timestamp::now(), &mut self.batch);
                }
                Item::Lost => self.translator.feed_lost(),
                Item::Back => {
                    self.begin_resync();
                    break;
                }
            }
            taken += 1;
            next = if taken < AT_ONCE {
                self.place.items_rx.try_recv().ok()
            } else {
                None
            };
        }
        self.heard();
        self.heed_signals()
    }

    fn heard(&mut self) {
        self.last_heard = Instant::now();
        if std::mem::take(&mut self.stalled) {
            self.translator
                .set_stalled(None, Timestamp::now(), &mut self.batch);
        }
    }

    fn heed_signals(&mut self) -> Option<End> {
        let mut end = None;
        for signal in std::mem::take(&mut self.batch.signals) {
            match signal {
                Signal::Idle | Signal::Failed | Signal::Disposed => {
                    self.asked = 0;
                    self.inquire(Duration::ZERO);
                }
                Signal::ChildCreated { session, parent } => {
                    self.around.gateway.adopt(&session, &parent);
                }
                Signal::ToolRepeated { tool, times } => self.stop(closing::tool_loop(&tool, times)),
                Signal::SequenceGap { session, after } => {
                    tracing::warn!(
                        session.remote_id = session,
                        after,
                        "events were missed; asking for them"
                    );
                    self.begin_resync();
                }
                Signal::SessionDeleted => end = Some(closing::session_deleted()),
                // Nobody is there to say yes, and a turn must not wait for ever.
                Signal::PermissionAsked { request, .. } => {
                    let client = self.link.client.clone();
                    self.run_errand(async move { client.reject_permission(&request).await });
                }
                Signal::QuestionAsked { request, .. } => {
                    let client = self.link.client.clone();
                    self.run_errand(async move { client.reject_question(&request).await });
                }
                Signal::TextDiverged { part } => {
                    tracing::warn!(
                        part,
                        "the final text of a part differs from what was streamed of it"
                    );
                }
                Signal::Busy
                | Signal::MessageDone { .. }
                | Signal::Answered { .. }
                | Signal::Retrying { .. }
                | Signal::Compacted { .. } => {}
            }
        }
        end
    }

    fn run_errand(&self, call: impl Future<Output = Result<(), CallError>> + Send + 'static) {
        self.errands.push(Box::pin(async move {
            if let Err(error) = call.await {
                tracing::warn!(%error, "a call to the engine failed");
            }
        }));
    }

    fn obey(&mut self, command: Option<Command>) {
        // The session record holds a sender, so this does not end before the session.
        if let Some(Command::Cancel(done_tx)) = command {
            self.waiting.push(done_tx);
            self.stop(End::Cancelled);
        }
    }

    /// Begins to end the turn: no more model calls, abort, no more commands. The first reason holds.
    fn stop(&mut self, end: End) {
        if self.stopping.is_some() {
            return;
        }
        self.stopping = Some((end, Instant::now() + STOPPING));
        self.remember_usage();
        self.grant = None;
        self.asked = 0;
        let (link, remote_id) = (self.link.clone(), self.remote_id.clone());
        let (engine, family) = (self.around.engine.clone(), self.place.family());
        let workspace = self.around.config.workspace.clone();
        self.inquiry = Some(Box::pin(async move {
            if let Err(error) = link.client.abort(&remote_id, ABORT).await {
                tracing::warn!(%error, "the engine did not abort the turn");
            }
            // Also what left the process group of its command.
            let escaped = engine.end_tools(family).await;
            if escaped > 0 {
                tracing::info!(
                    processes = escaped,
                    "ended what the turn's commands left behind"
                );
            }
            find_out(&link, &remote_id, &workspace).await
        }));
    }

    fn time_is_up(&mut self) -> Option<End> {
        if let Some((end, _)) = self.stopping.take() {
            return Some(end);
        }
        self.stop(closing::timeout(self.around.config.turn_timeout));
        None
    }

    /// Asks the child whether the turn has ended, unless that is being asked.
    fn inquire(&mut self, after: Duration) {
        if self.inquiry.is_some() {
            self.inquire_again = true;
            return;
        }
        self.inquire_again = false;
        let (link, remote_id) = (self.link.clone(), self.remote_id.clone());
        let workspace = self.around.config.workspace.clone();
        self.inquiry = Some(Box::pin(async move {
            tokio::time::sleep(after).await;
            find_out(&link, &remote_id, &workspace).await
        }));
    }

    fn judge(&mut self, findings: Findings) -> Option<End> {
        let (status, messages) = match findings {
            Ok(findings) => findings,
            Err(error) => {
                tracing::warn!(%error, "could not ask whether a turn has ended");
                self.inquire(ASK_AGAIN);
                return None;
            }
        };
        let facts = Facts {
            status: &status,
            last: ending::last_of_turn(&messages, None),
            error: self.translator.turn_error(),
            cancelled: self.stopping.is_some(),
            asked: self.asked,
        };
        match ending::decide(&facts) {
            Verdict::NotYet if self.inquire_again => self.inquire(Duration::ZERO),
            Verdict::NotYet => {}
            Verdict::AskAgain(wait) => {
                self.asked += 1;
                self.inquire(wait);
            }
            Verdict::Ended(end) => {
                // What the last events would have said, if they are still on their way.
                self.recall(messages);
                let end = closing::refine(end, self.grant.as_ref().and_then(Grant::stopped));
                return Some(self.stopping.take().map_or(end, |(reason, _)| reason));
            }
        }
        None
    }

    fn begin_resync(&mut self) {
        let family: Vec<(String, Option<u64>)> = self
            .translator
            .sequences()
            .map(|(id, seen)| (id.to_owned(), seen))
            .collect();
        let mut others = self.around.switchboard.sessions();
        others.retain(|id| !family.iter().any(|(ours, _)| ours == id));
        self.resync = Some(Box::pin(resync::ask(self.link.clone(), family, others)));
    }

    fn catch_up(&mut self, missed: Missed) -> Option<End> {
        let now = Timestamp::now();
        for item in missed.history {
            self.translator.apply_history(item, now, &mut self.batch);
        }
        self.recall(missed.messages);
        self.heard();
        // The end may be among what was missed.
        self.inquire(Duration::ZERO);
        self.heed_signals()
    }

    fn recall(&mut self, messages: Vec<Message>) {
        let now = Timestamp::now();
        for message in messages {
            self.translator.apply_message(message, now, &mut self.batch);
        }
    }

    /// Says why nothing is heard, once.
    fn look(&mut self) {
        let silence = self.last_heard.elapsed();
        if self.stalled || silence < self.around.config.stall_after {
            return;
        }
        self.stalled = true;
        let since = Timestamp::now();
        let tool = self.seat.session.status().current_tool.clone();
        let reason = match (self.grant.as_ref().map(Grant::wait), tool) {
            (Some(Wait::Provider { deadline, .. }), _) => {
                format!(
                    "waiting for the model provider until {}",
                    Timestamp::from(deadline)
                )
            }
            (Some(Wait::Retry { until }), _) => {
                format!(
                    "the model provider is asked again at {}",
                    Timestamp::from(until)
                )
            }
            (Some(Wait::Answering { .. }), _) => {
                "the model's answer comes in, but the engine says nothing".into()
            }
            (_, Some(tool)) => format!(
                "the tool {tool} is running and has said nothing for {} s",
                silence.as_secs()
            ),
            _ => format!(
                "nothing was heard from the engine for {} s",
                silence.as_secs()
            ),
        };
        self.translator
            .set_stalled(Some(reason), since, &mut self.batch);
    }

    fn remember_usage(&self) {
        let (usage, (files, _)) = (
            self.translator.usage(),
            self.translator.files(self.presence.alone()),
        );
        let calls = self
            .grant
            .as_ref()
            .map(|grant| closing::calls(&grant.usage()));
        self.seat.update(|status| {
            status.calls = calls.unwrap_or_else(|| status.calls.clone());
            status.usage = usage;
            status.files_modified = files;
        });
    }

    async fn close(mut self, end: End) -> Seat {
        self.remember_usage();
        // Before the terminal event can be seen: then no key is in use any more.
        self.grant = None;
        self.translator.finish(
            end,
            self.presence.alone(),
            Timestamp::now(),
            &mut self.batch,
        );
        closing::note_deleted(&mut self.batch).await;
        publish(&self.seat, &mut self.batch);
        let status: Arc<Status> = self.seat.session.status();
        tracing::info!(
            session.id = self.seat.session.id,
            state = status.state.as_str(),
            code = status.problem.as_ref().map(|problem| problem.code),
            "session ended"
        );
        self.around.registry.ended();
        drop(self.waiting);
        self.seat
    }
}

async fn find_out(link: &Link, remote_id: &str, workspace: &std::path::Path) -> Findings {
    let mut statuses = link.client.statuses(workspace).await?;
    let status = statuses.remove(remote_id).unwrap_or(SessionStatus::Idle);
    Ok((status, link.client.messages(remote_id).await?))
}

/// The result of a future that is kept, which is then gone. Cancel-safe: the future stays in its place.
async fn settled<T>(slot: &mut Option<BoxFuture<'static, T>>) -> T {
    match slot {
        Some(future) => {
            let result = future.await;
            *slot = None;
            result
        }
        None => std::future::pending().await,
    }
}
