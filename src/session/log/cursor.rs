//! A reader's place in a log. It pulls; the log does not know it exists.
//!
//! The place is a number, so a reader that stops costs nothing but its own few bytes, and one that is overtaken finds out
//! when it comes back. It waits on the watermark, never on a queue. What memory does not have any more is read from the
//! disk, a page at a time.

use std::collections::VecDeque;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use futures_util::future::BoxFuture;
use tokio::sync::watch;
use tokio_util::sync::ReusableBoxFuture;

use super::EventLog;
use super::id::EventId;
use super::requested::{Gap, GapReason, Requested, resolve};
use super::ring::Read;
use super::turn_span::TurnSpan;
use crate::journal::{Head, JournalError, Piece};
use crate::metrics::stream as metrics;

/// What a reader wants to see.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct View {
    /// Stay when the session is idle, and wait for its next turn.
    pub(crate) follow: bool,
    /// Also events that carry the model's reasoning.
    pub(crate) reasoning: bool,
}

/// What opening a cursor finds.
pub(crate) enum Opening {
    /// The session is idle and the reader has all of it.
    UpToDate { last: EventId },
    /// There is something to read or to wait for. The reader is told of the `gap` first, if there is one.
    Reading { cursor: Cursor, gap: Option<Gap> },
}

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

type Page = Result<Vec<Piece>, JournalError>;

pub(crate) struct Cursor {
    log: EventLog,
    view: View,
    /// The last event passed, whether it was shown or not.
    at: u64,
    /// The last event that the reader knows it has passed.
    known: u64,
    /// How many went out.
    sent: u32,
    /// The newest event when the reader came: what is older is a replay.
    newest_at_start: u64,
    /// The published head when it was last read.
    head: Head,
    /// Waits for a change of the head. It is allocated once in the life of the cursor.
    change: ReusableBoxFuture<'static, watch::Receiver<Head>>,
    /// A page that is being read from the disk, and what is left of the one before.
    page: Option<BoxFuture<'static, Page>>,
    pieces: VecDeque<Piece>,
    /// The disk could not be read: the stream ends, and the reader comes back later.
    broken: bool,
    /// The turn it reads to the end of; nothing for one that reads to the end of the log.
    turn: Option<Arc<TurnSpan>>,
}

// === impl Cursor ===

impl Cursor {
    pub(crate) fn open(log: &EventLog, requested: &Requested, view: View) -> Opening {
        let log = log.clone();
        let (kept, head) = log.kept();
        let (at, gap) = resolve(requested, kept);
        if gap.is_none() && at == head.seq && head.idle && !view.follow {
            return Opening::UpToDate {
                last: log.inner.epoch.at(at),
            };
        }
        metrics::opened(at < head.seq);
        if let Some(gap) = &gap {
            metrics::gap(gap.reason.as_str());
        }
        let cursor = Self::new(log, at, head, view);
        Opening::Reading { cursor, gap }
    }

    /// Reads the events after number `after` up to the last one of `turn`.
    pub(crate) fn of_turn(log: &EventLog, after: u64, turn: Arc<TurnSpan>) -> Self {
        let log = log.clone();
        let (_, head) = log.kept();
        let mut cursor = Self::new(log, after, head, View::default());
        cursor.turn = Some(turn);
        cursor.refresh();
        cursor
    }

    fn new(log: EventLog, at: u64, head: Head, view: View) -> Self {
        let change = ReusableBoxFuture::new(changed(log.inner.watermark.subscribe()));
        Self {
            log,
            view,
            at,
            known: at,
            sent: 0,
            newest_at_start: head.seq,
            head,
            change,
            page: None,
            pieces: VecDeque::new(),
            broken: false,
            turn: None,
        }
    }

    /// Reads how far the log may be read now, but not past the turn.
    fn refresh(&mut self) {
        self.head = self.log.inner.watermark.head();
        // The end of the turn is noted before readers may see it.
        let last = self.turn.as_ref().and_then(|turn| turn.last());
        if let Some(last) = last.filter(|last| *last <= self.head.seq) {
            (self.head.seq, self.head.idle) = (last, true);
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
            self.refresh();
            if self.head.seq > self.at {
                continue;
            }
            if self.head.closed {
                return Poll::Ready(Step::End(End::Closed));
            }
            if self.head.idle && !self.view.follow {
                return Poll::Ready(Step::End(End::Idle));
            }
            // This may be a change that was seen above already; then the loop comes back here once.
            let changes = ready!(self.change.poll(cx));
            self.change.set(changed(changes));
        }
    }

