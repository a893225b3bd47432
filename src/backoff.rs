//! When to try again: delays that double, and a budget of tries within a window. Pure.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

/// The numbers of one [`Budget`].
#[derive(Clone, Copy, Debug)]
pub(crate) struct Limits {
    pub(crate) min: Duration,
    pub(crate) max: Duration,
    /// Restarts allowed within `window`.
    pub(crate) restarts: usize,
    pub(crate) window: Duration,
    /// Delay once the budget is spent.
    pub(crate) exhausted: Duration,
}

/// What to do after a failure.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// Try again after the delay; this is restart number `attempt` of the window.
    Retry { attempt: usize, delay: Duration },
    /// Too many: say so, and try again only after the long delay.
    Exhausted { delay: Duration },
}

/// The restarts of the last while. It forgets by itself: a child that stays well for a window has
/// its whole budget back.
#[derive(Debug)]
pub(crate) struct Budget {
    limits: Limits,
    restarts: VecDeque<Instant>,
}

// === impl Budget ===

impl Budget {
    pub(crate) fn new(limits: Limits) -> Self {
        Self {
            limits,
            restarts: VecDeque::new(),
        }
    }

    /// A failure at `now`. `jitter` in 0..1 spreads the delay over its upper half, so that pods that
    /// failed together do not come back together.
    pub(crate) fn failed(&mut self, now: Instant, jitter: f64) -> Verdict {
        let Limits {
            min,
            max,
            restarts,
            window,
            exhausted,
        } = self.limits;
        while self
            .restarts
            .front()
            .is_some_and(|&at| now.saturating_duration_since(at) > window)
        {
            self.restarts.pop_front();
        }
        if self.restarts.len() >= restarts {
            return Verdict::Exhausted { delay: exhausted };
        }
        self.restarts.push_back(now);
        let attempt = self.restarts.len();
        let doublings = u32::try_from(attempt - 1).unwrap_or(u32::MAX).min(20);
        let full = min.saturating_mul(2_u32.saturating_pow(doublings)).min(max);
        Verdict::Retry {
            attempt,
            delay: full.mul_f64(0.5 + jitter.clamp(0.0, 1.0) / 2.0),
        }
    }

    /// A person asked for a start: he is not made to pay for earlier failures.
    pub(crate) fn reset(&mut self) {
        self.restarts.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMITS: Limits = Limits {
        min: Duration::from_millis(500),
        max: Duration::from_secs(30),
        restarts: 5,
        window: Duration::from_mins(5),
        exhausted: Duration::from_mins(1),
    };

    fn seconds(n: u64) -> Duration {
        Duration::from_secs(n)
    }

    #[test]
    fn delays_double_until_the_budget_is_spent_and_then_it_tries_once_a_minute() {
        let (start, mut budget) = (Instant::now(), Budget::new(LIMITS));
        let delays: Vec<Verdict> = (0..7).map(|_| budget.failed(start, 1.0)).collect();
        let retry = |attempt, millis| Verdict::Retry {
            attempt,
            delay: Duration::from_millis(millis),
        };
        let spent = Verdict::Exhausted { delay: seconds(60) };
        let expected = [
            retry(1, 500),
            retry(2, 1000),
            retry(3, 2000),
            retry(4, 4000),
            retry(5, 8000),
            spent,
            spent,
        ];
        assert_eq!(delays, expected);
    }

    #[test]
    fn the_budget_comes_back_when_the_window_has_passed() {
        let (start, mut budget) = (Instant::now(), Budget::new(LIMITS));
        for _ in 0..6 {
            budget.failed(start, 0.0);
        }
        let later = budget.failed(start + seconds(301), 0.0);
        assert_eq!(
            later,
            Verdict::Retry {
                attempt: 1,
                delay: Duration::from_millis(250)
            }
        );
    }

    #[test]
    fn jitter_stays_within_the_upper_half_and_under_the_cap() {
        let mut budget = Budget::new(Limits {
            restarts: 100,
            ..LIMITS
        });
        let start = Instant::now();
        for n in 0..100_u32 {
            let Verdict::Retry { delay, .. } = budget.failed(start, f64::from(n % 11) / 10.0)
            else {
                panic!("the budget is 100");
            };
            assert!(
                delay >= Duration::from_millis(250) && delay <= seconds(30),
                "{n}: {delay:?}"
            );
        }
    }

    #[test]
    fn a_person_resets_it() {
        let (now, mut budget) = (Instant::now(), Budget::new(LIMITS));
        for _ in 0..6 {
            budget.failed(now, 0.0);
        }
        budget.reset();
        assert!(matches!(
            budget.failed(now, 0.0),
            Verdict::Retry { attempt: 1, .. }
        ));
    }
}
