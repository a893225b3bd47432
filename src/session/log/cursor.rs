//! A reader's place in a log. It pulls; the log does not know it exists.
//!
//! The place is a number, so a reader that stops costs nothing but its own few bytes, and one that is
//! overtaken finds out when it comes back. Waiting is on the published head, never on a queue.

use std::future::poll_fn;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use tokio::sync::watch;
use tokio_util::sync::ReusableBoxFuture;

use super::asked::{Asked, Gap, GapReason, resolve};
use super::id::EventId;
use super::ring::Read;
use super::{EventLog, Head, Shared};

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
    /// There is something to read or to wait for. If `gap` is there, the reader must hear of it first.
    Reading { cursor: Cursor, gap: Option<Gap> },
}

/// What comes next.
#[derive(Debug)]
pub(crate) enum Step {
    /// Whole frames, as many as lie together; `last` is the id in the last one.
    Frames {
        bytes: Bytes,
        #[cfg_attr(not(test), expect(dead_code, reason = "tests follow it"))]
        last: EventId,
    },
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
}

pub(crate) struct Cursor {
    log: Arc<Shared>,
    view: View,
    /// The last event passed, whether it was shown or not.
    at: u64,
    /// The last event the reader knows it has passed.
    told: u64,
    /// The published head as last looked at.
    head: Head,
    /// Waits for a change of the head. One allocation for the whole life of the cursor.
    change: ReusableBoxFuture<'static, watch::Receiver<Head>>,
}

// === impl Cursor ===

impl Cursor {
    pub(crate) fn open(log: &EventLog, asked: &Asked, view: View) -> Opening {
        let log = log.shared.clone();
        let (kept, head) = log.kept();
        let (at, gap) = resolve(asked, kept);
        if gap.is_none() && at == head.seq && head.idle && !view.follow {
            return Opening::UpToDate {
                last: log.epoch.at(at),
            };
        }
        let change = ReusableBoxFuture::new(changed(log.head.subscribe()));
        Opening::Reading {
            cursor: Self {
                log,
                view,
                at,
                told: at,
                head,
                change,
            },
            gap,
        }
    }

    /// What comes next, as soon as there is something. Dropping the future loses nothing.
    pub(crate) async fn next(&mut self) -> Step {
        poll_fn(|cx| self.poll_next(cx)).await
    }

    pub(crate) fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<Step> {
        loop {
            if let Some(step) = self.read() {
                return Poll::Ready(step);
            }
            // Looked at after `change` began to watch, so no change can fall between.
            self.head = *self.log.head.borrow();
            if self.head.seq > self.at {
                continue;
            }
            if let Some(end) = self.head.end(self.view.follow) {
                return Poll::Ready(Step::End(end));
            }
            // May be a change that was seen above already; then the loop comes back here once.
            let changes = ready!(self.change.poll(cx));
            self.change.set(changed(changes));
        }
    }

    /// Where the reader stands.
    pub(crate) fn position(&self) -> EventId {
        self.log.epoch.at(self.at)
    }

    /// The place to tell a reader that has passed events it is not shown, once per place. A reader that
    /// comes back from there is not told of a gap over events it never wanted.
    pub(crate) fn untold(&mut self) -> Option<EventId> {
        let news = self.told < self.at;
        self.told = self.at;
        news.then(|| self.position())
    }

    /// The next run of frames up to the head as last looked at.
    fn read(&mut self) -> Option<Step> {
        while self.at < self.head.seq {
            let read = self
                .log
                .ring
                .lock()
                .read(self.at, self.head.seq, self.view.reasoning);
            match read {
                Read::Frames { bytes, last } => {
                    self.move_to(last);
                    return Some(Step::Frames {
                        bytes,
                        last: self.position(),
                    });
                }
                Read::Passed { last } => self.at = last,
                Read::Evicted { oldest } => return Some(Step::Gap(self.overtaken(oldest))),
            }
        }
        None
    }

    fn overtaken(&mut self, oldest: u64) -> Gap {
        let (requested, missed) = (self.position(), oldest - 1 - self.at);
        self.move_to(oldest - 1);
        Gap {
            reason: GapReason::Lagged,
            requested: requested.to_string().into(),
            resume_after: self.position(),
            missed: Some(missed),
        }
    }

    fn move_to(&mut self, seq: u64) {
        self.at = seq;
        self.told = seq;
    }
}

async fn changed(mut changes: watch::Receiver<Head>) -> watch::Receiver<Head> {
    // It fails only if the sender is gone, and the cursor keeps that alive.
    if changes.changed().await.is_err() {
        std::future::pending::<()>().await;
    }
    changes
}
