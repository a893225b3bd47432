//! A reader's place in the order of all events. Like the cursor of one session it pulls, waits on one value, and finds
//! out when it comes back that it was overtaken.

use std::collections::VecDeque;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use futures_util::future::BoxFuture;
use tokio::sync::watch;
use tokio_util::sync::ReusableBoxFuture;

use super::filter::Filter;
use super::frames::{self, Place};
use crate::journal::{
    Entry, Journal, JournalError, Order, OrderHead, OrderPiece, OrderQuery, Recent,
};
use crate::session::log::{
    End, Epoch, EventId, Gap, GapReason, Kept, Read, Requested, Step, resolve,
};
use crate::session::session_map::SessionMap;

/// Where the order and the events are. A cheap clone.
#[derive(Clone, Debug)]
pub(crate) struct Source {
    order: Arc<Order>,
    sessions: Arc<SessionMap>,
    journal: Option<Journal>,
}

type Page = Result<Vec<OrderPiece>, JournalError>;

pub(crate) struct Cursor {
    source: Source,
    filter: Filter,
    epoch: Epoch,
    /// The last position passed, whether it was shown or not.
    at: u64,
    /// The last position that the reader knows it has passed.
    known: u64,
    /// How many events went out.
    sent: u64,
    /// The published head when it was last read.
    head: OrderHead,
    change: ReusableBoxFuture<'static, watch::Receiver<OrderHead>>,
    /// A page that is being read from the disk, and what is left of the one before.
    page: Option<BoxFuture<'static, Page>>,
    pieces: VecDeque<OrderPiece>,
    /// The disk could not be read: the stream ends, and the reader comes back later.
    broken: bool,
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
#[derive(Debug, Default)]
struct Output {
    frames: Vec<u8>,
    /// The position of the last of them.
    last: Option<u64>,
    /// How many there are.
    events: u64,
}

/// Entries read at a time.
const ENTRIES: usize = 64;

/// A piece of so many bytes goes out; the last frames may exceed this.
const PIECE_BYTES: usize = 64 << 10;

/// Pieces of which nothing is shown, after which others have their turn.
const FRUITLESS: usize = 32;

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
    pub(crate) fn open(&self, requested: &Requested, filter: Filter) -> (Cursor, Option<Gap>) {
        let kept = self.kept();
        let (at, gap) = resolve(requested, kept);
        let cursor = Cursor {
            source: self.clone(),
            filter,
            epoch: kept.epoch,
            at,
            known: at,
            sent: 0,
            head: OrderHead {
                position: kept.head,
                closed: false,
            },
            change: ReusableBoxFuture::new(changed(self.order.subscribe())),
            page: None,
            pieces: VecDeque::new(),
            broken: false,
        };
        (cursor, gap)
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

// === impl Cursor ===

impl Cursor {
    /// What comes next, as soon as there is something. Dropping the future loses nothing.
    #[cfg(test)]
    pub(crate) async fn next(&mut self) -> Step {
        std::future::poll_fn(|cx| self.poll_next(cx)).await
    }

    pub(crate) fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<Step> {
        loop {
            if let Some(step) = ready!(self.poll_read(cx)) {
                return Poll::Ready(step);
            }
            // It is read after `change` began to watch, so that no change is missed.
            self.head = self.source.order.head();
            if self.head.position > self.at {
                continue;
            }
            if self.head.closed {
                return Poll::Ready(Step::End(End::Closed));
            }
            let changes = ready!(self.change.poll(cx));
            self.change.set(changed(changes));
        }
    }

    /// Where the reader stands.
    pub(crate) fn position(&self) -> EventId {
        self.epoch.at(self.at)
    }

    /// How many events went out, and how many more, of all sessions, could be read when it was last looked.
    pub(crate) fn progress(&self) -> (u64, u64) {
        (self.sent, self.head.position.saturating_sub(self.at))
    }

    /// The place to tell a reader that has passed events it is not shown, once per place.
    pub(crate) fn skipped_to(&mut self) -> Option<EventId> {
        let has_skipped = self.known < self.at;
        self.known = self.at;
        has_skipped.then(|| self.position())
    }

    /// The next frames up to the head when it was last read; nothing when the reader is there.
    fn poll_read(&mut self, cx: &mut Context<'_>) -> Poll<Option<Step>> {
        let mut fruitless = 0;
        while self.at < self.head.position {
            if self.broken {
                let closed = self.source.order.head().closed;
                let end = if closed { End::Closed } else { End::Unreadable };
                return Poll::Ready(Some(Step::End(end)));
            }
            if fruitless == FRUITLESS {
                cx.waker().wake_by_ref();
                return Poll::Pending;
            }
            fruitless += 1;
            let step = match self.pieces.pop_front() {
                Some(piece) => self.take(piece),
                None if self.page.is_some() => {
                    ready!(self.poll_page(cx));
                    None
                }
                None => self.read(),
            };
            if step.is_some() {
                return Poll::Ready(step);
            }
        }
        Poll::Ready(None)
    }

    fn poll_page(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let Some(page) = &mut self.page else {
            return Poll::Ready(());
        };
        let pieces = ready!(page.as_mut().poll(cx));
        self.page = None;
        match pieces {
            Ok(pieces) if pieces.is_empty() => {
                tracing::error!(at = %self.position(), "the journal does not have what it said it has");
                self.broken = true;
            }
            Ok(pieces) => self.pieces = pieces.into(),
            Err(error) => {
                if !self.source.order.head().closed {
                    tracing::error!(%error, "events could not be read from the journal");
                }
                self.broken = true;
            }
        }
        Poll::Ready(())
    }

    /// The next step out of memory; nothing if there is none, or if the disk has to be asked.
    fn read(&mut self) -> Option<Step> {
        let entries = match self.source.order.recent(self.at, ENTRIES) {
            Recent::Entries(entries) => entries,
            Recent::Older { oldest } => {
                return self.read_elsewhere(&Missing {
                    upto: oldest - 1,
                    is_wanted: false,
                });
            }
        };
        let mut out = Output::default();
        for entry in entries {
            if let Err(missing) = self.read_entry(entry, &mut out) {
                if out.frames.is_empty() {
                    return self.read_elsewhere(&missing);
                }
                break;
            }
            if out.frames.len() >= PIECE_BYTES {
                break;
            }
        }
        self.shown(out)
    }

    /// Appends what memory has of an entry, and passes it.
    fn read_entry(&mut self, entry: Entry, out: &mut Output) -> Result<(), Missing> {
        let Some(session) = self.source.sessions.numbered(entry.number) else {
            return Err(Missing {
                upto: entry.end(),
                is_wanted: false,
            });
        };
        if !self.filter.wants_session(&session.id) {
            self.at = entry.end();
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
            self.at = entry.position_of(seq);
        }
        Ok(())
    }

    /// What memory does not have is on disk, or it is nowhere: there is no disk, or it fails and memory could not hold
    /// everything.
    fn read_elsewhere(&mut self, missing: &Missing) -> Option<Step> {
        let order = &self.source.order;
        let upto = order.head().position.min(order.written());
        match &self.source.journal {
            Some(journal) if self.at < upto => {
                let journal = journal.clone();
                let query = OrderQuery {
                    after: self.at,
                    upto,
                    hidden: self.filter.reasoning,
                    sessions: Arc::clone(&self.filter.sessions),
                };
                self.page = Some(Box::pin(async move { journal.order_page(query).await }));
                None
            }
            _ => {
                let upto = missing.upto.max(self.at + 1);
                Some(self.overtaken(upto, GapReason::Lagged, missing.is_wanted))
            }
        }
    }

    /// The next step out of a page.
    fn take(&mut self, piece: OrderPiece) -> Option<Step> {
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
                let mut out = Output::default();
                out.append(&bytes, &place, &self.filter);
                self.at = entry.end();
                self.shown(out)
            }
            OrderPiece::Skipped { last } => {
                self.at = last;
                None
            }
            OrderPiece::Lost { last, is_wanted } => {
                Some(self.overtaken(last, GapReason::Evicted, is_wanted))
            }
            OrderPiece::Removed { oldest } => {
                self.source.order.forget_before(oldest);
                Some(self.overtaken(oldest - 1, GapReason::Lagged, false))
            }
        }
    }

