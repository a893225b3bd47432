//! A reader's place in a log: that of a session, or the order of all events. It pulls; the log does not know it exists.
//!
//! The place is a number, so a reader that stops costs nothing but its own few bytes, and one that is overtaken finds out
//! when it comes back. It waits on one value, never on a queue. What memory does not have any more is read from the
//! disk, a page at a time.

use std::collections::VecDeque;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use futures_util::future::BoxFuture;
use tokio::sync::watch;
use tokio_util::sync::ReusableBoxFuture;

use super::id::{Epoch, EventId};
use super::requested::{Gap, GapReason};
use crate::journal::JournalError;
use crate::metrics::stream as metrics;

/// What a cursor reads: a log, as one reader wants to see it.
pub(crate) trait Readable: Send + 'static {
    /// Changes with [`Self::shown`].
    type Head: Send + Sync + 'static;
    /// What a page from the disk consists of.
    type Piece: Send + 'static;

    fn epoch(&self) -> Epoch;

    fn subscribe(&self) -> watch::Receiver<Self::Head>;

    /// How far it may be read now.
    fn shown(&self) -> Shown;

    /// What memory has after number `at`, up to `upto`.
    fn read(&mut self, at: u64, upto: u64) -> Memory<Self::Piece>;

    /// What a piece of a page says to a reader that is at number `at`.
    fn take(&mut self, at: u64, piece: Self::Piece) -> Found;
}

/// How far a log may be read.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Shown {
    /// The last event.
    pub(crate) upto: u64,
    /// What comes after it: an end, or more when it is there.
    pub(crate) then: Option<End>,
}

/// Where the next events are.
pub(crate) enum Memory<P> {
    Has(Found),
    /// They are on the disk, and are being read.
    Lacks(PageRead<P>),
}

/// The next events up to a number, at least one.
#[derive(Debug)]
pub(crate) enum Found {
    Frames {
        bytes: Bytes,
        /// How many there are.
        events: u64,
        /// The last of these.
        shown: u64,
        /// The last that is passed with them.
        last: u64,
    },
    /// This reader is shown nothing of them.
    Skipped { last: u64 },
    /// They cannot be had. They are counted unless nobody can tell whether the reader wanted them.
    Lost {
        last: u64,
        reason: GapReason,
        is_counted: bool,
    },
}

/// A page that is read from the disk.
pub(crate) type PageRead<P> = BoxFuture<'static, Result<Vec<P>, JournalError>>;

/// What comes next.
#[derive(Debug)]
pub(crate) enum Step {
    /// Whole frames, as many as lie together.
    Frames(Bytes),
    /// The reader was overtaken.
    Gap(Gap),
    /// Nothing more will come; asking again says so again.
    End(End),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum End {
    /// The session is idle.
    Idle,
    /// The log was closed: the process ends, or the session is gone.
    Closed,
    /// The disk cannot be read. What is there can be asked for again later.
    Unreadable,
}

pub(crate) struct Cursor<R: Readable> {
    reader: R,
    /// The last event passed, whether it was shown or not.
    at: u64,
    /// The last event that the reader knows it has passed.
    known: u64,
    /// How many went out.
    sent: u64,
    /// How far the log might be read when that was last looked at.
    shown: Shown,
    /// Waits for a change of the head. It is allocated once in the life of the cursor.
    change: ReusableBoxFuture<'static, watch::Receiver<R::Head>>,
    /// A page that is being read from the disk, and what is left of the one before.
    page: Option<PageRead<R::Piece>>,
    pieces: VecDeque<R::Piece>,
    /// The disk could not be read: the stream ends, and the reader comes back later.
    broken: bool,
}

/// So many steps in a row in which this reader is shown nothing; then other tasks have their turn.
const MAX_UNSHOWN_STEPS: usize = 32;

// === impl Cursor ===

impl<R: Readable> Cursor<R> {
    /// Reads what comes after number `at`.
    pub(in crate::session) fn new(reader: R, at: u64) -> Self {
        let change = ReusableBoxFuture::new(changed(reader.subscribe()));
        let shown = reader.shown();
        Self {
            reader,
            at,
            known: at,
            sent: 0,
            shown,
            change,
            page: None,
            pieces: VecDeque::new(),
            broken: false,
        }
    }

