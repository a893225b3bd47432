//! How many streams one session serves at once.
//!
//! A [`StreamPermit`] is held by value in the stream it allows, and is returned when it is dropped, however the stream
//! ended. Nothing waits for a permit: a session that has none left refuses at once.

use std::sync::Arc;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// 64 streams per session, part of the contract. A session has one or two readers; more than this is
/// a client that reconnects without closing.
pub(crate) const STREAMS_PER_SESSION: usize = 64;

/// The permits of one session.
#[derive(Clone, Debug)]
pub(crate) struct StreamSlots(Arc<Semaphore>);

/// The right to run one stream.
#[derive(Debug)]
pub(crate) struct StreamPermit {
    _held: OwnedSemaphorePermit,
}

// === impl StreamSlots ===

impl StreamSlots {
    pub(crate) fn new(permits: usize) -> Self {
        Self(Arc::new(Semaphore::new(permits)))
    }

    /// A permit, unless all are taken.
    pub(crate) fn try_take(&self) -> Option<StreamPermit> {
        let held = self.0.clone().try_acquire_owned().ok()?;
        Some(StreamPermit { _held: held })
    }

    /// How many run.
    pub(crate) fn taken(&self) -> usize {
        STREAMS_PER_SESSION.saturating_sub(self.0.available_permits())
    }

    /// Waits until this many streams could start.
    #[cfg(test)]
    pub(crate) async fn until_free(&self, permits: u32) {
        drop(self.0.acquire_many(permits).await.unwrap());
    }
}

impl Default for StreamSlots {
    fn default() -> Self {
        Self::new(STREAMS_PER_SESSION)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_65th_stream_is_refused_until_one_of_the_64_ends() {
        let slots = StreamSlots::default();
        let mut permits: Vec<_> = (0..64).map_while(|_| slots.try_take()).collect();
        assert_eq!(permits.len(), 64);
        assert!(slots.try_take().is_none());
        assert_eq!(slots.taken(), 64);
        permits.pop();
        assert_eq!(slots.taken(), 63);
        assert!(slots.try_take().is_some());
    }
}
