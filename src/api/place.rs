//! The place of one connection among all: who holds it counts against the limit, and is waited for at the end.

use std::sync::Arc;

use tokio::sync::OwnedSemaphorePermit;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// Held by the connection, and by what goes on with its socket after the protocol was switched.
#[derive(Debug)]
pub(crate) struct Place {
    /// Held for its drop.
    _permit: OwnedSemaphorePermit,
    tracker: TaskTracker,
    stop: CancellationToken,
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
