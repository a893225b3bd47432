//! The event log of one session: one writer, any number of readers, each at its own place.
//!
//! ```text
//! driver --append--> ring (ids given under the lock) --publish--> head (watch) --wakes--> cursors
//!                     ^                                                                     |
//!                     +------------------------- read a run of frames ----------------------+
//! ```
//!
//! Promises: ids are `<epoch>-1`, `-2`, … without holes; a frame is encoded once and shared by all
//! readers; appending never waits for a reader; nothing is kept per reader. Replay and live are one
//! read path, so nothing can fall between them. A reader that is overtaken gets a [`Gap`], never a hole.
//!
//! Does not promise that an event is kept: the ring is bounded, and the logs of the process share a
//! [`Budget`]. The log lives in memory. Two seams are left for the journal: an event is visible only
//! once it is *published* (today at the end of [`EventLog::append`]), and what the ring no longer has
//! shows in one place, [`cursor`]'s `Read::Evicted`.

mod asked;
mod budget;
mod cursor;
mod frame;
mod id;
mod ring;

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use parking_lot::Mutex;
use tokio::sync::watch;

pub(crate) use self::asked::{Asked, Gap, GapReason};
pub(crate) use self::budget::Budget;
pub(crate) use self::cursor::{Cursor, End, Opening, Step, View};
pub(crate) use self::id::{Epoch, EventId};
pub(crate) use self::ring::Limits;

use self::asked::Kept;
use self::ring::{Ring, Shown};

/// A handle on one log; clones are the same log.
///
/// Any handle can append, and ids stay right if several do, but only one may: the order of two writers
/// would mean nothing.
#[derive(Clone)]
pub(crate) struct EventLog {
    shared: Arc<Shared>,
}

impl std::fmt::Debug for EventLog {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("EventLog")
            .field("last", &self.last_event_id())
            .finish()
    }
}

struct Shared {
    epoch: Epoch,
    ring: Mutex<Ring>,
    /// What readers may see. They never look at the ring past it.
    head: watch::Sender<Head>,
    budget: Budget,
    /// Copies of the ring's figures, so that the budget can compare logs without their locks.
    bytes: AtomicUsize,
    sealed_bytes: AtomicUsize,
}

/// The published end of a log.
#[derive(Clone, Copy, Debug)]
struct Head {
    seq: u64,
    /// No turn runs: nothing will come until one begins.
    idle: bool,
    /// Readers are sent home. Nothing undoes this.
    closed: bool,
}

// === impl EventLog ===

impl EventLog {
    /// An empty log whose first turn is running: a session exists because it was given a prompt.
    pub(crate) fn new(epoch: Epoch, limits: Limits, budget: &Budget) -> Self {
        let shared = Arc::new(Shared {
            epoch,
            ring: Mutex::new(Ring::new(epoch, limits)),
            head: watch::Sender::new(Head {
                seq: 0,
                idle: false,
                closed: false,
            }),
            budget: budget.clone(),
            bytes: AtomicUsize::new(0),
            sealed_bytes: AtomicUsize::new(0),
        });
        budget.watch(&shared);
        Self { shared }
    }

    /// Adds an event; `data` is one line of JSON.
    pub(crate) fn append(&self, kind: &'static str, data: &str) -> EventId {
        let id = self.push(kind, data, Shown::Always);
        self.publish(|head| head.seq = head.seq.max(id.seq));
        id
    }

    /// Adds an event that only readers with [`View::reasoning`] are shown.
    pub(crate) fn append_reasoning(&self, kind: &'static str, data: &str) -> EventId {
        let id = self.push(kind, data, Shown::OnRequest);
        self.publish(|head| head.seq = head.seq.max(id.seq));
        id
    }

    /// Adds the terminal event of a turn. It and the end of the turn become visible together, so no
    /// reader can take an earlier event for the last one.
    ///
    /// Readers that do not follow end after it. An event appended before the next turn begins is kept,
    /// but a reader that has ended sees it only when it comes back.
    pub(crate) fn end_turn(&self, kind: &'static str, data: &str) -> EventId {
        let id = self.push(kind, data, Shown::Always);
        // The log may stay like this for an hour: let it take no more room than it needs.
        self.shared.with_ring(Ring::seal);
        self.publish(|head| {
            head.seq = head.seq.max(id.seq);
            head.idle = true;
        });
        id
    }

    /// Another turn begins: readers wait for events again.
    #[cfg_attr(
        not(test),
        expect(dead_code, reason = "sessions have one turn until they can be resumed")
    )]
    pub(crate) fn begin_turn(&self) {
        self.publish(|head| head.idle = false);
    }

    /// Sends the readers home once they have read what there is; for shutdown and for a deleted session.
    pub(crate) fn close(&self) {
        self.publish(|head| head.closed = true);
    }

    /// The last event readers may see; number 0 before the first one.
    pub(crate) fn last_event_id(&self) -> EventId {
        let head = *self.shared.head.borrow();
        self.shared.epoch.at(head.seq)
    }

    /// What the log holds in memory, index included.
    pub(crate) fn bytes(&self) -> usize {
        self.shared.bytes.load(Ordering::Relaxed)
    }

    fn push(&self, kind: &'static str, data: &str, shown: Shown) -> EventId {
        let id = self.shared.with_ring(|ring| ring.push(kind, data, shown));
        // Without the ring's lock: the budget may choose this very log.
        self.shared.budget.relieve();
        id
    }

    fn publish(&self, change: impl FnOnce(&mut Head)) {
        self.shared.head.send_modify(change);
    }
}

// === impl Shared ===

impl Shared {
    /// Changes the ring and tells the budget by how much it grew or shrank.
    fn with_ring<T>(&self, change: impl FnOnce(&mut Ring) -> T) -> T {
        let mut ring = self.ring.lock();
        let before = ring.bytes();
        let out = change(&mut ring);
        self.budget.record(before, ring.bytes());
        self.bytes.store(ring.bytes(), Ordering::Relaxed);
        self.sealed_bytes
            .store(ring.sealed_bytes(), Ordering::Relaxed);
        out
    }

    /// What readers could read now, as one consistent picture.
    fn kept(&self) -> (Kept, Head) {
        let ring = self.ring.lock();
        let head = *self.head.borrow();
        let kept = Kept {
            epoch: self.epoch,
            oldest: ring.oldest(),
            head: head.seq,
        };
        drop(ring);
        (kept, head)
    }
}

impl Drop for Shared {
    fn drop(&mut self) {
        self.budget.record(self.ring.get_mut().bytes(), 0);
    }
}

// === impl Head ===

impl Head {
    /// Whether a reader that has seen all has seen the last of it.
    const fn end(self, follow: bool) -> Option<End> {
        match self {
            Self { closed: true, .. } => Some(End::Closed),
            Self { idle: true, .. } if !follow => Some(End::Idle),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests;
#[cfg(test)]
pub(crate) use self::tests::{Parsed, SseReader, log_with};
