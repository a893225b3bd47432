//! The event log of one session: one writer, any number of readers, each at its own place.
//!
//! ```text
//! driver --append--> ring (ids given under the lock) --> journal --committed--> head (watch) --wakes--> cursors
//!                     ^                                    ^                                              |
//!                     +--- a run of frames, if it is here -+--------- else a page from the disk ----------+
//! ```
//!
//! Promises: ids are `<epoch>-1`, `-2`, … without holes; a frame is encoded once and shared by all
//! readers; appending never waits for a reader or the disk; nothing is kept per reader. Replay and live
//! are one read path, so nothing can fall between them. An event is visible once it is *published*:
//! when its group is on disk, or at once where there is no journal or its disk fails. A reader that
//! cannot have the next event gets a [`Gap`], never a hole.
//!
//! Memory keeps the hot tail: the ring is bounded, and the logs of the process share a [`Budget`]. What
//! is not on disk yet is not given back unless the disk fails.

mod budget;
mod cursor;
mod flush_state;
mod frame;
mod id;
mod requested;
mod ring;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use parking_lot::Mutex;
use tokio::sync::watch;

pub(crate) use self::budget::Budget;
pub(crate) use self::cursor::{Cursor, End, Opening, Step, View};
pub(crate) use self::flush_state::Note;
pub(crate) use self::id::{Epoch, EventId};
pub(crate) use self::requested::{Gap, GapReason, Requested};
pub(crate) use self::ring::Limits;

use self::flush_state::FlushState;
use self::requested::Kept;
use self::ring::{Ring, Shown};
use crate::event::Encoded;
use crate::journal::{Draft, Journal, Row, Source};

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
    inner: Mutex<Inner>,
    /// What readers may see. They never look at the ring past it.
    head: watch::Sender<Head>,
    budget: Budget,
    /// Copies of the ring's figures, so that the budget can compare logs without their locks.
    bytes: AtomicUsize,
    givable_bytes: AtomicUsize,
    disk: Option<Disk>,
}

struct Inner {
    ring: Ring,
    flush_state: FlushState,
    /// The terminal event of the last turn; nothing while one runs.
    ended: Option<u64>,
}

/// Where the log lies on disk.
struct Disk {
    journal: Journal,
    number: u64,
    /// The oldest event that retention has left.
    oldest: AtomicU64,
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

/// What a log on disk is at the moment it is taken up.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Place {
    pub(crate) number: u64,
    pub(crate) epoch: Epoch,
    pub(crate) oldest: u64,
    pub(crate) last: u64,
    /// No turn runs.
    pub(crate) idle: bool,
}

// === impl EventLog ===

impl EventLog {
    /// An empty log in memory alone, whose first turn is running: a session exists because it was given
    /// a prompt.
    pub(crate) fn new(epoch: Epoch, limits: Limits, budget: &Budget) -> Self {
        let place = Place::beginning(0, epoch);
        Self::open(place, limits, budget, None)
    }

    /// A log that is kept in `journal`.
    pub(crate) fn journaled(
        place: Place,
        limits: Limits,
        budget: &Budget,
        journal: Journal,
    ) -> Self {
        let disk = Disk {
            journal,
            number: place.number,
            oldest: AtomicU64::new(place.oldest),
        };
        Self::open(place, limits, budget, Some(disk))
    }

    fn open(place: Place, limits: Limits, budget: &Budget, disk: Option<Disk>) -> Self {
        let Place {
            epoch, last, idle, ..
        } = place;
        let mut inner = Inner {
            ring: Ring::after(last, epoch, limits),
            flush_state: FlushState::default(),
            ended: idle.then_some(last),
        };
        if disk.is_some() {
            inner.ring.hold_after(last);
            inner.flush_state = FlushState::after(last);
        }
        let shared = Arc::new(Shared {
            epoch,
            inner: Mutex::new(inner),
            head: watch::Sender::new(Head {
                seq: last,
                idle,
                closed: false,
            }),
            budget: budget.clone(),
            bytes: AtomicUsize::new(0),
            givable_bytes: AtomicUsize::new(0),
            disk,
        });
        budget.watch(&shared);
        Self { shared }
    }

