//! Who reads a log, and how far each of them is: for a diagnosis. A reader writes its place without a lock.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use parking_lot::Mutex;
use serde::Serialize;
use utoipa::ToSchema;

use crate::clock::Timestamp;

/// How a reader gets the events.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Transport {
    #[default]
    Stream,
    Websocket,
}

/// The readers of one log.
#[derive(Debug, Default)]
pub(super) struct Readers(Mutex<Vec<Arc<Place>>>);

/// Where one reader is.
#[derive(Debug)]
struct Place {
    transport: Transport,
    since: Timestamp,
    /// The last event that was given to it, or passed over for it.
    at: AtomicU64,
    /// When that was, in milliseconds; 0: never.
    taken_at: AtomicU64,
}

/// A reader's entry in the list, for as long as it reads.
#[derive(Debug)]
pub(super) struct Registered {
    readers: Arc<Readers>,
    place: Arc<Place>,
}

/// One reader, as a diagnosis tells it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ReaderState {
    pub(crate) transport: Transport,
    pub(crate) since: Timestamp,
    pub(crate) at: u64,
    pub(crate) taken_at: Option<Timestamp>,
}

// === impl Readers ===

impl Readers {
    /// Notes a reader that has everything up to number `at`.
    pub(super) fn register(self: &Arc<Self>, transport: Transport, at: u64) -> Registered {
        let place = Arc::new(Place {
            transport,
            since: Timestamp::now(),
            at: AtomicU64::new(at),
            taken_at: AtomicU64::new(0),
        });
        self.0.lock().push(Arc::clone(&place));
        Registered {
            readers: Arc::clone(self),
            place,
        }
    }

    /// All of them, the one that is furthest behind first.
    pub(super) fn states(&self) -> Vec<ReaderState> {
        let mut states: Vec<_> = self.0.lock().iter().map(|place| place.state()).collect();
        states.sort_by_key(|state| (state.at, state.since.as_millis()));
        states
    }
}

// === impl Place ===

impl Place {
    fn state(&self) -> ReaderState {
        let taken_at = self.taken_at.load(Ordering::Relaxed);
        ReaderState {
            transport: self.transport,
            since: self.since,
            at: self.at.load(Ordering::Relaxed),
            taken_at: (taken_at > 0).then(|| Timestamp::from_millis(taken_at)),
        }
    }
}

// === impl Registered ===

impl Registered {
    /// The reader was given, or does not want, the events up to number `at`.
    pub(super) fn passed(&self, at: u64) {
        self.place.at.store(at, Ordering::Relaxed);
        let now = Timestamp::now().as_millis();
        self.place.taken_at.store(now, Ordering::Relaxed);
    }
}

impl Drop for Registered {
    fn drop(&mut self) {
        let mut places = self.readers.0.lock();
        places.retain(|place| !Arc::ptr_eq(place, &self.place));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_reader_that_is_furthest_behind_is_first_and_one_that_left_is_gone() {
        let readers = Arc::new(Readers::default());
        let fast = readers.register(Transport::Stream, 3);
        let slow = readers.register(Transport::Websocket, 3);
        assert!(
            readers
                .states()
                .iter()
                .all(|state| state.taken_at.is_none())
        );
        fast.passed(9);
        let states = readers.states();
        assert_eq!(
            states.iter().map(|state| state.at).collect::<Vec<_>>(),
            [3, 9]
        );
        assert_eq!(states[0].transport, Transport::Websocket);
        assert!(states[1].taken_at.is_some());
        drop(slow);
        assert_eq!(readers.states().len(), 1);
        drop(fast);
        assert!(readers.states().is_empty());
    }
}
