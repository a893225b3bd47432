//! How often a provider may fail, and how long a turn may get nowhere.
//!
//! The breaker: a provider that failed one caller [`FAILURES_IN_A_ROW`] times, while nobody else of the
//! family had a success, is left alone for the rest of the turn. OpenCode gives up a call after six
//! failures, but a parent whose subagent failed would begin again, and again. What is no answer is a failure
//! too, and [`BAD_ANSWERS_IN_A_ROW`] of them are enough.
//!
//! No progress: calls of one caller that fail, or whose answers say what was said before, may be
//! [`FRUITLESS_IN_A_ROW`] in a row. Whatever makes OpenCode go round, it ends.
//!
//! Callers are counted apart so that parallel subagents do not count against each other.

use std::collections::{HashMap, VecDeque};
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::time::Duration;

use super::Stop;

/// As many calls as OpenCode makes for one step. Fewer, and its own limit could not be reached.
const FAILURES_IN_A_ROW: u32 = 6;

/// What is no answer today is none tomorrow: fewer tries than after a failure.
const BAD_ANSWERS_IN_A_ROW: u32 = 3;

/// One more than `TOOL_LOOP_LIMIT` has by default, so that a loop of tools ends as one.
pub(super) const FRUITLESS_IN_A_ROW: u32 = 11;

/// Answers that are remembered, to know them again.
const REMEMBERED: usize = 32;

/// The first pause between calls, where the gateway sets it. Each is twice as long as the one before.
const FIRST_PAUSE: Duration = Duration::from_secs(1);
const LONGEST_PAUSE: Duration = Duration::from_secs(8);

/// Callers that are counted apart; the others share one count.
pub(super) const MAX_CALLERS: usize = 64;

/// What became of a call that got no answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Failure {
    /// For good: says nothing about the provider.
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
    /// Since the last success of anybody.
    failures: u32,
    /// Of these, answers that were none.
    bad_answers: u32,
    /// Calls since there was something new for this caller.
    fruitless: u32,
}

// === impl FailureLimits ===

impl FailureLimits {
    /// Whether a call of `caller` is made again because one before had failed.
    pub(super) fn is_retry(&self, caller: &str) -> bool {
        self.of(caller).failures > 0
    }

    /// Something new happened that no answer shows.
    pub(super) fn progressed(&mut self) {
        for caller in self.callers.values_mut() {
            caller.fruitless = 0;
        }
    }

    /// How long to wait after one more bad answer; `None`: it is the last one.
    pub(super) fn pause_after_bad_answer(&self, caller: &str) -> Option<Duration> {
        let before = self.of(caller);
        let last = before.bad_answers + 1 >= BAD_ANSWERS_IN_A_ROW
            || before.failures + 1 >= FAILURES_IN_A_ROW;
        (!last).then(|| self.pause_after_failure(caller))
    }

    pub(super) fn pause_after_failure(&self, caller: &str) -> Duration {
        FIRST_PAUSE
            .saturating_mul(2_u32.saturating_pow(self.of(caller).failures))
            .min(LONGEST_PAUSE)
    }

    pub(super) fn failed(&mut self, caller: &str, failure: Failure) -> Option<Stop> {
        let counts = self.of_mut(caller);
        counts.failures += u32::from(failure != Failure::Refused);
        counts.bad_answers += u32::from(failure == Failure::BadAnswer);
        if counts.bad_answers >= BAD_ANSWERS_IN_A_ROW {
            return Some(Stop::BadAnswers);
        }
        if counts.failures >= FAILURES_IN_A_ROW {
            return Some(Stop::ProviderFailing);
        }
        self.was_fruitless(caller)
    }

    /// The provider is there, whoever had called. `digest` is the same for answers that say the same.
    pub(super) fn answered(&mut self, caller: &str, digest: u64) -> Option<Stop> {
        for counts in self.callers.values_mut() {
            (counts.failures, counts.bad_answers) = (0, 0);
        }
        let stop = if self.is_new(caller, digest) {
            self.of_mut(caller).fruitless = 0;
            None
        } else {
            self.was_fruitless(caller)
        };
        self.callers.retain(|_, counts| counts.fruitless > 0);
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

    fn was_fruitless(&mut self, caller: &str) -> Option<Stop> {
        let counts = self.of_mut(caller);
        counts.fruitless += 1;
        (counts.fruitless >= FRUITLESS_IN_A_ROW).then_some(Stop::NoProgress)
    }

    fn of(&self, caller: &str) -> Caller {
        let counts = self.callers.get(self.counted_as(caller));
        counts.copied().unwrap_or_default()
    }

    fn of_mut(&mut self, caller: &str) -> &mut Caller {
        let caller = self.counted_as(caller).to_owned();
        self.callers.entry(caller).or_default()
    }

    /// Callers past the most share one count.
    fn counted_as<'a>(&self, caller: &'a str) -> &'a str {
        let apart = self.callers.len() < MAX_CALLERS || self.callers.contains_key(caller);
        if apart { caller } else { "" }
    }
}