    /// Adds an event; `data` is one line of JSON.
    #[cfg(any(test, feature = "bench"))]
    pub(crate) fn append(&self, kind: &'static str, data: &str) -> EventId {
        self.change(|inner| inner.ring.push(kind, data, Shown::Always))
    }

    /// Adds an event that only readers with [`View::reasoning`] are shown.
    #[cfg(test)]
    pub(crate) fn append_reasoning(&self, kind: &'static str, data: &str) -> EventId {
        self.change(|inner| inner.ring.push(kind, data, Shown::OnRequest))
    }

    /// Adds the terminal event of a turn. It and the end of the turn become visible together, so no
    /// reader can take an earlier event for the last one.
    ///
    /// Readers that do not follow end after it. An event appended before the next turn begins is kept,
    /// but a reader that has ended sees it only when it comes back.
    #[cfg(any(test, feature = "bench"))]
    pub(crate) fn end_turn(&self, kind: &'static str, data: &str) -> EventId {
        self.change(|inner| inner.end(kind, data))
    }

    /// Adds all pieces of one event, and with them how far its part is told and what the session is now:
    /// on disk they are together or not at all.
    pub(crate) fn append_all(&self, pieces: &[Encoded], note: Option<Note>, row: Option<Row>) {
        self.change(|inner| {
            for piece in pieces {
                let shown = if piece.reasoning {
                    Shown::OnRequest
                } else {
                    Shown::Always
                };
                if piece.terminal {
                    inner.end(piece.kind, &piece.data);
                } else {
                    inner.ring.push(piece.kind, &piece.data, shown);
                }
            }
            if let Some(note) = note {
                inner.flush_state.note(note);
            }
            if let Some(row) = row {
                inner.flush_state.record(row, false);
            }
        });
    }

    /// What the session is now, before what is appended next. With `begins` a turn begins with it, and
    /// readers wait for events again.
    pub(crate) fn record(&self, row: Row, begins: bool) {
        if begins {
            self.begin_turn();
        }
        if self.shared.disk.is_some() {
            self.change(|inner| inner.flush_state.record(row, begins));
        }
    }

    /// The backend was told of the end of this turn. No more than that: another may be about to begin.
    pub(crate) fn record_report(&self, turn: u32) {
        self.change(|inner| inner.flush_state.reported(turn));
    }

    /// Another turn begins: readers wait for events again.
    pub(crate) fn begin_turn(&self) {
        self.shared.with(|inner| inner.ended = None);
    }

    /// Sends the readers home once they have read what there is; for shutdown and for a deleted session.
    pub(crate) fn close(&self) {
        self.shared.head.send_modify(|head| head.closed = true);
    }

    /// The last event readers may see; number 0 before the first one.
    pub(crate) fn last_event_id(&self) -> EventId {
        let head = *self.shared.head.borrow();
        self.shared.epoch.at(head.seq)
    }

    /// The terminal event of the last turn, if no turn runs and readers may see it.
    pub(crate) fn end_id(&self) -> Option<EventId> {
        let head = *self.shared.head.borrow();
        head.idle.then(|| self.shared.epoch.at(head.seq))
    }

    /// Waits until readers may see the end of the turn, or none will come.
    pub(crate) async fn end_shown(&self) {
        let mut head_rx = self.shared.head.subscribe();
        // An error cannot be: the sender is in `self`.
        drop(head_rx.wait_for(|head| head.idle || head.closed).await);
    }

    /// Waits until readers may see an event past number `seq`, or none will come.
    pub(crate) async fn shown_past(&self, seq: u64) {
        let mut head_rx = self.shared.head.subscribe();
        // An error cannot be: the sender is in `self`.
        drop(head_rx.wait_for(|head| head.seq > seq || head.closed).await);
    }