    /// What comes next, as soon as there is something. Dropping the future loses nothing.
    #[cfg(any(test, feature = "bench"))]
    pub(crate) async fn next(&mut self) -> Step {
        std::future::poll_fn(|cx| self.poll_next(cx)).await
    }

    pub(crate) fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<Step> {
        loop {
            if let Some(step) = ready!(self.poll_read(cx)) {
                return Poll::Ready(step);
            }
            // It is read after `change` began to watch, so that no change is missed.
            self.shown = self.reader.shown();
            if self.shown.upto > self.at {
                continue;
            }
            if let Some(end) = self.shown.then {
                return Poll::Ready(Step::End(end));
            }
            // This may be a change that was seen above already; then the loop comes back here once.
            let changes = ready!(self.change.poll(cx));
            self.change.set(changed(changes));
        }
    }

    /// Where the reader stands.
    pub(crate) fn position(&self) -> EventId {
        self.reader.epoch().at(self.at)
    }

    /// How many events went out, and how many more could be read now.
    pub(crate) fn progress(&self) -> (u64, u64) {
        (self.sent, self.reader.shown().upto.saturating_sub(self.at))
    }

    /// The place to tell a reader that has skipped events it is not shown, once per place. A reader that comes back from
    /// there is not told of a gap over events it never wanted.
    pub(crate) fn skipped_to(&mut self) -> Option<EventId> {
        let has_skipped = self.known < self.at;
        self.known = self.at;
        has_skipped.then(|| self.position())
    }

    /// The next step up to where the log might be read when that was last looked at; nothing when the reader is there.
    fn poll_read(&mut self, cx: &mut Context<'_>) -> Poll<Option<Step>> {
        let mut unshown = 0;
        while self.at < self.shown.upto {
            if self.broken {
                let end = if self.is_closed() {
                    End::Closed
                } else {
                    End::Unreadable
                };
                return Poll::Ready(Some(Step::End(end)));
            }
            if unshown == MAX_UNSHOWN_STEPS {
                cx.waker().wake_by_ref();
                return Poll::Pending;
            }
            unshown += 1;
            let found = match self.pieces.pop_front() {
                Some(piece) => self.reader.take(self.at, piece),
                None if self.page.is_some() => {
                    ready!(self.poll_page(cx));
                    continue;
                }
                None => match self.reader.read(self.at, self.shown.upto) {
                    Memory::Has(found) => found,
                    Memory::Lacks(page) => {
                        self.page = Some(page);
                        continue;
                    }
                },
            };
            if let Some(step) = self.pass(found) {
                return Poll::Ready(Some(step));
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
                if !self.is_closed() {
                    tracing::error!(%error, "events could not be read from the journal");
                }
                self.broken = true;
            }
        }
        Poll::Ready(())
    }

    fn is_closed(&self) -> bool {
        self.reader.shown().then == Some(End::Closed)
    }

    /// Passes what was found; a step, if the reader is told anything.
    fn pass(&mut self, found: Found) -> Option<Step> {
        match found {
            Found::Frames {
                bytes,
                events,
                shown,
                last,
            } => {
                self.sent += events;
                (self.at, self.known) = (last, shown);
                Some(Step::Frames(bytes))
            }
            Found::Skipped { last } => {
                self.at = last;
                None
            }
            Found::Lost {
                last,
                reason,
                is_counted,
            } => {
                let (requested, missed) = (self.position(), last - self.at);
                (self.at, self.known) = (last, last);
                metrics::gap(reason.as_str());
                Some(Step::Gap(Gap {
                    reason,
                    requested: requested.to_string().into(),
                    resume_after: self.position(),
                    missed: is_counted.then_some(missed),
                }))
            }
        }
    }
}

async fn changed<H>(mut changes: watch::Receiver<H>) -> watch::Receiver<H> {
    // It fails only if the sender is gone, and the reader keeps that alive.
    if changes.changed().await.is_err() {
        std::future::pending::<()>().await;
    }
    changes
}
