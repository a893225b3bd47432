//! The event log of one session: one writer, any number of readers, each at its own place.
//!
//! ```text
//! driver --append--> ring (ids are given under its lock) --> journal --on disk--> watermark --wakes--> cursors
//!                     ^                                        ^                                         |
//!                     +--- a run of frames, if it is here -----+------- otherwise a page from disk ------+
//! ```
//!
//! Promises: ids are `<epoch>-1`, `-2`, … without holes; a frame is encoded once and shared by all readers; appending
//! never waits for a reader or the disk; nothing is kept per reader. Replay and live are one read path, so nothing can
//! fall between them. An event is visible once it is *published*: when its group is on disk, or at once where there is no
//! journal or its disk fails. A reader that cannot have the next event gets a [`Gap`], never a hole.
//!
//! Memory keeps the newest events: the ring is bounded, and the logs of the process share a [`MemoryBudget`].

mod budget;
mod cursor;
pub(super) mod frame;
mod id;
mod reader;
mod readers;
mod recent;
mod requested;
mod ring;
mod turn_span;

use std::sync::Arc;

pub(crate) use self::budget::MemoryBudget;
pub(crate) use self::cursor::{Cursor, End, Readable, Step};
pub(super) use self::cursor::{Found, Memory, Shown};
pub(crate) use self::id::{Epoch, EventId};
pub(crate) use self::reader::{Opening, Reader, View};
pub(crate) use self::readers::{ReaderState, Transport};
pub(crate) use self::recent::{LastOutput, RecentEvent};
pub(crate) use self::requested::{Gap, GapReason, Requested};
pub(super) use self::requested::{Kept, resolve};
pub(crate) use self::ring::Limits;
pub(super) use self::ring::Read;
pub(crate) use self::turn_span::TurnSpan;

use self::budget::Buffer;
use self::readers::Readers;
use self::ring::Ring;
use crate::event::Encoded;
use crate::journal::{Appended, Draft, Head, Journal, Order, PromptRow, Row, Watermark};
use crate::metrics::{self, DeliverySample};

/// How much of a part of the running turn was published: the part, and a number that only grows.
pub(crate) type Note = (Arc<str>, u64);

/// A handle on one log; clones are the same log.
///
/// Any handle can append, and ids stay right if several do, but only one may: the order of two writers would mean
/// nothing.
#[derive(Clone)]
pub(crate) struct EventLog {
    inner: Arc<Inner>,
}

struct Inner {
    epoch: Epoch,
    /// The session's number.
    number: u64,
    buffer: Arc<Buffer>,
    watermark: Arc<Watermark>,
    storage: Storage,
    delivery: DeliverySample,
    readers: Arc<Readers>,
}

/// What happens to events besides that they are in memory.
#[derive(Clone)]
pub(crate) enum Storage {
    /// They are written, and shown when they are.
    Journal(Journal),
    /// They are shown at once, and have their places in the order of all events.
    Memory(Arc<Order>),
}

/// Which log it is, and which of its events are on disk.
#[derive(Clone, Copy, Debug)]
pub(crate) struct StoredRange {
    /// The session's number in the journal.
    pub(crate) number: u64,
    pub(crate) epoch: Epoch,
    pub(crate) oldest: u64,
    pub(crate) last: u64,
    /// No turn runs.
    pub(crate) idle: bool,
}

/// What is added to a log at once: on disk it is there together or not at all.
#[derive(Debug, Default)]
pub(crate) struct Addition<'a> {
    /// Of one event.
    pub(crate) pieces: Vec<Encoded>,
    /// Of the event's part.
    pub(crate) note: Option<Note>,
    /// What the session is now.
    pub(crate) row: Option<Row>,
    /// What became of a prompt.
    pub(crate) prompt: Option<PromptRow>,
    /// No turn runs after it: readers that do not follow end.
    pub(crate) ends: bool,
    /// The turn whose last event it is.
    pub(crate) last_of: Option<&'a TurnSpan>,
}

/// One change of the log: to the ring, and to the disk if there is one.
struct Change<'a> {
    ring: &'a mut Ring,
    draft: Option<Draft>,
    /// The turn ends with it.
    ends: bool,
}

// === impl EventLog ===

