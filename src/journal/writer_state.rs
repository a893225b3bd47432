//! Whether the writer is at the disk, and since when.

use std::time::{Duration, Instant};

use parking_lot::{Condvar, Mutex};

#[derive(Default)]
pub(super) struct WriterState {
    inner: Mutex<Inner>,
    /// Wakes the watchdog.
    changed: Condvar,
}

#[derive(Default)]
struct Inner {
    activity: Activity,
    /// The watchdog waits for the next change. It does not while it waits for time to pass, so that a busy writer does
    /// not wake it each time.
    is_watched: bool,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Activity {
    #[default]
    Elsewhere,
    AtDisk(Instant),
    /// It ended by a bug.
    Panicked,
    Ended,
}

// === impl WriterState ===

impl WriterState {
    /// Does something that may wait for the disk.
    pub(super) fn at_disk<T>(&self, work: impl FnOnce() -> T) -> T {
        self.set(Activity::AtDisk(Instant::now()));
        let done = work();
        self.set(Activity::Elsewhere);
        done
    }

    pub(super) fn set(&self, activity: Activity) {
        let mut inner = self.inner.lock();
        inner.activity = activity;
        let is_over = matches!(activity, Activity::Panicked | Activity::Ended);
        if inner.is_watched || is_over {
            self.changed.notify_one();
        }
    }

    pub(super) fn is(&self, activity: Activity) -> bool {
        self.inner.lock().activity == activity
    }

    /// Waits until the writer has not come back from the disk for `limit`, panicked or ended, and returns which. A
    /// visit to the disk that was `seen` is not returned again.
    pub(super) fn unresponsive(&self, limit: Duration, seen: Option<Activity>) -> Activity {
        let mut inner = self.inner.lock();
        loop {
            match inner.activity {
                Activity::AtDisk(since) if seen != Some(inner.activity) => {
                    if since.elapsed() >= limit {
                        return inner.activity;
                    }
                    self.changed.wait_until(&mut inner, since + limit);
                }
                Activity::Panicked | Activity::Ended => return inner.activity,
                Activity::Elsewhere | Activity::AtDisk(_) => {
                    inner.is_watched = true;
                    self.changed.wait(&mut inner);
                    inner.is_watched = false;
                }
            }
        }
    }
}
