//! What the calls of one turn cost, what they wait for, and when no more are made.
//!
//! Owns the counters and the limits of one route. Nothing here waits or knows HTTP: the forwarder reports
//! what happened and asks whether a call may be made.
//!
//! A provider that says the account's quota is used up is not called again in the turn;
//! [`failure_limits`] holds the other reasons for which calls end.

mod calls;
mod failure_limits;
mod wait;

use std::time::{Duration, SystemTime};

use parking_lot::Mutex;
use tokio::sync::watch;

use super::last_error::LastError;
use super::limits::Limits;
use super::stop::Stop;
use super::usage::Tokens;
use super::validate::Answered;
use crate::clock::millis;
use crate::metrics::model::{self as metrics, CallEnd};
use crate::model::{ModelCall, ModelCalls};
use calls::Calls;
use failure_limits::{Failure, FailureLimits};

pub(crate) use wait::Wait;

/// The counters of one route.
#[derive(Debug)]
pub(super) struct Meter {
    limits: Limits,
    /// What the turns before this one have spent.
    spent: ModelCalls,
    /// The session's own id; other callers are subagents.
    root: String,
    state: Mutex<State>,
    /// Changes with every count.
    changes_tx: watch::Sender<()>,
}

#[derive(Debug)]
struct State {
    usage: ModelCalls,
    tokens: Tokens,
    duration: Duration,
    last_error: Option<LastError>,
    /// The session's own last answer came without its end, and what it said was kept.
    unended: bool,
    /// Calls whose answer gave no token counts: cut off, or a server that does not count.
    unmetered_calls: u64,
    calls: Calls,
    retry_at: Option<SystemTime>,
    failures: FailureLimits,
    stop: Option<Stop>,
    /// The hash of the last call's body that was refused for good.
    refused: Option<u64>,
}

/// One call of a meter.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct CallId {
    number: u64,
    /// The session's own id or a subagent's.
    caller: String,
}

/// How a call ended.
#[derive(Debug)]
pub(super) enum Outcome {
    Complete(Answered),
    /// The child hung up or the session ended, which says nothing about the provider.
    Cut,
    /// Calling again may help.
    Failed(LastError),
    /// The answer could not be used.
    Bad(LastError),
    /// Calling again cannot help.
    Refused(LastError),
}

// === impl Outcome ===

impl Outcome {
    pub(super) const fn as_metric(&self) -> CallEnd {
        match self {
            Self::Complete(_) => CallEnd::Complete,
            Self::Cut => CallEnd::Cut,
            Self::Failed(error) | Self::Bad(error) | Self::Refused(error) => {
                CallEnd::Failed(error.code)
            }
        }
    }
}

// === impl Meter ===

impl Meter {
    /// `root` is the session's own id. `spent` counts against the limits: what its earlier turns used.
    pub(super) fn new(limits: Limits, spent: ModelCalls, root: &str) -> Self {
        let state = State {
            usage: ModelCalls::default(),
            tokens: Tokens::default(),
            duration: Duration::ZERO,
            last_error: None,
            unended: false,
            unmetered_calls: 0,
            calls: Calls::default(),
            retry_at: None,
            failures: FailureLimits::default(),
            stop: None,
            refused: None,
        };
        Self {
            limits,
            spent,
            root: root.to_owned(),
            state: Mutex::new(state),
            changes_tx: watch::Sender::new(()),
        }
    }

    /// Begins a call, or says why there may be none. `body` hashes what would be sent; it is asked only
    /// after a refusal.
    pub(super) fn begin(
        &self,
        caller: &str,
        deadline: SystemTime,
        body: impl FnOnce() -> u64,
    ) -> Result<CallId, Denied> {
        let mut state = self.state.lock();
        if let Some(stop) = state.stop {
            return Err(Denied::Stopped(stop));
        }
        if self.limits.are_reached(&self.spent, &state.usage) {
            state.end_calls(Stop::BudgetExceeded);
            return Err(Denied::Stopped(Stop::BudgetExceeded));
        }
        if let Some(refused) = state.refused {
            if refused == body() {
                return Err(Denied::Repeated);
            }
            state.refused = None;
        }
        state.usage.calls += 1;
        let failures = state.failures.in_a_row(caller);
        if failures > 0 {
            state.usage.retries += 1;
            metrics::retried();
        }
        state.retry_at = None;
        let number = state
            .calls
            .begin(caller != self.root, failures + 1, deadline);
        drop(state);
        self.changes_tx.send_replace(());
        Ok(CallId {
            number,
            caller: caller.to_owned(),
        })
    }

    /// The gateway itself makes the call again.
    pub(super) fn repeated(&self, call: &CallId) {
        let mut state = self.state.lock();
        state.calls.repeated(call.number);
        state.usage.calls += 1;
        state.usage.retries += 1;
        metrics::retried();
        drop(state);
        self.changes_tx.send_replace(());
    }

