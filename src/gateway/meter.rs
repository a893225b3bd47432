//! What one session's calls cost, what they wait for, and when there are to be no more.
//!
//! Owns the counters, the budget and the breaker of one route. Nothing here waits or knows HTTP: the
//! forwarder says what happened and asks whether a call may be made.
//!
//! The breaker: a provider that failed one caller [`FAILURES_IN_A_ROW`] times, while nobody else of the
//! family had a success, is left alone for the rest of the turn, and so is one that says the account's
//! quota is used up. OpenCode gives up a call after six failures, but a parent whose subagent failed would
//! begin again, and again. Callers are counted apart so that parallel subagents do not use up each
//! other's patience.

use std::collections::{BTreeMap, HashMap};
use std::time::{Duration, SystemTime};

use parking_lot::Mutex;

use super::usage::Tokens;
use crate::setting;

/// What a session may spend. Absent: no limit. The comments are the words of `--help`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::Args)]
#[command(next_help_heading = "Models")]
pub(crate) struct Budget {
    /// Tokens a session may spend, unless it brings its own limit; none: no limit
    // Input and output of all calls together. A call that is running when it is spent runs to its end.
    #[arg(long = "max-total-tokens", value_parser =
        setting::number(1..=1_000_000_000_000_u64, "a number of tokens from 1 to 1000000000000"))]
    pub(crate) max_total_tokens: Option<u64>,
    /// Model calls a session may make, unless it brings its own limit; none: no limit
    #[arg(long = "max-calls", value_parser =
        setting::number(1..=1_000_000_000_u64, "a number of calls from 1 to 1000000000"))]
    pub(crate) max_calls: Option<u64>,
}

/// What a session has spent.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Usage {
    /// Calls that reached a provider (or the demo model).
    pub(crate) calls: u64,
    /// Of these, calls made again because one before had failed.
    pub(crate) retries: u64,
    /// Calls whose answer gave no token counts: cut off, or a server that does not count.
    pub(crate) unmetered_calls: u64,
    pub(crate) tokens: Tokens,
    /// From the call to the first byte of its answer, all calls together and the last one.
    pub(crate) first_byte_total: Duration,
    pub(crate) first_byte_last: Option<Duration>,
    /// From the call to the end of its answer, all calls together.
    pub(crate) duration_total: Duration,
    pub(crate) last_error: Option<LastError>,
}

/// The last thing that went wrong, without any key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct LastError {
    /// Stable, for programs.
    pub(crate) code: &'static str,
    /// What the child was answered; `None` if its answer had begun.
    pub(crate) status: Option<u16>,
    /// For people.
    pub(crate) message: String,
}

/// Why no more calls are made for a session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stop {
    /// The turn is to end with code `budget_exceeded`.
    BudgetExceeded,
    /// The provider says that the account has nothing left.
    QuotaExhausted,
    /// The provider failed too often in a row.
    ProviderFailing,
}

/// What a session's calls are doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Wait {
    /// No call is under way.
    Idle,
    /// A call was sent and nothing has come back; it is given up at `deadline`.
    Provider {
        since: SystemTime,
        deadline: SystemTime,
    },
    /// An answer is coming in.
    Answering { since: SystemTime },
    /// The provider asked to be left alone; the child calls again at about `until`.
    Retry { until: SystemTime },
}

/// As many calls as OpenCode makes for one step. Fewer, and its own patience could not be used up.
const FAILURES_IN_A_ROW: u32 = 6;

/// Callers that are counted apart; the others share one count.
const MAX_CALLERS: usize = 64;

/// The counters of one route.
#[derive(Debug)]
pub(super) struct Meter {
    budget: Budget,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    usage: Usage,
    next_call: u64,
    under_way: BTreeMap<u64, Wait>,
    retry_at: Option<SystemTime>,
    /// Since the last success, by caller.
    failures: HashMap<String, u32>,
    stop: Option<Stop>,
    /// The body of the last call that was refused for good.
    refused: Option<u64>,
}

/// Names one call to its meter.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct CallId {
    number: u64,
    /// The session's own id or a subagent's.
    caller: String,
}

/// How a call ended.
#[derive(Debug)]
pub(super) enum Outcome {
    Complete,
    /// The child hung up or the session ended: says nothing about the provider.
    Cut,
    /// Calling again may help.
    Failed(LastError),
    /// Calling again cannot help.
    Refused(LastError),
}

// === impl Budget ===

impl Budget {
    /// The session's own limits, and the pod's where it has none.
    pub(super) fn or(self, default: Self) -> Self {
        Self {
            max_total_tokens: self.max_total_tokens.or(default.max_total_tokens),
            max_calls: self.max_calls.or(default.max_calls),
        }
    }

