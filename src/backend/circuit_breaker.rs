//! How the backend does: pauses after failures, and one log line each way.

use std::sync::Arc;
use std::time::Instant;

use parking_lot::Mutex;

use crate::backoff::{Budget, Limits, jitter};

/// Failures in a row after which the backend counts as down. One alone may be about one session.
const DOWN_AFTER: u32 = 2;

/// What all calls together say about the backend. A cheap clone.
#[derive(Clone, Debug)]
pub(super) struct CircuitBreaker(Arc<Mutex<State>>);

#[derive(Debug)]
struct State {
    budget: Budget,
    /// In a row.
    failures: u32,
    /// Nothing is tried before.
    pause_until: Option<Instant>,
}

// === impl CircuitBreaker ===

impl CircuitBreaker {
    pub(super) fn new(limits: Limits) -> Self {
        Self(Arc::new(Mutex::new(State {
            budget: Budget::new(limits),
            failures: 0,
            pause_until: None,
        })))
    }

    /// No answer, or one that says to come again.
    pub(super) fn failed(&self, reason: &str) {
        let mut state = self.0.lock();
        let now = Instant::now();
        let delay = state.budget.failed(now, jitter()).delay();
        state.failures = state.failures.saturating_add(1);
        if state.failures >= DOWN_AFTER {
            state.pause_until = Some(now + delay);
        }
        if state.failures == DOWN_AFTER {
            tracing::warn!(
                reason,
                "the backend does not take calls; trying again until it does"
            );
        } else {
            tracing::debug!(reason, "a call to the backend failed");
        }
    }

    /// The backend dealt with a call.
    pub(super) fn answered(&self) {
        let mut state = self.0.lock();
        if state.failures >= DOWN_AFTER {
            tracing::info!("the backend takes calls again");
        }
        state.failures = 0;
        state.pause_until = None;
        state.budget.reset();
    }

    pub(super) fn is_down(&self) -> bool {
        self.0.lock().failures >= DOWN_AFTER
    }

    /// Until when nothing is to be tried.
    pub(super) fn pause(&self) -> Option<Instant> {
        let pause_until = self.0.lock().pause_until;
        pause_until.filter(|until| *until > Instant::now())
    }

    /// There is no later: the next call may be made at once.
    pub(super) fn hurry(&self) {
        self.0.lock().pause_until = None;
    }
}
