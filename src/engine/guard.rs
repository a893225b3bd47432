//! Keeps the kernel from killing for memory: watches how near the limit is, and says when the child has
//! to make room by going.
//!
//! Deciding is [`Policy`], which is pure; the task around it looks and tells. It never touches the child:
//! the actor obeys a [`RestartRequest`], or has another child by then.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::load::{Counts, Load};
use super::memory::{Memory, Places, Pressure};
use super::state::Snapshot;
use crate::id::Generation;

/// Between two looks; and while memory is short.
const LOOK: Duration = Duration::from_secs(1);
const CLOSE_LOOK: Duration = Duration::from_millis(500);

/// How long a child is left alone after one was recycled and it did not help. Twice as long each time.
const PAUSE: Duration = Duration::from_mins(1);

/// Doublings of the pause.
const MAX_DOUBLINGS: u32 = 4;

/// Times the child may be recycled within the window, even if it helps each time.
const BUDGET: usize = 5;
const WINDOW: Duration = Duration::from_mins(5);

/// Says that one child has to go.
#[derive(Clone, Debug)]
pub(super) struct RestartRequest {
    pub(super) generation: Generation,
    /// There is no time for a graceful stop.
    pub(super) at_once: bool,
    /// A sentence for the log and for `last_error`.
    pub(super) why: String,
}

/// What is known at one look.
#[derive(Clone, Copy, Debug)]
struct Observation {
    pressure: Pressure,
    /// The child, if it takes work.
    ready: Option<Generation>,
    load: Counts,
}

/// What to do about it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Verdict {
    Leave,
    Recycle {
        at_once: bool,
    },
    /// It would be recycled, had that not been done in vain or too often.
    Hold {
        until: Instant,
    },
}

/// What was done so far.
#[derive(Debug, Default)]
struct Policy {
    /// The last child that was told to go.
    told: Option<Generation>,
    /// When children were told to, the newest last; no more than [`BUDGET`].
    times: VecDeque<Instant>,
    /// How many in a row did not bring the pressure back to normal.
    in_vain: u32,
}

/// What the task has and tells.
#[derive(Debug)]
pub(super) struct Guard {
    pub(super) places: Places,
    pub(super) load: Load,
    pub(super) snapshot_rx: watch::Receiver<Snapshot>,
    pub(super) memory_tx: watch::Sender<Option<Memory>>,
    pub(super) recycling_tx: watch::Sender<Option<RestartRequest>>,
}

// === impl Policy ===

impl Policy {
    fn judge(&mut self, now: Instant, sight: Observation) -> Verdict {
        let Some(child) = sight.ready.filter(|child| Some(*child) != self.told) else {
            return Verdict::Leave;
        };
        if sight.pressure == Pressure::Normal {
            self.in_vain = 0;
        }
        let idle = sight.load.turns == 0;
        let must_go = match sight.pressure {
            Pressure::Normal => false,
            // An idle child that keeps others waiting would do so for ever.
            Pressure::High => idle && sight.load.waiting > 0,
            Pressure::Critical => idle,
            Pressure::Extreme => true,
        };
        if !must_go {
            return Verdict::Leave;
        }
        if let Some(until) = self.not_before().filter(|until| now < *until) {
            return Verdict::Hold { until };
        }
        if self.times.len() == BUDGET {
            self.times.pop_front();
        }
        self.times.push_back(now);
        self.told = Some(child);
        self.in_vain += 1;
        Verdict::Recycle {
            at_once: sight.pressure == Pressure::Extreme,
        }
    }

    /// When the next child may be told to go.
    fn not_before(&self) -> Option<Instant> {
        let doublings = self.in_vain.saturating_sub(1).min(MAX_DOUBLINGS);
        let pause = (self.in_vain > 0).then(|| PAUSE * 2_u32.pow(doublings));
        let paused = self
            .times
            .back()
            .zip(pause)
            .map(|(last, pause)| *last + pause);
        let spent = self
            .times
            .front()
            .filter(|_| self.times.len() == BUDGET)
            .map(|first| *first + WINDOW);
        paused.max(spent)
    }
}

// === impl Guard ===

impl Guard {
    /// Watches until `stop`.
    pub(super) async fn run(self, stop: CancellationToken) {
        stop.run_until_cancelled(self.watch()).await;
    }

    async fn watch(mut self) {
        let mut policy = Policy::default();
        let mut counts_rx = self.load.watch();
        // Said once for each hold, not at each look.
        let mut said = None;
        loop {
            // Before the look: what is read then is that child's, or a later one's.
            let ready = {
                let snapshot = self.snapshot_rx.borrow_and_update();
                snapshot.ready().map(|_| snapshot.generation)
            };
            let places = self.places.clone();
            // `/proc` may hang on a process that does.
            let look = tokio::task::spawn_blocking(move || places.look()).await;
            let memory = look.ok().flatten();
            self.memory_tx.send_replace(memory);
            let load = *counts_rx.borrow_and_update();
            let pressure = memory.map_or(Pressure::Normal, Memory::pressure);
            let sight = Observation {
                pressure,
                ready,
                load,
            };
            match (policy.judge(Instant::now(), sight), memory, ready) {
                (Verdict::Recycle { at_once }, Some(memory), Some(generation)) => {
                    let why = format!(
                        "it was recycled because memory is short: {}",
                        memory.words()
                    );
                    tracing::warn!(
                        child.generation = generation.get(),
                        turns = load.turns,
                        waiting = load.waiting,
                        memory.used = memory.used,
                        memory.limit = memory.limit,
                        memory.source = memory.source.as_str(),
                        "memory is short: recycling the engine"
                    );
                    self.recycling_tx.send_replace(Some(RestartRequest {
                        generation,
                        at_once,
                        why,
                    }));
                }
                (Verdict::Hold { until }, Some(memory), _) if said != Some(until) => {
                    said = Some(until);
                    tracing::warn!(
                        memory.used = memory.used,
                        memory.limit = memory.limit,
                        memory.source = memory.source.as_str(),
                        pause_secs = until.saturating_duration_since(Instant::now()).as_secs(),
                        remedy = memory.remedy(),
                        "memory is short, and recycling the engine did not help for long: leaving it for a while"
                    );
                }
                _ => {}
            }
            let pause = if pressure == Pressure::Normal {
                LOOK
            } else {
                CLOSE_LOOK
            };
            tokio::select! {
                () = tokio::time::sleep(pause) => {}
                // The last turn ended, or somebody waits. We hold a sender, so this is never the end.
                _ = counts_rx.changed() => {}
                // The actor is gone, and with it the child.
                changed = self.snapshot_rx.changed() => if changed.is_err() { return },
            }
        }
    }
}

/// Waits until the child of this generation is to go.
pub(super) async fn told(
    mut recycling_rx: watch::Receiver<Option<RestartRequest>>,
    child: Generation,
) -> RestartRequest {
    let mine =
        |now: &Option<RestartRequest>| now.as_ref().is_some_and(|now| now.generation == child);
    match recycling_rx
        .wait_for(mine)
        .await
        .map(|recycling| recycling.clone())
    {
        Ok(Some(recycling)) => recycling,
        // Nobody watches any more.
        Ok(None) | Err(_) => std::future::pending().await,
    }
}

#[cfg(test)]
mod tests;
