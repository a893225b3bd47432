//! Pauses the calls while the backend is down, and logs once when that begins and ends.

use std::sync::Arc;
use std::time::Instant;

use parking_lot::Mutex;

use crate::backoff::{Budget, Limits, jitter};

/// Failures in a row after which the backend counts as down. One alone may be about one session.
const DOWN_AFTER: u32 = 2;

/// Counts the failures of all calls together. A cheap clone.
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

    /// A call got no answer, or one that asks for another attempt.
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

    /// Ends the pause: there is no later attempt.
    pub(super) fn resume(&self) {
        self.0.lock().pause_until = None;
    }
}
