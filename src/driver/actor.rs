//! One task per session: everything that happens to its turn happens here, in one order.
//!
//! ```text
//! opening --> running --sign of an end--> asking --it has ended--> closed
//!                |  ^                        | not yet
//!                |  +------------------------+
//!                +--cancel, timeout, loop, shutdown--> stopping --ended, or 4 s later--> closed
//!                +--the child is gone--> recovering --the next one goes on--> running
//!                                            +--it does not come, or once too often--> closed
//! ```
//!
//! While it asks the child something it goes on hearing: calls are futures beside the queue, never in
//! front of it. The one exception is after a lost feed, when what was missed must come first.

mod asking;
mod beginning;
mod counting;
mod recovering;

use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt as _;
use futures_util::future::BoxFuture;
use futures_util::stream::FuturesUnordered;
use tokio::sync::{oneshot, watch};
use tokio::time::Instant;

use self::asking::Findings;
use self::beginning::begin;
use self::recovering::Step;
use super::closing;
use super::demux::{Item, Subscription};
use super::dispatch::Context;
use super::link::Link;
use super::opening::Opened;
use super::overlap::RunningTurn;
use super::prompt::PromptText;
use super::provider_reason;
use super::publish::publish;
use super::refused_calls;
use super::results::Results;
use super::resync::Missed;
use super::translate::{Batch, End, Signal, Translator};
use crate::clock::Timestamp;
use crate::engine::Busy;
use crate::event::{Body, Event};
use crate::gateway::Grant;
use crate::opencode::CallError;
use crate::session::{Command, Health, Request, Status, TurnHandle};
use crate::workspace;

/// Items taken before the others get a turn: enough to merge small texts, too few to hold anybody up.
const AT_ONCE: usize = 512;

/// How often a silent turn is looked at.
const LOOK: Duration = Duration::from_secs(1);

/// Drives one turn from its beginning to its end.
pub(super) async fn run(request: Request, mut turn_handle: TurnHandle, context: Context) {
    let opened = match begin(request, &mut turn_handle, &context).await {
        Ok(opened) => opened,
        Err(unwanted) => return unwanted.refuse(turn_handle, &context).await,
    };
    let remote_id = opened.remote_id.clone();
    tracing::info!(
        session.id = turn_handle.session.id,
        session.remote_id = remote_id,
        "session running"
    );
    turn_handle.accept(&remote_id, opened.before.clone());
    Actor::new(turn_handle, context, opened).drive().await;
}

struct Actor {
    turn_handle: TurnHandle,
    context: Context,
    link: Link,
    /// Held for its drop.
    _busy: Busy,
    remote_id: String,
    subscription: Subscription,
    /// Gone as soon as the turn is to stop: then no call of a model goes out or on.
    grant: Option<Grant>,
    prompt_text: PromptText,
    /// Messages up to this one say nothing about the end of the turn.
    before: Option<String>,
    translator: Translator,
    batch: Batch,
    running_turn: RunningTurn,
    /// How a turn that is being stopped is to end, and by when.
    stopping: Option<(End, Instant)>,
    inquiry: Option<BoxFuture<'static, Findings>>,
    /// A further sign of an end came while one was looked into.
    inquire_again: bool,
    asked: u32,
    resync: Option<BoxFuture<'static, Missed>>,
    /// The child is gone, and the next one is not here yet.
    orphaned: bool,
    recoveries: u32,
    recovery: Option<BoxFuture<'static, Step>>,
    /// Small calls nobody waits for.
    background_calls: FuturesUnordered<BoxFuture<'static, ()>>,
    /// Who waits for the end.
    waiting: Vec<oneshot::Sender<()>>,
    deadline: Instant,
    last_activity_at: Instant,
    /// Why it was last called stalled.
    stalled: Option<&'static str>,
    results: Results,
    /// The gateway's counts changed.
    counts_rx: watch::Receiver<()>,
    /// The calls that are on disk, and whether anything of the counts is newer.
    calls_kept: u64,
    counts_changed: bool,
}