    /// Changes with every count.
    pub(super) fn changes(&self) -> watch::Receiver<()> {
        self.changes_tx.subscribe()
    }

    /// Something new happened that no answer shows, such as a tool's result.
    pub(super) fn progressed(&self) {
        self.state.lock().failures.progressed();
    }

    /// How long the child is to wait after one more bad answer; `None`: it need not call again.
    pub(super) fn pause_after_bad_answer(&self, call: &CallId) -> Option<Duration> {
        let state = self.state.lock();
        let pause = state.failures.pause_after_bad_answer(&call.caller);
        pause.filter(|_| state.stop.is_none())
    }

    pub(super) fn pause_after_failure(&self, call: &CallId) -> Duration {
        self.state.lock().failures.pause_after_failure(&call.caller)
    }

    /// The provider has begun to answer.
    pub(super) fn answering(&self, call: &CallId) {
        self.state.lock().calls.answering(call.number);
    }

    /// More of an answer came.
    pub(super) fn received(&self, call: &CallId, more: usize) {
        self.state.lock().calls.received(call.number, more);
    }

    pub(super) fn first_byte(&self, call: &CallId, after: Duration) {
        let mut state = self.state.lock();
        state.calls.first_byte(call.number, after);
        state.usage.first_byte_ms = Some(millis(after));
    }

    /// The provider asked not to be called before `until`.
    pub(super) fn retry_at(&self, until: SystemTime) {
        self.state.lock().retry_at = Some(until);
    }

    /// The provider will not answer any more in this turn.
    pub(super) fn stop(&self, stop: Stop) {
        self.state.lock().end_calls(stop);
    }

    /// `body`, sent again, would be refused again.
    pub(super) fn refused(&self, body: u64) {
        self.state.lock().refused = Some(body);
    }

    pub(super) fn end(
        &self,
        call: &CallId,
        duration: Duration,
        tokens: Option<Tokens>,
        outcome: Outcome,
    ) {
        let mut state = self.state.lock();
        let status = outcome.as_metric().status();
        let was_answering = state.calls.end(call.number, duration, status);
        state.duration += duration;
        state.usage.duration_ms = millis(state.duration);
        match tokens {
            Some(tokens) => {
                state.tokens.add(tokens);
                state.usage.total_tokens = state.tokens.total();
            }
            None if was_answering => state.unmetered_calls += 1,
            None => {}
        }
        state.count(outcome, &call.caller, &self.root);
        drop(state);
        self.changes_tx.send_replace(());
    }

    pub(super) fn usage(&self) -> ModelCalls {
        self.state.lock().usage.clone()
    }

    pub(super) fn last_error(&self) -> Option<LastError> {
        self.state.lock().last_error.clone()
    }

    pub(super) fn unended(&self) -> bool {
        self.state.lock().unended
    }

    #[cfg(test)]
    pub(super) fn tokens(&self) -> Tokens {
        self.state.lock().tokens
    }

    #[cfg(test)]
    pub(super) fn unmetered_calls(&self) -> u64 {
        self.state.lock().unmetered_calls
    }

    pub(super) fn stopped(&self) -> Option<Stop> {
        self.state.lock().stop
    }

    /// What the session's calls are doing: an answer that is coming in first.
    pub(super) fn wait(&self) -> Wait {
        let state = self.state.lock();
        state.calls.wait().unwrap_or_else(|| match state.retry_at {
            Some(until) if until > SystemTime::now() => Wait::Retry { until },
            _ => Wait::Idle,
        })
    }

    /// The newest calls one by one, oldest first.
    pub(super) fn newest_calls(&self) -> Vec<ModelCall> {
        self.state.lock().calls.newest()
    }
}

// === impl State ===

impl State {
    fn count(&mut self, outcome: Outcome, caller: &str, root: &str) {
        let (error, kind) = match outcome {
            Outcome::Complete(answered) => {
                if caller == root {
                    self.unended = answered.unended;
                }
                if let Some(stop) = self.failures.answered(caller, answered.digest) {
                    self.end_calls(stop);
                }
                return;
            }
            Outcome::Cut => return,
            Outcome::Refused(error) => (error, Failure::Refused),
            Outcome::Failed(error) => (error, Failure::Failed),
            Outcome::Bad(error) => (error, Failure::BadAnswer),
        };
        self.last_error = Some(error);
        if let Some(stop) = self.failures.failed(caller, kind) {
            self.end_calls(stop);
        }
    }

    /// The first reason holds.
    fn end_calls(&mut self, stop: Stop) {
        if self.stop.is_none() {
            self.stop = Some(stop);
            metrics::stopped(stop.code());
        }
    }
}

/// Why a call was not begun.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Denied {
    Stopped(Stop),
    /// OpenCode repeats refusals whose text looks to it like a passing fault ("500" in a number is
    /// enough). The provider would refuse the same call again.
    Repeated,
}

#[cfg(test)]
mod tests;
