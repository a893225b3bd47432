//! The place of one connection among all: who holds it counts against the limit, and is waited for at the end.

use std::sync::Arc;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// More than all streams of all sessions need; past it a new connection is closed at once.
pub(super) const MAX_CONNECTIONS: usize = 4096;

/// Connections beyond that, for a first request to a probe and nothing else: a crowd of clients is no
/// reason for the kubelet to kill us.
const RESERVE: usize = 32;

/// The places of one listener. Clones are the same.
#[derive(Clone, Debug)]
pub(crate) struct Places {
    all: Arc<Semaphore>,
    reserve: Arc<Semaphore>,
}

/// Held by the connection, and by what goes on with its socket after the protocol was switched.
#[derive(Debug)]
pub(crate) struct Place {
    /// Held for its drop.
    _permit: OwnedSemaphorePermit,
    tracker: TaskTracker,
    stop: CancellationToken,
}

// === impl Places ===

impl Default for Places {
    fn default() -> Self {
        Self {
            all: Arc::new(Semaphore::new(MAX_CONNECTIONS)),
            reserve: Arc::new(Semaphore::new(RESERVE)),
        }
    }
}

impl Places {
    /// One for any request.
    pub(super) fn take(&self) -> Option<OwnedSemaphorePermit> {
        self.all.clone().try_acquire_owned().ok()
    }

    /// One for a probe, when there is no other.
    pub(super) fn take_reserved(&self) -> Option<OwnedSemaphorePermit> {
        self.reserve.clone().try_acquire_owned().ok()
    }

    /// How many connections there are, without those that only a probe may use.
    pub(super) fn taken(&self) -> usize {
        MAX_CONNECTIONS.saturating_sub(self.all.available_permits())
    }
}

// === impl Place ===

impl Place {
    /// `stop` tells when the process is about to end; tasks run on `tracker`.
    pub(crate) fn new(
        permit: OwnedSemaphorePermit,
        tracker: TaskTracker,
        stop: CancellationToken,
    ) -> Self {
        Self {
            _permit: permit,
            tracker,
            stop,
        }
    }

    /// Runs what goes on with the socket. The place is held until it ends.
    pub(super) fn spawn(self: Arc<Self>, work: impl Future<Output = ()> + Send + 'static) {
        let tracker = self.tracker.clone();
        tracker.spawn(async move {
            work.await;
            drop(self);
        });
    }

    /// Cancelled when the process is about to end.
    pub(super) fn stop(&self) -> &CancellationToken {
        &self.stop
    }
}
