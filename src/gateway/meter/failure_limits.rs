//! How often a provider may fail, and how many calls of a turn may bring nothing new. Pure.
//!
//! A circuit breaker for the turn: a provider that failed one caller [`FAILURES_IN_A_ROW`] times, while no
//! other caller of the session had a success, is not called again in the turn. OpenCode gives up a call after
//! six failures, but a parent whose subagent failed would begin again, and again. An answer that cannot be
//! used is a failure too, and [`BAD_ANSWERS_IN_A_ROW`] of them are enough.
//!
//! Progress: at most [`REPEATED_IN_A_ROW`] calls of one caller in a row may fail or be answered with what was
//! said before. Whatever makes OpenCode repeat itself, this ends it.
//!
//! Each caller (the session itself, each subagent) has counts of its own, so that parallel subagents do not
//! count against each other.

use std::collections::{HashMap, VecDeque};
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::time::Duration;

use crate::gateway::stop::Stop;

/// As many calls as OpenCode makes for one step. Fewer, and its own limit could not be reached.
const FAILURES_IN_A_ROW: u32 = 6;

/// A server that answers with a page or an empty stream seldom changes: fewer tries than after a failure.
const BAD_ANSWERS_IN_A_ROW: u32 = 3;

/// One more than `TOOL_LOOP_LIMIT` has by default, so that a loop of tools ends as one.
pub(super) const REPEATED_IN_A_ROW: u32 = 11;

/// Answers that are remembered, so that a repeated one is recognised.
const REMEMBERED: usize = 32;

/// The first pause between calls, where the gateway sets it. Each is twice as long as the one before.
const FIRST_PAUSE: Duration = Duration::from_secs(1);
const LONGEST_PAUSE: Duration = Duration::from_secs(8);

/// Callers that have counts of their own; further ones share one.
pub(super) const MAX_CALLERS: usize = 64;

/// What became of a call that got no answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Failure {
    /// The call itself was wrong, which says nothing about the provider.
    Refused,
    Failed,
    BadAnswer,
}

/// What is remembered of the calls of one turn.
#[derive(Debug, Default)]
pub(super) struct FailureLimits {
    callers: HashMap<String, Caller>,
    /// What was answered before, and to whom.
    answers: VecDeque<u64>,
}

#[derive(Clone, Copy, Debug, Default)]
struct Caller {
    /// Since the last success of any caller.
    failures: u32,
    /// Of these, answers that could not be used.
    bad_answers: u32,
    /// Calls since there was something new for this caller.
    without_progress: u32,
}

// === impl FailureLimits ===

impl FailureLimits {
    /// How many calls of `caller` have failed in a row: its next one is made again because of them.
    pub(super) fn in_a_row(&self, caller: &str) -> u32 {
        self.counts(caller).failures
    }

    /// Something new happened that no answer shows.
    pub(super) fn progressed(&mut self) {
        for caller in self.callers.values_mut() {
            caller.without_progress = 0;
        }
    }

    /// How long to wait after one more bad answer; `None`: it is the last one.
    pub(super) fn pause_after_bad_answer(&self, caller: &str) -> Option<Duration> {
        let before = self.counts(caller);
        let last = before.bad_answers + 1 >= BAD_ANSWERS_IN_A_ROW
            || before.failures + 1 >= FAILURES_IN_A_ROW;
        (!last).then(|| self.pause_after_failure(caller))
    }

    pub(super) fn pause_after_failure(&self, caller: &str) -> Duration {
        FIRST_PAUSE
            .saturating_mul(2_u32.saturating_pow(self.counts(caller).failures))
            .min(LONGEST_PAUSE)
    }

    pub(super) fn failed(&mut self, caller: &str, failure: Failure) -> Option<Stop> {
        let counts = self.counts_mut(caller);
        counts.failures += u32::from(failure != Failure::Refused);
        counts.bad_answers += u32::from(failure == Failure::BadAnswer);
        if counts.bad_answers >= BAD_ANSWERS_IN_A_ROW {
            return Some(Stop::BadAnswers);
        }
        if counts.failures >= FAILURES_IN_A_ROW {
            return Some(Stop::ProviderFailing);
        }
        self.without_progress(caller)
    }

    /// A call was answered, which speaks for the provider whoever made it. `digest` is the same for answers
    /// that say the same.
    pub(super) fn answered(&mut self, caller: &str, digest: u64) -> Option<Stop> {
        for counts in self.callers.values_mut() {
            (counts.failures, counts.bad_answers) = (0, 0);
        }
        let stop = if self.is_new(caller, digest) {
            self.counts_mut(caller).without_progress = 0;
            None
        } else {
            self.without_progress(caller)
        };
        self.callers.retain(|_, counts| counts.without_progress > 0);
        stop
    }

    fn is_new(&mut self, caller: &str, digest: u64) -> bool {
        let mut hasher = DefaultHasher::new();
        (caller, digest).hash(&mut hasher);
        let answer = hasher.finish();
        if self.answers.contains(&answer) {
            return false;
        }
        if self.answers.len() == REMEMBERED {
            self.answers.pop_front();
        }
        self.answers.push_back(answer);
        true
    }

    fn without_progress(&mut self, caller: &str) -> Option<Stop> {
        let counts = self.counts_mut(caller);
        counts.without_progress += 1;
        (counts.without_progress >= REPEATED_IN_A_ROW).then_some(Stop::NoProgress)
    }

    fn counts(&self, caller: &str) -> Caller {
        let counts = self.callers.get(self.key_of(caller));
        counts.copied().unwrap_or_default()
    }

    fn counts_mut(&mut self, caller: &str) -> &mut Caller {
        let caller = self.key_of(caller).to_owned();
        self.callers.entry(caller).or_default()
    }

    /// Callers past [`MAX_CALLERS`] share the counts of one key.
    fn key_of<'a>(&self, caller: &'a str) -> &'a str {
        let apart = self.callers.len() < MAX_CALLERS || self.callers.contains_key(caller);
        if apart { caller } else { "" }
    }
}
