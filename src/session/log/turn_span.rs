//! Where the events of one turn lie in the log of its session.

use std::sync::atomic::{AtomicU64, Ordering};

use tokio::sync::watch;

/// Filled while the turn begins and ends. A turn that waits has neither end yet.
#[derive(Debug)]
pub(crate) struct TurnSpan {
    /// The last event before those of the turn.
    after_tx: watch::Sender<Option<u64>>,
    /// Its terminal event; 0 until then.
    last: AtomicU64,
}

// === impl TurnSpan ===

impl TurnSpan {
    /// Of a turn that waits.
    pub(crate) fn new() -> Self {
        Self {
            after_tx: watch::Sender::new(None),
            last: AtomicU64::new(0),
        }
    }

    /// Of a turn whose events come after number `after`.
    pub(crate) fn beginning_after(after: u64) -> Self {
        let span = Self::new();
        span.begin(after);
        span
    }

    pub(in crate::session) fn begin(&self, after: u64) {
        self.after_tx.send_replace(Some(after));
    }

    /// Before readers can see that event.
    pub(super) fn end(&self, last: u64) {
        self.last.store(last, Ordering::Release);
    }

    /// Waits until the turn has begun, or was withdrawn. The last event before its own.
    pub(crate) async fn began(&self) -> u64 {
        let mut after_rx = self.after_tx.subscribe();
        let began = after_rx.wait_for(Option::is_some).await;
        // An error cannot be: the sender is in `self`.
        began.ok().and_then(|after| *after).unwrap_or_default()
    }

    /// Its last event, once it has ended.
    pub(crate) fn last(&self) -> Option<u64> {
        Some(self.last.load(Ordering::Acquire)).filter(|last| *last > 0)
    }
}
