//! When to try again: delays that double, and a budget of tries within a window. Pure but for
//! [`jitter`].

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
    /// It ran out, and nothing has succeeded since.
    spent: bool,
}

// === impl Verdict ===

impl Verdict {
    pub(crate) const fn delay(self) -> Duration {
        match self {
            Self::Retry { delay, .. } | Self::Exhausted { delay } => delay,
        }
    }
}

// === impl Budget ===

impl Budget {
    pub(crate) fn new(limits: Limits) -> Self {
        Self {
            limits,
            restarts: VecDeque::new(),
            spent: false,
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
        // Once spent it stays so until a success: a child that never came up has earned no new budget
        // by letting the window pass.
        self.spent |= self.restarts.len() >= restarts;
        if self.spent {
            return Verdict::Exhausted { delay: exhausted };
        }
        self.restarts.push_back(now);
        let attempt = self.restarts.len();
        let doublings = u32::try_from(attempt - 1).unwrap_or(u32::MAX).min(20);
        let full = min.saturating_mul(2_u32.saturating_pow(doublings)).min(max);
        Verdict::Retry {
            attempt,
            delay: spread(full, jitter),
        }
    }

    /// It was well and somebody ended it: no failure of its own, so the shortest delay and nothing is spent.
    pub(crate) fn interrupted(&self, jitter: f64) -> Verdict {
        Verdict::Retry {
            attempt: self.restarts.len() + 1,
            delay: spread(self.limits.min, jitter),
        }
    }

    /// It came up. What the window remembers still counts.
    pub(crate) fn succeeded(&mut self) {
        self.spent = false;
    }

    pub(crate) const fn is_spent(&self) -> bool {
        self.spent
    }

    /// A person asked for a start: he is not made to pay for earlier failures.
    pub(crate) fn reset(&mut self) {
        self.restarts.clear();
        self.spent = false;
    }
}

fn spread(delay: Duration, jitter: f64) -> Duration {
    delay.mul_f64(0.5 + jitter.clamp(0.0, 1.0) / 2.0)
}

/// 0..1. Without randomness the pods merely agree on their delays.
pub(crate) fn jitter() -> f64 {
    f64::from(getrandom::u32().unwrap_or(0)) / f64::from(u32::MAX)
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
    fn what_somebody_else_ended_spends_nothing() {
        let now = Instant::now();
        let mut budget = Budget::new(LIMITS);
        for _ in 0..3 * LIMITS.restarts {
            assert_eq!(budget.interrupted(1.0).delay(), LIMITS.min);
        }
        let first = Verdict::Retry {
            attempt: 1,
            delay: LIMITS.min,
        };
        assert_eq!(budget.failed(now, 1.0), first);
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
        for _ in 0..5 {
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
    fn a_spent_budget_stays_spent_until_a_success_whatever_the_window() {
        let (start, mut budget) = (Instant::now(), Budget::new(LIMITS));
        for _ in 0..6 {
            budget.failed(start, 0.0);
        }
        let spent = Verdict::Exhausted { delay: seconds(60) };
        for later in [61, 301, 3_600] {
            assert_eq!(budget.failed(start + seconds(later), 0.0), spent, "{later}");
        }
        budget.succeeded();
        assert!(matches!(
            budget.failed(start + seconds(3_601), 0.0),
            Verdict::Retry { attempt: 1, .. }
        ));
    }

    #[test]
    fn a_short_success_does_not_bring_the_budget_back() {
        let (start, mut budget) = (Instant::now(), Budget::new(LIMITS));
        for _ in 0..6 {
            budget.failed(start, 0.0);
        }
        budget.succeeded();
        let again = budget.failed(start + seconds(1), 0.0);
        assert_eq!(again, Verdict::Exhausted { delay: seconds(60) });
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