// === impl Actor ===

impl Actor {
    fn new(turn_handle: TurnHandle, context: Context, opened: Opened) -> Self {
        let Opened {
            link,
            busy,
            remote_id,
            subscription,
            grant,
            prompt_text,
            before,
            translator,
            batch,
        } = opened;
        let now = Instant::now();
        let mut counts_rx = grant.changes();
        // The first call may be under way.
        counts_rx.mark_changed();
        Self {
            counts_rx,
            calls_kept: 0,
            results: Results::new(context.config.loop_limit == 0),
            counts_changed: false,
            running_turn: context.running_turns.enter(),
            deadline: now + context.config.turn_timeout,
            turn_handle,
            context,
            link,
            _busy: busy,
            remote_id,
            subscription,
            grant: Some(grant),
            prompt_text,
            before,
            translator,
            batch,
            stopping: None,
            inquiry: None,
            inquire_again: false,
            asked: 0,
            resync: None,
            orphaned: false,
            recoveries: 0,
            recovery: None,
            background_calls: FuturesUnordered::new(),
            waiting: Vec::new(),
            last_activity_at: now,
            stalled: None,
        }
    }

    /// Runs the turn to its one terminal event. Every branch of the select is cancel-safe: queues,
    /// tokens, timers, and futures that are kept in `self`.
    async fn drive(mut self) {
        let halt = self.context.shutdown.halt.clone();
        let mut looks = tokio::time::interval(LOOK);
        looks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let mut health_rx = self.context.registry.health();
        let mut workspace_rx = self.context.workspace.clone();
        // Also what it is now, if that is worth saying.
        health_rx.mark_changed();
        let end = loop {
            self.note_progress();
            self.publish();
            let stop_by = self.stopping.as_ref().map_or(self.deadline, |(_, by)| *by);
            let stopping = self.stopping.is_some();
            // Each child has its own.
            let lost = self.link.lost.clone();
            let end = tokio::select! {
                item = self.subscription.items_rx.recv(), if self.resync.is_none() && !self.orphaned => item.and_then(|item| self.on_item(item)),
                command = self.turn_handle.commands_rx.recv() => self.on_command(command),
                // Not over a pending answer about what was missed: the end is not to overtake it.
                findings = settled(&mut self.inquiry), if self.inquiry.is_some() && (stopping || self.resync.is_none()) => self.judge(findings),
                missed = settled(&mut self.resync), if self.resync.is_some() => self.catch_up(missed),
                step = settled(&mut self.recovery), if self.recovery.is_some() => self.go_on(step),
                Some(()) = self.background_calls.next(), if !self.background_calls.is_empty() => None,
                () = lost.cancelled(), if !self.orphaned => self.on_child_lost(),
                () = halt.cancelled(), if !stopping => self.stop(closing::shutting_down()),
                () = tokio::time::sleep_until(stop_by) => self.time_is_up(),
                Ok(()) = self.counts_rx.changed() => { self.note_counts(); None }
                sentence = workspace_lost(&mut workspace_rx), if !stopping => self.stop(closing::workspace_lost(sentence)),
                Ok(()) = health_rx.changed() => { self.note_health(&health_rx.borrow_and_update().clone()); None }
                _ = looks.tick() => { self.keep_counts(); self.look(); None }
            };
            if let Some(end) = end {
                break end;
            }
        };
        self.close(end).await;
    }

    /// Publishes what was heard, and keeps what clients see of the turn in step with it.
    fn publish(&mut self) {
        let results = |event: &Event| matches!(event.body, Body::ToolResult(_));
        if let Some(grant) = &self.grant {
            refused_calls::restore(&mut self.batch.events, |id| grant.tool_arguments(id));
        }
        let may_have_written = self.batch.events.iter().any(results);
        publish(&self.turn_handle, &mut self.batch);
        let usage = self.translator.usage();
        if may_have_written || self.turn_handle.session.status().usage != usage {
            let (files, _) = self.translator.files(self.running_turn.alone());
            self.turn_handle.update(|status| {
                status.usage = usage;
                status.files_modified = files;
            });
        }
    }

