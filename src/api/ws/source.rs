//! Where the frames of a WebSocket come from.

use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use tokio_util::sync::CancellationToken;

use super::close::Close;
use super::readers::{Readers, Run};
use crate::api::encode::ws;
use crate::session::log::{Cursor, End, Gap, Step, View};

/// What is told over a WebSocket. It is pulled: nothing is made for a socket that takes nothing.
pub(crate) trait Source: Send {
    /// What comes next, as soon as there is something.
    fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<Output>;

    /// What there is to say in a silence: where the reader stands, if it has passed events it was not shown.
    fn passed(&mut self) -> Option<Bytes>;
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
    cursor: Option<Cursor>,
    /// What the reader is told of first.
    gap: Option<Gap>,
    run: Run,
    readers: Arc<Readers>,
    leaving: CancellationToken,
}

// === impl SessionEvents ===

impl SessionEvents {
    /// `leaving`: the process is about to end.
    pub(crate) fn new(
        opened: Option<(Cursor, Option<Gap>)>,
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
}
