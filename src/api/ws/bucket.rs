//! How much a client may send: so much at once, and so much a second from then on. Pure: the time is a parameter.

use std::time::{Duration, Instant};

/// A token bucket. It may be overdrawn once, by something that is larger than what is left.
#[derive(Debug)]
pub(super) struct Bucket {
    capacity: u64,
    per_second: u64,
    level: i64,
    at: Instant,
}

// === impl Bucket ===

impl Bucket {
    /// A full one.
    pub(super) fn new(capacity: u64, per_second: u64, now: Instant) -> Self {
        Self {
            capacity,
            per_second,
            level: signed(capacity),
            at: now,
        }
    }

    pub(super) fn take(&mut self, amount: u64) {
        self.level = self.level.saturating_sub(signed(amount));
    }

    /// What may be taken now.
    pub(super) fn left(&mut self, now: Instant) -> u64 {
        let elapsed = now.saturating_duration_since(self.at);
        let gained = u64::try_from(elapsed.as_millis()).unwrap_or(u64::MAX);
        let gained = gained.saturating_mul(self.per_second) / 1000;
        // A time too short for one more is not lost.
        if gained > 0 {
            self.at = now;
            let level = self.level.saturating_add(signed(gained));
            self.level = level.min(signed(self.capacity));
        }
        u64::try_from(self.level).unwrap_or(0)
    }

    /// How long until something may be taken.
    pub(super) fn wait(&self) -> Duration {
        let missing = u64::try_from(1 - self.level).unwrap_or(0);
        Duration::from_millis((missing * 1000).div_ceil(self.per_second).max(1))
    }
}

fn signed(amount: u64) -> i64 {
    i64::try_from(amount).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_taken_comes_back_at_its_rate_and_no_more_than_the_capacity() {
        let start = Instant::now();
        let mut bucket = Bucket::new(10, 4, start);
        assert_eq!(bucket.left(start), 10);
        bucket.take(12);
        assert_eq!(bucket.left(start), 0);
        assert_eq!(bucket.wait(), Duration::from_millis(750));
        assert_eq!(bucket.left(start + bucket.wait()), 1);
        assert_eq!(bucket.left(start + Duration::from_hours(1)), 10);
    }

    #[test]
    fn looking_often_does_not_slow_it() {
        let start = Instant::now();
        let mut bucket = Bucket::new(10, 4, start);
        bucket.take(10);
        let looks = (1..=1000).map(|ms| start + Duration::from_millis(ms));
        assert_eq!(looks.map(|now| bucket.left(now)).max(), Some(4));
    }
}