    /// Takes what is in the queue, up to a point.
    fn on_item(&mut self, first: Item) -> Option<End> {
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
                self.subscription.items_rx.try_recv().ok()
            } else {
                None
            };
        }
        self.note_activity();
        self.apply_signals()
    }

    fn note_health(&mut self, health: &Health) {
        let why = match health {
            Health::Degraded(why) => Some(why.clone()),
            Health::Opening | Health::Well => None,
        };
        self.translator
            .set_degraded(why, Timestamp::now(), &mut self.batch);
    }

    fn note_activity(&mut self) {
        self.last_activity_at = Instant::now();
        if self.stalled.take().is_some() {
            self.translator
                .set_stalled(None, Timestamp::now(), &mut self.batch);
        }
    }

    fn apply_signals(&mut self) -> Option<End> {
        let mut end = None;
        for signal in std::mem::take(&mut self.batch.signals) {
            match signal {
                Signal::Idle | Signal::Failed | Signal::Disposed => {
                    self.asked = 0;
                    self.inquire(Duration::ZERO);
                }
                Signal::ChildCreated { session, parent } => {
                    self.context.gateway.adopt(&session, &parent);
                    // The feed does this too, but one learnt from the history was never in the feed.
                    self.context.demux.adopt(&session, &parent);
                }
                Signal::ToolRepeated { tool, times } => {
                    end = end.or(self.stop(closing::tool_loop(&tool, times)));
                }
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
                    self.call_in_background(
                        async move { client.reject_permission(&request).await },
                    );
                }
                Signal::QuestionAsked { request, .. } => {
                    let client = self.link.client.clone();
                    self.call_in_background(async move { client.reject_question(&request).await });
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

    fn call_in_background(
        &self,
        call: impl Future<Output = Result<(), CallError>> + Send + 'static,
    ) {
        self.background_calls.push(Box::pin(async move {
            if let Err(error) = call.await {
                tracing::warn!(%error, "a call to the engine failed");
            }
        }));
    }

    fn on_command(&mut self, command: Option<Command>) -> Option<End> {
        // The session record holds a sender, so this does not end before the session.
        let Command::Cancel(done_tx) = command?;
        self.waiting.push(done_tx);
        self.stop(End::Cancelled)
    }

    async fn close(mut self, end: End) {
        self.remember_usage();
        let end = provider_reason::tell(end, self.grant.as_ref());
        // Before the terminal event can be seen: then no key is in use any more.
        self.grant = None;
        (self.inquiry, self.recovery) = (None, None);
        // What a command left running lives as long as the session does, and no client may see the end before
        // it: the next turn of this session would find it.
        let left = self
            .context
            .engine
            .end_tools(self.subscription.family())
            .await;
        if left > 0 {
            tracing::info!(
                processes = left,
                "ended what the session's commands had running"
            );
        }
        self.translator.finish(
            end,
            self.running_turn.alone(),
            Timestamp::now(),
            &mut self.batch,
        );
        closing::note_deleted(&mut self.batch).await;
        self.subscription.leave();
        publish(&self.turn_handle, &mut self.batch);
        let status: Arc<Status> = self.turn_handle.session.status();
        tracing::info!(
            session.id = self.turn_handle.session.id,
            state = status.state.as_str(),
            code = status.problem.as_ref().map(|problem| &*problem.code),
            "session ended"
        );
        self.context.registry.ended();
        // A command that comes now is carried out already: with the turn handle its queue goes, which says so.
        drop(self.waiting);
    }
}

/// Waits until the agent's directory is gone, and says so. Cancel-safe.
async fn workspace_lost(workspace_rx: &mut workspace::Watch) -> String {
    let lost = workspace_rx.wait_for(|checked| checked.lost().is_some());
    match lost.await.ok().and_then(|checked| checked.lost()) {
        Some(sentence) => sentence,
        None => std::future::pending().await,
    }
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