    fn is_spent(self, usage: &Usage) -> bool {
        self.max_calls.is_some_and(|max| usage.calls >= max)
            || self
                .max_total_tokens
                .is_some_and(|max| usage.tokens.total() >= max)
    }
}

// === impl Meter ===

impl Meter {
    /// `spent` counts against the budget: what earlier turns of the session used.
    pub(super) fn new(budget: Budget, spent: Usage) -> Self {
        let state = State {
            usage: spent,
            next_call: 0,
            under_way: BTreeMap::new(),
            retry_at: None,
            failures: HashMap::new(),
            stop: None,
            refused: None,
        };
        Self {
            budget,
            state: Mutex::new(state),
        }
    }

    /// Begins a call, or says why there is to be none. `body` hashes what would be sent; it is asked only
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
        if self.budget.is_spent(&state.usage) {
            state.stop = Some(Stop::BudgetExceeded);
            return Err(Denied::Stopped(Stop::BudgetExceeded));
        }
        if let Some(refused) = state.refused {
            if refused == body() {
                return Err(Denied::Repeated);
            }
            state.refused = None;
        }
        let number = state.next_call;
        state.next_call += 1;
        state.usage.calls += 1;
        state.usage.retries += u64::from(state.failures.contains_key(caller));
        state.retry_at = None;
        state.under_way.insert(
            number,
            Wait::Provider {
                since: SystemTime::now(),
                deadline,
            },
        );
        Ok(CallId {
            number,
            caller: caller.to_owned(),
        })
    }

    /// The gateway itself calls once more.
    pub(super) fn repeated(&self) {
        let mut state = self.state.lock();
        state.usage.calls += 1;
        state.usage.retries += 1;
    }

    /// The provider has begun to answer.
    pub(super) fn answering(&self, call: &CallId) {
        self.state.lock().under_way.insert(
            call.number,
            Wait::Answering {
                since: SystemTime::now(),
            },
        );
    }

    pub(super) fn first_byte(&self, after: Duration) {
        let mut state = self.state.lock();
        state.usage.first_byte_total += after;
        state.usage.first_byte_last = Some(after);
    }

    /// The provider asked not to be called before `until`.
    pub(super) fn retry_at(&self, until: SystemTime) {
        self.state.lock().retry_at = Some(until);
    }

    /// The provider will not answer any more in this turn.
    pub(super) fn stop(&self, stop: Stop) {
        self.state.lock().stop.get_or_insert(stop);
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
        let was = state.under_way.remove(&call.number);
        state.usage.duration_total += duration;
        match tokens {
            Some(tokens) => state.usage.tokens.add(tokens),
            None if matches!(was, Some(Wait::Answering { .. })) => state.usage.unmetered_calls += 1,
            None => {}
        }
        match outcome {
            Outcome::Complete => state.failures.clear(),
            Outcome::Cut => {}
            Outcome::Refused(error) => state.usage.last_error = Some(error),
            Outcome::Failed(error) => {
                state.usage.last_error = Some(error);
                let apart =
                    state.failures.len() < MAX_CALLERS || state.failures.contains_key(&call.caller);
                let failures = state
                    .failures
                    .entry(if apart {
                        call.caller.clone()
                    } else {
                        String::new()
                    })
                    .or_default();
                *failures += 1;
                if *failures >= FAILURES_IN_A_ROW {
                    state.stop.get_or_insert(Stop::ProviderFailing);
                }
            }
        }
    }

    pub(super) fn usage(&self) -> Usage {
        self.state.lock().usage.clone()
    }

    pub(super) fn stopped(&self) -> Option<Stop> {
        self.state.lock().stop
    }

    /// What to tell someone who asks why nothing happens.
    pub(super) fn wait(&self) -> Wait {
        let state = self.state.lock();
        let answering = state
            .under_way
            .values()
            .find(|wait| matches!(wait, Wait::Answering { .. }));
        let idle = || match state.retry_at {
            Some(until) if until > SystemTime::now() => Wait::Retry { until },
            _ => Wait::Idle,
        };
        answering
            .or_else(|| state.under_way.values().next())
            .copied()
            .unwrap_or_else(idle)
    }
}

/// Why a call was not begun.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Denied {
    Stopped(Stop),
    /// OpenCode repeats refusals whose text looks to it like a passing fault ("500" in a number is
    /// enough). The provider need not hear the same question again.
    Repeated,
}

#[cfg(test)]
mod tests;
