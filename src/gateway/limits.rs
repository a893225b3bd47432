//! The limits of what one session may spend. Pure.

use crate::model::{Budget, ModelCalls};

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Limits {
    pub(super) total_tokens: Option<u64>,
    pub(super) calls: Option<u64>,
    /// In each turn, where neither the session nor the operator set a limit of calls.
    pub(super) calls_per_turn: Option<u64>,
}

/// A turn that makes progress does not need as many; one that repeats itself makes them in minutes.
const DEFAULT_CALLS_PER_TURN: u64 = 500;

// === impl Limits ===

impl Limits {
    /// The session's own limits, and the operator's where it has none.
    pub(super) fn new(own: Budget, default: Budget) -> Self {
        let calls = own.max_calls.or(default.max_calls);
        Self {
            total_tokens: own.max_total_tokens.or(default.max_total_tokens),
            calls: calls.filter(|calls| *calls > 0),
            calls_per_turn: calls.is_none().then_some(DEFAULT_CALLS_PER_TURN),
        }
    }

    /// Whether a turn that made these `calls`, after turns that had `spent`, is at a limit.
    pub(super) fn are_reached(self, spent: &ModelCalls, calls: &ModelCalls) -> bool {
        let reached = |limit: Option<u64>, count| limit.is_some_and(|limit| count >= limit);
        let tokens = spent.total_tokens.saturating_add(calls.total_tokens);
        reached(self.calls, spent.calls.saturating_add(calls.calls))
            || reached(self.calls_per_turn, calls.calls)
            || reached(self.total_tokens, tokens)
    }
}