impl EventLog {
    pub(crate) fn new(
        extent: StoredRange,
        limits: Limits,
        budget: &MemoryBudget,
        storage: Storage,
    ) -> Self {
        let StoredRange {
            number,
            epoch,
            oldest,
            last,
            idle,
        } = extent;
        let watermark = Arc::new(Watermark::new(oldest, last, idle));
        let ring = Ring::after(last, epoch, limits);
        let inner = Inner {
            epoch,
            number,
            buffer: budget.buffer(ring, Arc::clone(&watermark)),
            watermark,
            storage,
            delivery: DeliverySample::default(),
            readers: Arc::default(),
        };
        Self {
            inner: Arc::new(inner),
        }
    }

    /// Adds an event, and with it the note of its part and what the session is now.
    ///
    /// A terminal event and the end of the turn become visible together, so no reader can take an earlier event for the
    /// last one. Readers that do not follow end after it. An event appended before the next turn begins is kept, but a
    /// reader that has ended sees it only when it comes back.
    pub(crate) fn add(&self, addition: Addition<'_>) {
        let Addition {
            pieces,
            note,
            row,
            prompt,
            ends,
            last_of,
        } = addition;
        self.change(|change| {
            for piece in &pieces {
                let seq = change.push(piece.kind, &piece.data, piece.reasoning);
                self.inner.delivery.appended(seq);
                metrics::stream::appended(piece.kind, piece.data.len());
            }
            if ends {
                change.end();
            }
            if let Some(turn) = last_of {
                turn.end(change.ring.last());
            }
            if let Some(draft) = &mut change.draft {
                draft.notes.extend(note);
                draft.row = row;
                draft
                    .prompts
                    .extend(prompt.map(|row| (row.id.clone(), row)));
            }
        });
    }

    /// A turn begins, and this is what becomes of its prompt with that. Readers are not told yet.
    pub(crate) fn record_beginning(&self, row: Row, prompt: PromptRow) {
        self.change(|change| {
            if let Some(draft) = &mut change.draft {
                draft.row = Some(row);
                draft.begins = true;
                draft.prompts.insert(prompt.id.clone(), prompt);
            }
        });
    }

    /// What the session is now, before what is appended next. With `begins` a turn begins with it.
    pub(crate) fn record(&self, row: Row, begins: bool) {
        self.change(|change| {
            if let Some(draft) = &mut change.draft {
                draft.row = Some(row);
                draft.begins = begins;
            }
        });
    }

    /// The backend was told of the end of this turn. No more than that is written, because another turn may be about to
    /// begin.
    pub(crate) fn record_report(&self, turn: u32) {
        self.change(|change| {
            if let Some(draft) = &mut change.draft {
                draft.reported = Some(turn);
            }
        });
    }

    /// Another turn begins: readers wait for events again.
    pub(crate) fn begin_turn(&self) {
        self.inner.watermark.begin_turn();
    }

    /// The number of the last event, whether readers may see it or not.
    pub(crate) fn last_appended(&self) -> u64 {
        self.inner.buffer.read(|ring| ring.last())
    }

    /// The id of event `seq`.
    pub(crate) fn id(&self, seq: u64) -> EventId {
        self.inner.epoch.at(seq)
    }

    /// Waits until everything that was added is on disk, or the disk fails.
    pub(crate) async fn written(&self) {
        if let Storage::Journal(journal) = &self.inner.storage {
            journal.written(self.inner.number).await;
        }
    }

    /// Ends all readers once they have read what there is; for shutdown and for a deleted session.
    pub(crate) fn close(&self) {
        self.inner.watermark.close();
    }

    /// The last event readers may see; number 0 before the first one.
    pub(crate) fn last_event_id(&self) -> EventId {
        self.inner.epoch.at(self.inner.watermark.head().seq)
    }

    /// The terminal event of the last turn, if no turn runs and readers may see it.
    pub(crate) fn end_id(&self) -> Option<EventId> {
        let head = self.inner.watermark.head();
        head.idle.then(|| self.inner.epoch.at(head.seq))
    }

    /// Waits until readers may see the end of the turn, or none will come.
    pub(crate) async fn end_shown(&self) {
        self.until(|head| head.idle).await;
    }

    /// Waits until readers may see an event past number `seq`, or none will come.
    pub(crate) async fn shown_past(&self, seq: u64) {
        self.until(|head| head.seq > seq).await;
    }

    /// Waits until readers are to end.
    pub(crate) async fn closed(&self) {
        self.until(|_| false).await;
    }

