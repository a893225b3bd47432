//! The loop in which a turn runs to its end.

use std::time::Duration;

use futures_util::StreamExt as _;
use futures_util::future::BoxFuture;
use futures_util::stream::FuturesUnordered;
use tokio::sync::watch;
use tokio::time::{Instant, MissedTickBehavior};

use super::ask_calls::{AskCalls, next_deadline, next_sent};
use super::egress;
use super::state::Actor;
use crate::driver::context::{Context, workspace_problem};
use crate::driver::end_reasons;
use crate::driver::open_turn::OpenTurn;
use crate::driver::seen_tool_results::SeenToolResults;
use crate::driver::steering::Steers;
use crate::gateway::Grant;
use crate::session::TurnHandle;
use crate::workspace::Checked;

/// How often it is checked whether the turn stalls, and its counts are written to disk.
const TICK: Duration = Duration::from_secs(1);

/// Runs a turn to its one terminal event.
pub(in crate::driver) async fn run(turn_handle: TurnHandle, mut turn: OpenTurn, context: Context) {
    let now = Instant::now();
    let mut counts_rx = match &turn.grant {
        Some(grant) => Grant::changes(grant),
        None => watch::channel(()).1,
    };
    // The first call may be under way.
    counts_rx.mark_changed();
    let actor = Actor {
        running_turn: context.running_turns.enter(),
        deadline: now + turn.time_limit.limit,
        results: SeenToolResults::new(context.config.loop_limit == 0),
        task_call: turn.task_call.take(),
        turn_handle,
        context,
        turn,
        stopping: None,
        waiting: Vec::new(),
        end_check: None,
        check_again: false,
        asked: 0,
        resync: None,
        child_lost: false,
        recoveries: 0,
        recovery: None,
        steers: Steers::default(),
        steer_call: None,
        background_calls: FuturesUnordered::new(),
        asks: AskCalls::default(),
        last_activity_at: now,
        stalled: None,
        phase: (None, None),
        feed_lost: None,
        counts_rx,
        calls_kept: 0,
        counts_changed: false,
    };
    actor.run().await;
}

// === impl Actor ===

impl Actor {
    /// Every branch of the select is cancel-safe: queues, tokens, timers, and futures that are kept in `self`.
    async fn run(mut self) {
        let halt = self.context.shutdown.halt.clone();
        let mut ticks = tokio::time::interval(TICK);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut health_rx = self.context.registry.health();
        let mut workspace_rx = self.context.workspace.clone();
        // Also what it is now.
        health_rx.mark_changed();
        let end = loop {
            self.hand_over_steer();
            self.note_progress();
            self.publish();
            self.announce_steers();
            let stop_by = self.stopping.as_ref().map_or(self.deadline, |(_, by)| *by);
            let stopping = self.stopping.is_some();
            // Each child has its own.
            let lost = self.turn.connection.lost.clone();
            let end = tokio::select! {
                item = self.turn.subscription.items_rx.recv(), if self.resync.is_none() && !self.child_lost => item.and_then(|item| self.on_item(item)),
                command = self.turn_handle.command() => self.on_command(command),
                // Not while it is asked what was missed: the end must not overtake that.
                findings = finished(&mut self.end_check), if stopping || self.resync.is_none() => self.on_findings(findings),
                missed = finished(&mut self.resync) => self.on_missed(missed),
                done = finished(&mut self.task_call) => self.on_task_done(done),
                result = finished(&mut self.steer_call) => { self.on_handed_over(result); None }
                step = finished(&mut self.recovery) => self.on_recovery_step(step),
                Some(()) = self.background_calls.next(), if !self.background_calls.is_empty() => None,
                () = lost.cancelled(), if !self.child_lost => self.on_child_lost(),
                () = halt.cancelled(), if !stopping => self.stop(end_reasons::shutting_down()),
                sent = next_sent(&mut self.asks.sending) => self.on_sent(sent),
                () = next_deadline(&self.asks.deadlines) => self.on_ask_deadline(),
                // The turn's time does not pass while a person is waited for.
                () = tokio::time::sleep_until(stop_by), if stopping || !self.asks.is_waiting() => self.on_deadline(),
                decisions = egress::decided(self.turn.egress.as_ref()) => { self.add_egress(decisions); None }
                Ok(()) = self.counts_rx.changed() => { self.note_counts(); None }
                problem = workspace_problem(&mut workspace_rx, Checked::lost), if !stopping => self.stop(end_reasons::workspace_lost(problem)),
                Ok(()) = health_rx.changed() => { self.note_health(&health_rx.borrow_and_update().clone()); None }
                now = ticks.tick() => { self.keep_counts(); self.check_stall(); self.steers.on_time(now); None }
            };
            if let Some(end) = end {
                break end;
            }
        };
        self.close(end).await;
    }
}

/// The result of a future that is kept in `slot`, which is then empty. Waits for ever while it is empty.
/// Cancel-safe: the future stays in its place.
async fn finished<T>(slot: &mut Option<BoxFuture<'static, T>>) -> T {
    match slot {
        Some(future) => {
            let result = future.await;
            *slot = None;
            result
        }
        None => std::future::pending().await,
    }
}
