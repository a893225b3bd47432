//! One page of a session's events, put together from its runs. Pure.

use bytes::{Bytes, BytesMut};

use super::frames;

/// What a reader gets next. Every piece continues where the one before ended, so a page has no hole: what is not there
/// is named.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Piece {
    /// Whole frames, back to back: all that this reader is shown up to event `last`. Hidden events between them and
    /// after them are skipped with them.
    Frames { bytes: Bytes, last: u64 },
    /// This reader is shown nothing up to event `last`.
    Skipped { last: u64 },
    /// The events up to `last` are lost: they were dropped from memory before they could be written.
    Lost { last: u64 },
    /// Retention removed the events before `oldest`.
    Removed { oldest: u64 },
}

/// A row of the table of runs.
pub(super) struct Found<'a> {
    pub(super) first: u64,
    pub(super) last: u64,
    /// Nothing for a hidden run that was not asked for.
    pub(super) frames: Option<&'a [u8]>,
}

/// A page that is being put together.
pub(super) struct Page<'a> {
    epoch: &'a str,
    /// The next event it needs.
    next: u64,
    upto: u64,
    pieces: Vec<Piece>,
    bytes: BytesMut,
}

/// A page with so many bytes is full. The last run may exceed this.
const PAGE_BYTES: usize = 256 << 10;

// === impl Page ===

impl<'a> Page<'a> {
    pub(super) fn new(epoch: &'a str, after: u64, upto: u64) -> Self {
        Self {
            epoch,
            next: after + 1,
            upto,
            pieces: Vec::new(),
            bytes: BytesMut::new(),
        }
    }

    pub(super) fn is_full(&self) -> bool {
        self.next > self.upto || self.bytes.len() >= PAGE_BYTES
    }

    /// The next run. `is_oldest` says that the session has none before it.
    pub(super) fn add(&mut self, found: &Found<'_>, is_oldest: bool) {
        // A run that ends before it begins is forged.
        if found.last < self.next || found.last < found.first || found.first > self.upto {
            return;
        }
        if found.first > self.next {
            if is_oldest {
                self.pieces.push(Piece::Removed {
                    oldest: found.first,
                });
                self.next = found.first;
            } else {
                self.lose(found.first - 1);
            }
        }
        let last = found.last.min(self.upto);
        match found.frames {
            None => self.skip(last),
            Some([]) => self.lose(last),
            Some(frames) => {
                let skipped = frames::end_of(frames, self.next - found.first);
                let frames = frames.get(skipped..).unwrap_or_default();
                let length = if last < found.last {
                    frames::end_of(frames, last + 1 - self.next)
                } else {
                    frames.len()
                };
                match &frames[..length] {
                    // It has fewer frames than events.
                    [] => self.lose(last),
                    frames => self.show(frames, last),
                }
            }
        }
    }

    /// The pieces. At the end of the session's runs, what is missing up to the end is lost.
    pub(super) fn finish(mut self, is_end: bool) -> Vec<Piece> {
        if is_end && self.next <= self.upto {
            self.lose(self.upto);
        }
        self.flush();
        self.pieces
    }

    fn show(&mut self, frames: &[u8], last: u64) {
        // Frames that follow skipped events include them.
        if self.bytes.is_empty()
            && let Some(Piece::Skipped { .. }) = self.pieces.last()
        {
            self.pieces.pop();
        }
        let start = self.bytes.len();
        self.bytes.extend_from_slice(frames);
        frames::set_epoch(&mut self.bytes[start..], self.epoch);
        self.next = last + 1;
    }

    fn skip(&mut self, last: u64) {
        if self.bytes.is_empty() {
            match self.pieces.last_mut() {
                Some(Piece::Skipped { last: before }) => *before = last,
                _ => self.pieces.push(Piece::Skipped { last }),
            }
        }
        self.next = last + 1;
    }

    fn lose(&mut self, last: u64) {
        self.flush();
        match self.pieces.last_mut() {
            Some(Piece::Lost { last: before }) => *before = last,
            _ => self.pieces.push(Piece::Lost { last }),
        }
        self.next = last + 1;
    }

    fn flush(&mut self) {
        if !self.bytes.is_empty() {
            self.pieces.push(Piece::Frames {
                bytes: self.bytes.split().freeze(),
                last: self.next - 1,
            });
        }
    }
}