    async fn until(&self, holds: impl Fn(&Head) -> bool) {
        let mut head_rx = self.inner.watermark.subscribe();
        // An error cannot be: the sender is in `self`.
        drop(head_rx.wait_for(|head| holds(head) || head.closed).await);
    }

    /// Nobody reads it, and everything is on disk: it can leave memory.
    pub(crate) fn can_be_unloaded(&self) -> bool {
        let is_written = |journal: &Journal| journal.is_written(self.inner.number);
        !self.inner.watermark.has_readers() && self.journal().is_some_and(is_written)
    }

    /// What memory has of events `after + 1 ..= upto`, which must be shown.
    pub(super) fn read(&self, after: u64, upto: u64, reasoning: bool) -> Read {
        let buffer = &self.inner.buffer;
        buffer.read(|ring| ring.read(after, upto, reasoning))
    }

    /// The oldest event in memory; the next one to come if none is.
    pub(super) fn oldest_in_memory(&self) -> u64 {
        self.inner.buffer.read(|ring| ring.oldest())
    }

    fn journal(&self) -> Option<&Journal> {
        match &self.inner.storage {
            Storage::Journal(journal) => Some(journal),
            Storage::Memory(_) => None,
        }
    }

    /// Who reads it, the one that is furthest behind first.
    pub(crate) fn readers(&self) -> Vec<ReaderState> {
        self.inner.readers.states()
    }

    /// What the log holds in memory, index included.
    #[cfg(any(test, feature = "bench"))]
    pub(crate) fn bytes(&self) -> usize {
        self.inner.buffer.bytes()
    }

    fn change(&self, change: impl FnOnce(&mut Change<'_>)) {
        self.inner.buffer.change(|ring| {
            let before = ring.last();
            let draft = self.journal().map(|_| Draft::after(before));
            let mut all = Change {
                ring,
                draft,
                ends: false,
            };
            change(&mut all);
            let watermark = &self.inner.watermark;
            let appended = Appended {
                last: all.ring.last(),
                ends: all.ends,
            };
            let number = self.inner.number;
            // Under the lock of the ring, so that drafts and positions come in the order of their events.
            match (&self.inner.storage, all.draft) {
                (Storage::Journal(journal), Some(draft)) => {
                    journal.append(number, watermark, appended, draft);
                }
                (Storage::Memory(order), _) => {
                    watermark.append(appended);
                    watermark.show_appended();
                    if before < appended.last {
                        order.show(number, before + 1, appended.last);
                    }
                }
                // A journal's change has a draft.
                (Storage::Journal(_), None) => {}
            }
        });
    }

    /// What readers could read now, as one consistent picture.
    fn kept(&self) -> (Kept, Head) {
        self.inner.buffer.read(|ring| {
            let head = self.inner.watermark.head();
            let oldest = match self.inner.storage {
                Storage::Journal(_) => self.inner.watermark.oldest().min(ring.oldest()),
                Storage::Memory(_) => ring.oldest(),
            };
            let kept = Kept {
                epoch: self.inner.epoch,
                oldest,
                head: head.seq,
            };
            (kept, head)
        })
    }
}

impl std::fmt::Debug for EventLog {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("EventLog")
            .field("last", &self.last_event_id())
            .finish_non_exhaustive()
    }
}

// === impl Addition ===

impl Addition<'_> {
    /// An event, with nothing else.
    pub(crate) fn of(pieces: Vec<Encoded>) -> Self {
        Self {
            pieces,
            ..Self::default()
        }
    }
}

// === impl StoredRange ===

impl StoredRange {
    /// Of a log without events, whose first turn is running: a session exists because it was given a prompt.
    pub(crate) const fn empty(number: u64, epoch: Epoch) -> Self {
        Self {
            number,
            epoch,
            oldest: 1,
            last: 0,
            idle: false,
        }
    }
}

// === impl Change ===

impl Change<'_> {
    fn push(&mut self, kind: &str, data: &str, hidden: bool) -> u64 {
        let (seq, frame) = self.ring.push(kind, data, hidden);
        if let Some(draft) = &mut self.draft {
            draft.add_event(seq, hidden, frame);
        }
        seq
    }

    fn end(&mut self) {
        // The log may stay like this for an hour: it should take no more memory than it needs.
        self.ring.seal();
        self.ends = true;
    }
}

#[cfg(test)]
mod tests;
#[cfg(test)]
pub(crate) use self::tests::{Parsed, SseReader, log_with};
