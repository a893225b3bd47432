//! The log of a session, as one reader wants to see it.

use std::sync::Arc;

use bytes::Bytes;
use tokio::sync::watch;

use super::EventLog;
use super::cursor::{Cursor, End, Found, Memory, Readable, Shown};
use super::id::{Epoch, EventId};
use super::readers::{Registered, Transport};
use super::requested::{Gap, GapReason, Requested, resolve};
use super::ring::Read;
use super::turn_span::TurnSpan;
use crate::journal::{Head, Piece};
use crate::metrics::stream as metrics;

/// What a reader wants to see.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct View {
    /// Stay when the session is idle, and wait for its next turn.
    pub(crate) follow: bool,
    /// Also events that carry the model's reasoning.
    pub(crate) reasoning: bool,
    /// How it gets them.
    pub(crate) transport: Transport,
}

/// What opening a cursor finds.
pub(crate) enum Opening {
    /// The session is idle and the reader has all of it.
    UpToDate { last: EventId },
    /// There is something to read or to wait for. The reader is told of the `gap` first, if there is one.
    Reading {
        cursor: Cursor<Reader>,
        gap: Option<Gap>,
    },
}

pub(crate) struct Reader {
    log: EventLog,
    view: View,
    /// The newest event when the reader came: what is older is a replay.
    newest_at_start: u64,
    /// The turn it reads to the end of; nothing for one that reads to the end of the log.
    turn: Option<Arc<TurnSpan>>,
    registered: Registered,
}

// === impl Cursor ===

impl Cursor<Reader> {
    pub(crate) fn open(log: &EventLog, requested: &Requested, view: View) -> Opening {
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
        let reader = Reader {
            log: log.clone(),
            view,
            newest_at_start: head.seq,
            turn: None,
            registered: log.inner.readers.register(view.transport, at),
        };
        let cursor = Self::new(reader, at);
        Opening::Reading { cursor, gap }
    }

    /// Reads the events after number `after` up to the last one of `turn`.
    pub(crate) fn of_turn(log: &EventLog, after: u64, turn: Arc<TurnSpan>) -> Self {
        let (_, head) = log.kept();
        let reader = Reader {
            log: log.clone(),
            view: View::default(),
            newest_at_start: head.seq,
            turn: Some(turn),
            registered: log.inner.readers.register(Transport::Stream, after),
        };
        Self::new(reader, after)
    }
}

// === impl Reader ===

impl Readable for Reader {
    type Head = Head;
    type Piece = Piece;

    fn epoch(&self) -> Epoch {
        self.log.inner.epoch
    }

    fn subscribe(&self) -> watch::Receiver<Head> {
        self.log.inner.watermark.subscribe()
    }

    /// Not past the turn.
    fn shown(&self) -> Shown {
        let head = self.log.inner.watermark.head();
        // The end of the turn is noted before readers may see it.
        let last = self.turn.as_ref().and_then(|turn| turn.last());
        let last = last.filter(|last| *last <= head.seq);
        let is_idle = last.is_some() || head.idle;
        let then = match (head.closed, is_idle && !self.view.follow) {
            (true, _) => Some(End::Closed),
            (false, true) => Some(End::Idle),
            (false, false) => None,
        };
        Shown {
            upto: last.unwrap_or(head.seq),
            then,
        }
    }

    fn read(&mut self, at: u64, upto: u64) -> Memory<Piece> {
        let reasoning = self.view.reasoning;
        let read = self.log.read(at, upto, reasoning);
        let head = self.log.inner.watermark.head();
        let durable = head.durable;
        Memory::Has(match (read, self.log.journal()) {
            (Read::Frames { bytes, last }, _) => self.frames(at, bytes, last),
            (Read::Skipped { last }, _) => self.skipped(last),
            (Read::Evicted { oldest }, Some(journal)) if at < durable => {
                let (journal, number) = (journal.clone(), self.log.inner.number);
                let upto = upto.min(oldest - 1).min(durable);
                return Memory::Lacks(Box::pin(async move {
                    journal.page(number, at, upto, reasoning).await
                }));
            }
            // It is nowhere: there is no disk, or it fails and memory could not hold everything. What is not published
            // yet may be evicted from memory, and is on its way to the disk.
            (Read::Evicted { oldest }, _) => lost(oldest.min(head.seq + 1), GapReason::Lagged),
        })
    }

    fn take(&mut self, at: u64, piece: Piece) -> Found {
        match piece {
            Piece::Frames { bytes, last } => self.frames(at, bytes, last),
            Piece::Skipped { last } => self.skipped(last),
            // They were shown while the disk failed, and were dropped from memory before they could be written.
            Piece::Lost { last } => lost(last + 1, GapReason::Evicted),
            Piece::Removed { oldest } => {
                self.log.inner.watermark.trim(oldest);
                lost(oldest, GapReason::Lagged)
            }
        }
    }
}

impl Reader {
    /// The frames of the events after `at`, up to `last`. Frames that lie together are of events without a hole.
    fn frames(&self, at: u64, bytes: Bytes, last: u64) -> Found {
        let delivery = &self.log.inner.delivery;
        delivery.delivered(last, self.newest_at_start);
        self.registered.passed(last);
        Found::Frames {
            bytes,
            events: last - at,
            shown: last,
            last,
        }
    }

    fn skipped(&self, last: u64) -> Found {
        self.registered.passed(last);
        Found::Skipped { last }
    }
}

/// What came before event `oldest` cannot be had.
const fn lost(oldest: u64, reason: GapReason) -> Found {
    Found::Lost {
        last: oldest - 1,
        reason,
        is_counted: true,
    }
}
