//! The order of all events, as one reader wants to see it.

use std::sync::Arc;

use tokio::sync::watch;

use super::filter::Filter;
use super::frames::{self, Place};
use crate::journal::{Entry, Journal, Order, OrderHead, OrderPiece, OrderQuery, Recent};
use crate::metrics::stream as metrics;
use crate::session::log::{
    Cursor, End, Epoch, Found, Gap, GapReason, Kept, Memory, Read, Readable, Requested, Shown,
    resolve,
};
use crate::session::session_map::SessionMap;

/// Where the order and the events are. A cheap clone.
#[derive(Clone, Debug)]
pub(crate) struct Source {
    order: Arc<Order>,
    sessions: Arc<SessionMap>,
    journal: Option<Journal>,
}

pub(crate) struct Reader {
    source: Source,
    filter: Filter,
    epoch: Epoch,
}

/// What memory does not have.
#[derive(Debug)]
struct Missing {
    /// Up to this position at least.
    upto: u64,
    /// Its session is here, and the filter wants it.
    is_wanted: bool,
}

/// What goes out at once.
#[derive(Debug)]
struct Output {
    frames: Vec<u8>,
    /// How many there are.
    events: u64,
    /// The position of the last of them.
    shown: Option<u64>,
    /// The last position that is passed.
    at: u64,
}

/// Entries read at a time.
const ENTRIES: usize = 64;

/// A piece of so many bytes goes out; the last frames may exceed this.
const PIECE_BYTES: usize = 64 << 10;

// === impl Source ===

impl Source {
    pub(in crate::session) fn new(
        order: Arc<Order>,
        sessions: Arc<SessionMap>,
        journal: Option<Journal>,
    ) -> Self {
        Self {
            order,
            sessions,
            journal,
        }
    }

    /// A cursor, and the gap that its reader is told of first.
    pub(crate) fn open(
        &self,
        requested: &Requested,
        filter: Filter,
    ) -> (Cursor<Reader>, Option<Gap>) {
        let kept = self.kept();
        let (at, gap) = resolve(requested, kept);
        metrics::opened(at < kept.head);
        if let Some(gap) = &gap {
            metrics::gap(gap.reason.as_str());
        }
        let reader = Reader {
            source: self.clone(),
            filter,
            epoch: kept.epoch,
        };
        (Cursor::new(reader, at), gap)
    }

    fn kept(&self) -> Kept {
        if self.journal.is_none() {
            self.forget_evicted();
        }
        // The order is open, so it has an epoch; a random one equals no cursor.
        let epoch = self.order.epoch().and_then(|epoch| Epoch::parse(&epoch));
        let oldest = self.order.oldest();
        Kept {
            epoch: epoch.unwrap_or_else(Epoch::random),
            oldest,
            head: self.order.head().position.max(oldest - 1),
        }
    }

    /// Without a journal what is kept begins with the oldest event that a ring has.
    fn forget_evicted(&self) {
        loop {
            let oldest = self.order.oldest();
            if oldest > self.order.head().position {
                return;
            }
            match self.order.recent(oldest - 1, 1) {
                Recent::Older { oldest } => self.order.forget_before(oldest),
                Recent::Entries(entries) => {
                    let Some(entry) = entries.first() else {
                        return;
                    };
                    let log = self.sessions.numbered(entry.number);
                    let first = log.map_or(u64::MAX, |session| session.log.oldest_in_memory());
                    if first <= entry.first {
                        return;
                    }
                    let gone = entry.position_of(first.min(entry.last + 1));
                    self.order.forget_before(gone);
                }
            }
        }
    }
}

// === impl Reader ===

impl Readable for Reader {
    type Head = OrderHead;
    type Piece = OrderPiece;

    fn epoch(&self) -> Epoch {
        self.epoch
    }

    fn subscribe(&self) -> watch::Receiver<OrderHead> {
        self.source.order.subscribe()
    }

    fn shown(&self) -> Shown {
        let head = self.source.order.head();
        Shown {
            upto: head.position,
            then: head.closed.then_some(End::Closed),
        }
    }

