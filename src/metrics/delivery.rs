//! How long an event takes from the log to a reader, the disk included, measured on one event at a time.
//!
//! A time for each event would cost memory and a clock for each. So a log watches one event: it notes when that was
//! appended, and the first reader that was there before and gets past it says how long it took. Then the next is watched.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use super::stream::DELIVERY;

/// The event of one log that is watched.
#[derive(Debug, Default)]
pub(crate) struct DeliverySample {
    /// Its number; 0 while none is watched.
    seq: AtomicU64,
    /// When it was appended, since [`origin`].
    appended_nanos: AtomicU64,
}

/// The times of samples count from here, because an `Instant` is no number.
fn origin() -> Instant {
    static ORIGIN: OnceLock<Instant> = OnceLock::new();
    *ORIGIN.get_or_init(Instant::now)
}

fn now_nanos() -> u64 {
    u64::try_from(origin().elapsed().as_nanos()).unwrap_or(u64::MAX)
}

// === impl DeliverySample ===

impl DeliverySample {
    /// Event `seq` was appended. It is watched if none is. Only the writer of the log calls this.
    pub(crate) fn appended(&self, seq: u64) {
        if self.seq.load(Ordering::Relaxed) == 0 {
            self.appended_nanos.store(now_nanos(), Ordering::Relaxed);
            self.seq.store(seq, Ordering::Release);
        }
    }

    /// A reader got the events up to `seq`; when it came, the newest was `newest_at_start`.
    pub(crate) fn delivered(&self, seq: u64, newest_at_start: u64) {
        let watched = self.seq.load(Ordering::Acquire);
        if watched == 0 || watched > seq {
            return;
        }
        let appended = self.appended_nanos.load(Ordering::Relaxed);
        // One of several readers; and what was there before it came is a replay, which says nothing.
        let is_first = self
            .seq
            .compare_exchange(watched, 0, Ordering::AcqRel, Ordering::Relaxed)
            .is_ok();
        if is_first && watched > newest_at_start {
            let took = now_nanos().saturating_sub(appended);
            DELIVERY.observe(Duration::from_nanos(took));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_event_is_watched_until_a_reader_gets_past_it() {
        let sample = DeliverySample::default();
        sample.appended(5);
        sample.appended(6);
        let watched = || sample.seq.load(Ordering::Relaxed);
        assert_eq!(watched(), 5);
        sample.delivered(4, 0);
        assert_eq!(watched(), 5, "the reader is not there yet");
        sample.delivered(9, 0);
        assert_eq!(watched(), 0);
        sample.delivered(9, 0);
        sample.appended(10);
        assert_eq!(watched(), 10);
    }
}
