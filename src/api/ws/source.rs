//! Where the frames of a WebSocket come from.

use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::{Buf as _, Bytes};
use tokio_util::sync::CancellationToken;

use super::close::Close;
use super::readers::{BLOCK_BYTES, Readers, Run};
use crate::api::encode::ws;
use crate::session::all_events;
use crate::session::limits::StreamPermit;
use crate::session::log::{self, Cursor, End, Gap, Step, View};

/// What is told over a WebSocket. It is pulled: nothing is made for a socket that takes nothing.
pub(crate) trait Source: Send {
    /// What comes next, as soon as there is something.
    fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<Output>;

    /// What there is to say in a silence: where the reader stands, if it has passed events it was not shown.
    fn passed(&mut self) -> Option<Bytes>;

    /// How many events went out, and how many more could be read now.
    fn progress(&self) -> (u64, u64);
}

/// The next of a source.
#[derive(Debug)]
pub(crate) enum Output {
    /// Whole frames.
    Frames(Bytes),
    End(Close),
}

/// The log of one session, at one reader's place.
pub(crate) struct SessionEvents {
    /// Without one there was nothing to read or to wait for.
    cursor: Option<Cursor<log::Reader>>,
    /// What the reader is told of first.
    gap: Option<Gap>,
    run: Run,
    readers: Arc<Readers>,
    leaving: CancellationToken,
}

/// The events of all sessions, at one reader's place. Each has a filter of its own and they are few, so their frames are
/// not shared.
pub(crate) struct AllEvents {
    cursor: Cursor<all_events::Reader>,
    /// What the reader is told of first.
    gap: Option<Gap>,
    /// As the cursor gave them; what was taken is gone from the start.
    sse: Bytes,
    /// Held for its drop.
    _permit: StreamPermit,
}

// === impl Source ===

impl Source for Box<dyn Source> {
    fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<Output> {
        (**self).poll_next(cx)
    }

    fn passed(&mut self) -> Option<Bytes> {
        (**self).passed()
    }

    fn progress(&self) -> (u64, u64) {
        (**self).progress()
    }
}

// === impl AllEvents ===

impl AllEvents {
    pub(crate) const fn new(
        cursor: Cursor<all_events::Reader>,
        gap: Option<Gap>,
        permit: StreamPermit,
    ) -> Self {
        Self {
            cursor,
            gap,
            sse: Bytes::new(),
            _permit: permit,
        }
    }
}

impl Source for AllEvents {
    fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<Output> {
        if let Some(gap) = self.gap.take() {
            return Poll::Ready(Output::Frames(ws::gap(&gap)));
        }
        loop {
            if !self.sse.is_empty() {
                let (frames, marks) = ws::frames(&self.sse, BLOCK_BYTES);
                let length = marks.last().map_or(self.sse.len(), |mark| mark.sse);
                self.sse.advance(length);
                return Poll::Ready(Output::Frames(frames.into()));
            }
            match ready!(self.cursor.poll_next(cx)) {
                Step::Frames(sse) => self.sse = sse,
                Step::Gap(gap) => return Poll::Ready(Output::Frames(ws::gap(&gap))),
                Step::End(End::Unreadable) => return Poll::Ready(Output::End(Close::unreadable())),
                // It is closed when the process ends.
                Step::End(_) => return Poll::Ready(Output::End(Close::going_away())),
            }
        }
    }

    fn passed(&mut self) -> Option<Bytes> {
        self.cursor.skipped_to().map(ws::heartbeat)
    }

    fn progress(&self) -> (u64, u64) {
        self.cursor.progress()
    }
}

// === impl SessionEvents ===

impl SessionEvents {
    /// `leaving`: the process is about to end.
    pub(crate) fn new(
        opened: Option<(Cursor<log::Reader>, Option<Gap>)>,
        view: View,
        readers: Arc<Readers>,
        leaving: CancellationToken,
    ) -> Self {
        let (cursor, gap) = opened.unzip();
        Self {
            cursor,
            gap: gap.flatten(),
            run: Run {
                sse: Bytes::new(),
                last: 0,
                reasoning: view.reasoning,
            },
            readers,
            leaving,
        }
    }

    fn end(&self, end: End) -> Output {
        let leaving = self.leaving.is_cancelled();
        Output::End(match end {
            _ if leaving => Close::going_away(),
            End::Idle => Close::idle(),
            End::Closed => Close::gone(),
            End::Unreadable => Close::unreadable(),
        })
    }
}

impl Source for SessionEvents {
    fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<Output> {
        if let Some(gap) = self.gap.take() {
            return Poll::Ready(Output::Frames(ws::gap(&gap)));
        }
        loop {
            if !self.run.sse.is_empty() {
                return Poll::Ready(Output::Frames(self.readers.take(&mut self.run)));
            }
            let Some(cursor) = &mut self.cursor else {
                return Poll::Ready(self.end(End::Idle));
            };
            match ready!(cursor.poll_next(cx)) {
                Step::Frames(sse) => {
                    self.run.sse = sse;
                    self.run.last = cursor.position().seq;
                }
                Step::Gap(gap) => return Poll::Ready(Output::Frames(ws::gap(&gap))),
                Step::End(end) => return Poll::Ready(self.end(end)),
            }
        }
    }

    fn passed(&mut self) -> Option<Bytes> {
        self.cursor.as_mut()?.skipped_to().map(ws::heartbeat)
    }

    fn progress(&self) -> (u64, u64) {
        self.cursor.as_ref().map_or((0, 0), Cursor::progress)
    }
}