    fn read(&mut self, at: u64, _upto: u64) -> Memory<OrderPiece> {
        let entries = match self.source.order.recent(at, ENTRIES) {
            Recent::Entries(entries) => entries,
            Recent::Older { oldest } => {
                let missing = Missing {
                    upto: oldest - 1,
                    is_wanted: false,
                };
                return self.read_elsewhere(at, &missing);
            }
        };
        let mut out = Output::after(at);
        for entry in entries {
            if let Err(missing) = self.read_entry(entry, &mut out) {
                if out.at == at {
                    return self.read_elsewhere(at, &missing);
                }
                break;
            }
            if out.frames.len() >= PIECE_BYTES {
                break;
            }
        }
        Memory::Has(out.found())
    }

    fn take(&mut self, _at: u64, piece: OrderPiece) -> Found {
        match piece {
            OrderPiece::Frames {
                session_id,
                entry,
                bytes,
            } => {
                let place = Place {
                    epoch: self.epoch,
                    entry,
                    session_id: &session_id,
                };
                let mut out = Output::after(entry.end());
                out.append(&bytes, &place, &self.filter);
                out.found()
            }
            OrderPiece::Skipped { last } => Found::Skipped { last },
            OrderPiece::Lost { last, is_wanted } => self.lost(last, GapReason::Evicted, is_wanted),
            OrderPiece::Removed { oldest } => {
                self.source.order.forget_before(oldest);
                self.lost(oldest - 1, GapReason::Lagged, false)
            }
        }
    }
}

impl Reader {
    /// Appends what memory has of an entry, and passes it.
    fn read_entry(&self, entry: Entry, out: &mut Output) -> Result<(), Missing> {
        let Some(session) = self.source.sessions.numbered(entry.number) else {
            return Err(Missing {
                upto: entry.end(),
                is_wanted: false,
            });
        };
        if !self.filter.wants_session(&session.id) {
            out.at = entry.end();
            return Ok(());
        }
        let mut seq = entry.first - 1;
        while seq < entry.last && out.frames.len() < PIECE_BYTES {
            match session.log.read(seq, entry.last, self.filter.reasoning) {
                Read::Frames { bytes, last } => {
                    let place = Place {
                        epoch: self.epoch,
                        entry,
                        session_id: &session.id,
                    };
                    out.append(&bytes, &place, &self.filter);
                    seq = last;
                }
                Read::Skipped { last } => seq = last,
                Read::Evicted { oldest } => {
                    let last = (oldest - 1).min(entry.last);
                    return Err(Missing {
                        upto: entry.position_of(last),
                        is_wanted: true,
                    });
                }
            }
            out.at = entry.position_of(seq);
        }
        Ok(())
    }

    /// What memory does not have is on disk, or it is nowhere: there is no disk, or it fails and memory could not hold
    /// everything.
    fn read_elsewhere(&self, at: u64, missing: &Missing) -> Memory<OrderPiece> {
        let order = &self.source.order;
        let upto = order.head().position.min(order.written());
        match &self.source.journal {
            Some(journal) if at < upto => {
                let journal = journal.clone();
                let query = OrderQuery {
                    after: at,
                    upto,
                    hidden: self.filter.reasoning,
                    sessions: Arc::clone(&self.filter.sessions),
                };
                Memory::Lacks(Box::pin(async move { journal.order_page(query).await }))
            }
            _ => {
                let last = missing.upto.max(at + 1);
                Memory::Has(self.lost(last, GapReason::Lagged, missing.is_wanted))
            }
        }
    }

    /// How many of the events up to `last` were wanted is not known if only some sessions are and nobody can tell whose
    /// these were.
    fn lost(&self, last: u64, reason: GapReason, is_wanted: bool) -> Found {
        Found::Lost {
            last,
            reason,
            is_counted: is_wanted || self.filter.sessions.is_empty(),
        }
    }
}

// === impl Output ===

impl Output {
    const fn after(at: u64) -> Self {
        Self {
            frames: Vec::new(),
            events: 0,
            shown: None,
            at,
        }
    }

    fn append(&mut self, frames: &[u8], place: &Place<'_>, filter: &Filter) {
        let (count, last) = frames::append(&mut self.frames, frames, place, filter);
        self.events += count;
        self.shown = last.or(self.shown);
    }

    fn found(self) -> Found {
        match self.shown {
            Some(shown) => Found::Frames {
                bytes: self.frames.into(),
                events: self.events,
                shown,
                last: self.at,
            },
            None => Found::Skipped { last: self.at },
        }
    }
}