    /// Where the reader stands.
    pub(crate) fn position(&self) -> EventId {
        self.log.inner.epoch.at(self.at)
    }

    /// How many events went out, and how many more could be read now.
    pub(crate) fn progress(&self) -> (u64, u64) {
        let head = self.log.inner.watermark.head();
        (self.sent.into(), head.seq.saturating_sub(self.at))
    }

    /// The place to tell a reader that has skipped events it is not shown, once per place. A reader that comes back from
    /// there is not told of a gap over events it never wanted.
    pub(crate) fn skipped_to(&mut self) -> Option<EventId> {
        let has_skipped = self.known < self.at;
        self.known = self.at;
        has_skipped.then(|| self.position())
    }

    /// The next frames up to the head when it was last read; nothing when the reader is there.
    fn poll_read(&mut self, cx: &mut Context<'_>) -> Poll<Option<Step>> {
        while self.at < self.head.seq {
            if self.broken {
                let closed = self.log.inner.watermark.head().closed;
                let end = if closed { End::Closed } else { End::Unreadable };
                return Poll::Ready(Some(Step::End(end)));
            }
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
                if !self.log.inner.watermark.head().closed {
                    tracing::error!(%error, "events could not be read from the journal");
                }
                self.broken = true;
            }
        }
        Poll::Ready(())
    }

    /// The next step out of memory; nothing if there is none, or if the disk has to be asked.
    fn read(&mut self) -> Option<Step> {
        let (upto, reasoning) = (self.head.seq, self.view.reasoning);
        let read = self.log.read(self.at, upto, reasoning);
        let head = self.log.inner.watermark.head();
        let durable = head.durable;
        match (read, self.log.journal()) {
            (Read::Frames { bytes, last }, _) => return Some(self.pass(bytes, last)),
            (Read::Skipped { last }, _) => self.at = last,
            (Read::Evicted { oldest }, Some(journal)) if self.at < durable => {
                let (journal, number) = (journal.clone(), self.log.inner.number);
                let (after, upto) = (self.at, upto.min(oldest - 1).min(durable));
                self.page = Some(Box::pin(async move {
                    journal.page(number, after, upto, reasoning).await
                }));
            }
            // It is nowhere: there is no disk, or it fails and memory could not hold everything.
            (Read::Evicted { oldest }, _) => {
                // What is not published yet may be evicted from memory, and is on its way to the disk.
                let oldest = oldest.min(head.seq + 1);
                return Some(Step::Gap(self.overtaken(oldest, GapReason::Lagged)));
            }
        }
        None
    }

    /// The next step out of a page.
    fn take(&mut self, piece: Piece) -> Option<Step> {
        match piece {
            Piece::Frames { bytes, last } => Some(self.pass(bytes, last)),
            Piece::Skipped { last } => {
                self.at = last;
                None
            }
            // They were shown while the disk failed, and were dropped from memory before they could be written.
            Piece::Lost { last } => Some(Step::Gap(self.overtaken(last + 1, GapReason::Evicted))),
            Piece::Removed { oldest } => {
                self.log.inner.watermark.trim(oldest);
                Some(Step::Gap(self.overtaken(oldest, GapReason::Lagged)))
            }
        }
    }

    fn pass(&mut self, bytes: Bytes, last: u64) -> Step {
        // Frames that lie together are of events without a hole.
        let count = u32::try_from(last - self.at).unwrap_or(u32::MAX);
        self.sent = self.sent.saturating_add(count);
        self.move_to(last);
        let delivery = &self.log.inner.delivery;
        delivery.delivered(last, self.newest_at_start);
        Step::Frames(bytes)
    }

    fn overtaken(&mut self, oldest: u64, reason: GapReason) -> Gap {
        let (requested, missed) = (self.position(), oldest - 1 - self.at);
        self.move_to(oldest - 1);
        metrics::gap(reason.as_str());
        Gap {
            reason,
            requested: requested.to_string().into(),
            resume_after: self.position(),
            missed: Some(missed),
        }
    }

    fn move_to(&mut self, seq: u64) {
        self.at = seq;
        self.known = seq;
    }
}

async fn changed(mut changes: watch::Receiver<Head>) -> watch::Receiver<Head> {
    // It fails only if the sender is gone, and the cursor keeps that alive.
    if changes.changed().await.is_err() {
        std::future::pending::<()>().await;
    }
    changes
}