    fn shown(&mut self, out: Output) -> Option<Step> {
        self.known = out.last?;
        self.sent += out.events;
        Some(Step::Frames(out.frames.into()))
    }

    /// The events up to this position cannot be had. How many of them were wanted is not known if only some sessions are
    /// and nobody can tell whose these were.
    fn overtaken(&mut self, upto: u64, reason: GapReason, is_wanted: bool) -> Step {
        let requested = self.position().to_string();
        let missed = upto - self.at;
        let is_counted = is_wanted || self.filter.sessions.is_empty();
        self.at = upto;
        self.known = upto;
        Step::Gap(Gap {
            reason,
            requested: requested.into(),
            resume_after: self.position(),
            missed: is_counted.then_some(missed),
        })
    }
}

// === impl Output ===

impl Output {
    fn append(&mut self, frames: &[u8], place: &Place<'_>, filter: &Filter) {
        let (count, last) = frames::append(&mut self.frames, frames, place, filter);
        self.events += count;
        self.last = last.or(self.last);
    }
}

async fn changed(mut changes: watch::Receiver<OrderHead>) -> watch::Receiver<OrderHead> {
    // It fails only if the sender is gone, and the cursor keeps that alive.
    if changes.changed().await.is_err() {
        std::future::pending::<()>().await;
    }
    changes
}
