//! When collected pieces of answers go out (`MODEL_MERGE_MS`). Pure.
//!
//! The moments are the same for all answers, so that OpenCode wakes up once for all its sessions.

use std::time::Duration;

use tokio::time::Instant;

#[derive(Clone, Copy, Debug)]
pub(super) struct MergeWindow {
    length: Duration,
    /// A moment at which one window ended.
    epoch: Instant,
}

// === impl MergeWindow ===

impl MergeWindow {
    /// A length of zero merges nothing.
    pub(super) fn new(length: Duration) -> Self {
        Self {
            length,
            epoch: Instant::now(),
        }
    }

    pub(super) const fn merges(self) -> bool {
        !self.length.is_zero()
    }

    /// The end of the window that `now` is in, which is later than `now`.
    pub(super) fn end(self, now: Instant) -> Instant {
        let elapsed = now.saturating_duration_since(self.epoch).as_nanos();
        let rest = self.length.as_nanos() - elapsed % self.length.as_nanos().max(1);
        now + Duration::from_nanos(u64::try_from(rest).unwrap_or(u64::MAX))
    }
}
