//! What the actor tells the world: the state of the child, in types and in words. Pure.

use std::fmt::Display;
use std::net::SocketAddr;
use std::time::Instant;

use rustix::process::Pid;

use super::history::History;
use super::warm_up::WarmUpReport;
use crate::id::Generation;
use crate::metrics::engine::Exit;
use crate::opencode::Client;

/// Where the child is in its life.
#[derive(Clone, Debug)]
pub(crate) enum State {
    Stopped,
    /// `attempt` 0: the first start, or one that a person asked for.
    Starting {
        attempt: usize,
    },
    Ready(Ready),
    /// A restart waits for its time. `reason`: why the child that came up was not fit for work.
    Waiting {
        attempt: usize,
        until: Instant,
        reason: Option<String>,
    },
    /// The restart budget is spent. `None`: it is being tried again.
    Failed {
        until: Option<Instant>,
    },
    Stopping,
    /// Processes of the last child still run, and no other may start beside them.
    Sweeping,
}

/// A child that takes work.
#[derive(Clone, Debug)]
pub(crate) struct Ready {
    pub(crate) address: SocketAddr,
    pub(crate) version: String,
    pub(crate) client: Client,
    pub(crate) warm_up: WarmUpReport,
}

/// The latest the actor said.
#[derive(Clone, Debug)]
pub(crate) struct Snapshot {
    pub(crate) state: State,
    pub(crate) generation: Generation,
    /// Starts after the first.
    pub(crate) restarts: u64,
    /// Those of them that made room for memory.
    pub(crate) recycled: u64,
    /// The process, from spawn to reaping.
    pub(crate) process: Option<(Pid, Instant)>,
    /// Why the last child went, or the last start failed.
    pub(crate) last_error: Option<String>,
    /// Health checks that it has missed in a row.
    pub(crate) missed_checks: u32,
    pub(crate) history: History,
}

// === impl State ===

impl State {
    pub(crate) const fn name(&self) -> &'static str {
        match self {
            Self::Stopped => "stopped",
            Self::Starting { .. } => "starting",
            Self::Ready(_) => "ready",
            Self::Waiting { .. } => "restarting",
            Self::Failed { .. } => "failed",
            Self::Stopping | Self::Sweeping => "stopping",
        }
    }
}

// === impl Snapshot ===

impl Snapshot {
    pub(super) fn new() -> Self {
        Self {
            state: State::Starting { attempt: 0 },
            generation: Generation::default(),
            restarts: 0,
            recycled: 0,
            process: None,
            last_error: None,
            missed_checks: 0,
            history: History::default(),
        }
    }

    /// The present child ended, or did not come up.
    pub(super) fn ended(&self, exit: Exit, reason: &impl Display) {
        self.history.ended(self.generation, exit, reason);
    }

    pub(crate) const fn ready(&self) -> Option<&Ready> {
        match &self.state {
            State::Ready(ready) => Some(ready),
            State::Stopped
            | State::Starting { .. }
            | State::Waiting { .. }
            | State::Failed { .. }
            | State::Stopping
            | State::Sweeping => None,
        }
    }

    /// Whether no further child is on its way: a person stopped it, or its restarts are spent.
    pub(crate) const fn given_up(&self) -> bool {
        matches!(self.state, State::Stopped | State::Failed { .. })
    }

    /// Why no work can be taken, for `/ready` and for whoever posts a session.
    pub(crate) fn not_ready(&self, now: Instant) -> Option<String> {
        let wait = |until: Instant| until.saturating_duration_since(now).as_secs_f64().ceil();
        Some(match &self.state {
            State::Ready(_) => return None,
            State::Stopped => "engine stopped".into(),
            State::Stopping => "engine stopping".into(),
            State::Sweeping => {
                "engine stopping: processes that the last one left behind still run; they are being ended".into()
            }
            State::Starting { attempt: 0 } => "engine starting".into(),
            State::Starting { attempt } => format!("engine restarting (attempt {attempt})"),
            State::Waiting {
                attempt,
                until,
                reason,
            } => {
                let until = wait(*until);
                let reason = reason.as_ref().map(|reason| format!(": {reason}"));
                let reason = reason.unwrap_or_default();
                format!("engine restarting (attempt {attempt}, next in {until} s){reason}")
            }
            State::Failed { until } => {
                let error = self.last_error.as_deref().unwrap_or("no reason is known");
                match until {
                    Some(until) => {
                        format!("engine failed: {error}; trying again in {} s", wait(*until))
                    }
                    None => format!("engine failed: {error}; trying again now"),
                }
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn every_state_says_why_it_takes_no_work() {
        let now = Instant::now();
        let soon = now + Duration::from_millis(3500);
        let cases = [
            (State::Stopped, "engine stopped"),
            (State::Stopping, "engine stopping"),
            (
                State::Sweeping,
                "engine stopping: processes that the last one left behind still run; they are being ended",
            ),
            (State::Starting { attempt: 0 }, "engine starting"),
            (
                State::Starting { attempt: 3 },
                "engine restarting (attempt 3)",
            ),
            (
                State::Waiting {
                    attempt: 2,
                    until: soon,
                    reason: None,
                },
                "engine restarting (attempt 2, next in 4 s)",
            ),
            (
                State::Waiting {
                    attempt: 2,
                    until: soon,
                    reason: Some("the warm-up did not succeed: no".into()),
                },
                "engine restarting (attempt 2, next in 4 s): the warm-up did not succeed: no",
            ),
            (
                State::Failed { until: Some(soon) },
                "engine failed: it left; trying again in 4 s",
            ),
            (
                State::Failed { until: None },
                "engine failed: it left; trying again now",
            ),
        ];
        for (state, expected) in cases {
            let snapshot = Snapshot {
                state,
                last_error: Some("it left".into()),
                ..Snapshot::new()
            };
            assert_eq!(snapshot.not_ready(now).as_deref(), Some(expected));
        }
    }
}
