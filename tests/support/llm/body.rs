//! An answer's bytes, in time.

use std::collections::VecDeque;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use http_body::{Body, Frame};
use tokio::time::Sleep;

use super::Answering;

#[derive(Clone, Debug)]
pub(super) enum Piece {
    Data(Bytes),
    Repeat(Bytes, usize),
    Pause(Duration),
    Drop,
    Dropped,
    Hang,
    Drip(Duration),
}

#[derive(Debug)]
pub(super) struct Pieces {
    left: VecDeque<Piece>,
    pause: Option<Pin<Box<Sleep>>>,
    /// Counts the answer until it goes.
    guard: Answering,
}

// === impl Pieces ===

impl Pieces {
    pub(super) fn new(pieces: Vec<Piece>, guard: Answering) -> Self {
        Self {
            left: pieces.into(),
            pause: None,
            guard,
        }
    }

    fn rest(&mut self, delay: Duration) {
        self.pause = Some(Box::pin(tokio::time::sleep(delay)));
    }
}

impl Body for Pieces {
    type Data = Bytes;
    type Error = std::io::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, std::io::Error>>> {
        loop {
            if let Some(pause) = &mut self.pause {
                ready!(pause.as_mut().poll(cx));
                self.pause = None;
            }
            let data = match self.left.pop_front() {
                None => {
                    self.guard.complete = true;
                    return Poll::Ready(None);
                }
                Some(Piece::Data(data)) => data,
                Some(Piece::Repeat(_, 0)) => continue,
                Some(Piece::Repeat(data, times)) => {
                    self.left.push_front(Piece::Repeat(data.clone(), times - 1));
                    data
                }
                Some(Piece::Pause(delay)) => {
                    self.rest(delay);
                    continue;
                }
                Some(Piece::Drop) => {
                    // The server drops what it has not written when a body fails: let it write.
                    self.left.push_front(Piece::Dropped);
                    cx.waker().wake_by_ref();
                    return Poll::Pending;
                }
                Some(Piece::Dropped) => {
                    let error = std::io::Error::other("the script says drop");
                    return Poll::Ready(Some(Err(error)));
                }
                Some(Piece::Hang) => {
                    // Only the caller's hanging up ends this; the server then drops the body.
                    self.left.push_front(Piece::Hang);
                    return Poll::Pending;
                }
                Some(Piece::Drip(every)) => {
                    self.left.push_front(Piece::Drip(every));
                    self.rest(every);
                    Bytes::from_static(b":")
                }
            };
            return Poll::Ready(Some(Ok(Frame::data(data))));
        }
    }

    fn is_end_stream(&self) -> bool {
        false
    }
}