    /// Nobody reads it, and everything is on disk: it can leave memory.
    pub(crate) fn can_leave(&self) -> bool {
        let inner = self.shared.inner.lock();
        self.shared.head.receiver_count() == 0 && inner.flush_state.settled(&inner.ring)
    }

    /// What the log holds in memory, index included.
    #[cfg(any(test, feature = "bench"))]
    pub(crate) fn bytes(&self) -> usize {
        self.shared.bytes.load(Ordering::Relaxed)
    }

    fn change<T>(&self, change: impl FnOnce(&mut Inner) -> T) -> T {
        let out = self.shared.with(|inner| {
            let out = change(inner);
            // Under the lock: what is shown and not on disk is always known to the journal.
            if inner.flush_state.wake()
                && let Some(disk) = &self.shared.disk
            {
                disk.journal.wake(self.shared.clone());
            }
            out
        });
        // Without the lock: the budget may choose this very log.
        self.shared.budget.relieve();
        out
    }
}

// === impl Place ===

impl Place {
    /// Of a log without events, whose first turn is running.
    pub(crate) const fn beginning(number: u64, epoch: Epoch) -> Self {
        Self {
            number,
            epoch,
            oldest: 1,
            last: 0,
            idle: false,
        }
    }
}

// === impl Inner ===

impl Inner {
    fn end(&mut self, kind: &'static str, data: &str) -> EventId {
        let id = self.ring.push(kind, data, Shown::Always);
        // The log may stay like this for an hour: let it take no more room than it needs.
        self.ring.seal();
        self.ended = Some(id.seq);
        id
    }
}

// === impl Shared ===

impl Shared {
    /// Changes what is kept, shows readers what they may see by now, and tells the budget by how much
    /// the log grew or shrank.
    fn with<T>(&self, change: impl FnOnce(&mut Inner) -> T) -> T {
        let mut inner = self.inner.lock();
        let before = inner.ring.bytes();
        let out = change(&mut inner);
        self.budget.record(before, inner.ring.bytes());
        self.bytes.store(inner.ring.bytes(), Ordering::Relaxed);
        self.givable_bytes
            .store(inner.ring.givable_bytes(), Ordering::Relaxed);
        // Under the lock, so that two who publish cannot do it in the wrong order.
        let visible = inner.flush_state.visible(&inner.ring);
        self.head.send_if_modified(|head| {
            // What was shown from memory stays shown while the disk follows.
            let seq = visible.max(head.seq);
            let idle = inner.ended.is_some_and(|ended| ended <= seq);
            let news = seq > head.seq || idle != head.idle;
            (head.seq, head.idle) = (seq, idle);
            news
        });
        out
    }

    /// What readers could read now, as one consistent picture.
    fn kept(&self) -> (Kept, Head) {
        let inner = self.inner.lock();
        let head = *self.head.borrow();
        let here = inner.ring.oldest();
        let kept = Kept {
            epoch: self.epoch,
            oldest: match &self.disk {
                Some(disk) => disk.oldest.load(Ordering::Relaxed).min(here),
                None => here,
            },
            head: head.seq,
        };
        drop(inner);
        (kept, head)
    }
}

impl std::fmt::Debug for Shared {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Log")
            .field("epoch", &self.epoch)
            .finish_non_exhaustive()
    }
}

impl Source for Shared {
    fn number(&self) -> u64 {
        self.disk.as_ref().map_or(0, |disk| disk.number)
    }

    fn take(&self) -> Draft {
        self.with(|inner| inner.flush_state.take(&mut inner.ring))
    }

    fn committed(&self) {
        self.with(|inner| inner.flush_state.committed(&mut inner.ring));
    }

    fn failed(&self) {
        self.with(|inner| inner.flush_state.failed(&mut inner.ring));
    }

    fn trimmed(&self, oldest: u64) {
        if let Some(disk) = &self.disk {
            disk.oldest.fetch_max(oldest, Ordering::Relaxed);
        }
    }
}

impl Drop for Shared {
    fn drop(&mut self) {
        self.budget.record(self.inner.get_mut().ring.bytes(), 0);
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
