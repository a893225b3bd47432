//! Locks that are held for long, for whoever asks: each is tried, and those that are not free in time are named. A lock
//! pays nothing for it while nobody asks.

use std::time::Instant;

use parking_lot::Mutex;

/// A lock that can be tried.
pub(crate) trait Lock: Sync {
    /// Waits until then, and not longer, for a moment in which nobody holds it.
    fn is_free_by(&self, deadline: Instant) -> bool;
}

/// A lock with its name.
pub(crate) type Named<'a> = (&'static str, &'a dyn Lock);

impl<T: Send> Lock for Mutex<T> {
    fn is_free_by(&self, deadline: Instant) -> bool {
        self.try_lock_until(deadline).is_some()
    }
}

/// The names of those that are held both now and at `deadline`. Blocks until then if there are any.
pub(crate) fn held<'a>(locks: &[Named<'a>], deadline: Instant) -> Vec<Named<'a>> {
    let now = Instant::now();
    let busy = locks.iter().filter(|(_, lock)| !lock.is_free_by(now));
    // All share the time: what is held for a moment is free again long before.
    let busy: Vec<_> = busy.copied().collect();
    let busy = busy.into_iter();
    busy.filter(|(_, lock)| !lock.is_free_by(deadline))
        .collect()
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicBool, Ordering};

    use super::*;

    /// Free when it is tried again.
    struct Briefly(AtomicBool);

    impl Lock for Briefly {
        fn is_free_by(&self, _: Instant) -> bool {
            self.0.swap(true, Ordering::Relaxed)
        }
    }

    #[test]
    fn what_is_held_for_long_is_named_and_what_is_free_in_time_is_not() {
        let (free, long, briefly) = (
            Mutex::new(1),
            Mutex::new("two"),
            Briefly(AtomicBool::new(false)),
        );
        let locks: [Named<'_>; 3] = [("free", &free), ("long", &long), ("briefly", &briefly)];
        let guard = long.lock();
        let found = held(&locks, Instant::now());
        let names: Vec<_> = found.iter().map(|(name, _)| *name).collect();
        assert_eq!(names, ["long"]);
        drop(guard);
        assert!(held(&locks, Instant::now()).is_empty());
    }
}
