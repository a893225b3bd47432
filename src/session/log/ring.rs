//! What one log keeps in memory: frames back to back in segments, oldest first.
//!
//! It owns the bytes and their index, and assigns the numbers. Frames are read as one slice without copying (from the
//! segment that is still being filled they are copied once for all readers), and memory is freed a whole segment at a
//! time. It has no lock and wakes nobody: the log does both.

use std::collections::VecDeque;
use std::ops::Range;

use bytes::Bytes;

use super::frame;
use super::id::Epoch;

/// Bounds of what one log keeps.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Limits {
    pub(crate) events: usize,
    pub(crate) bytes: usize,
}

/// What a reader finds after an event.
#[derive(Debug, PartialEq, Eq)]
pub(in crate::session) enum Read {
    /// Whole frames in order; the last one is `last`.
    Frames { bytes: Bytes, last: u64 },
    /// Events up to `last` that this reader is not shown.
    Skipped { last: u64 },
    /// The next event is not here any more; the oldest one here is `oldest`.
    Evicted { oldest: u64 },
}

pub(super) struct Ring {
    epoch: Epoch,
    limits: Limits,
    sealed: VecDeque<Segment>,
    active: Active,
    /// Of the sealed segments, index included.
    sealed_bytes: usize,
    sealed_events: usize,
}

/// A run of events that no longer changes.
struct Segment {
    index: Index,
    frames: Bytes,
}

/// The run that still grows.
struct Active {
    index: Index,
    frames: Vec<u8>,
    /// The latest piece that a reader took and where it starts. Readers that come for the same piece share this copy.
    taken: Option<(usize, Bytes)>,
}

/// Where each frame ends, and whether it is hidden.
struct Index {
    first: u64,
    /// Twice the end, plus one if the event is shown only to readers that ask for reasoning.
    marks: Vec<usize>,
}

/// A segment is sealed before it grows past this: large enough for efficient writes to a socket, small enough that
/// evicting one loses little.
const SEGMENT_BYTES: usize = 64 * 1024;
/// A log evicts at most about this part of its bound at a time.
const SEGMENTS_PER_LOG: usize = 8;

// === impl Limits ===

impl Default for Limits {
    fn default() -> Self {
        Self {
            events: 4096,
            bytes: 8 << 20,
        }
    }
}

impl Limits {
    fn segment_events(self) -> usize {
        (self.events / SEGMENTS_PER_LOG).max(1)
    }

    fn segment_bytes(self) -> usize {
        (self.bytes / SEGMENTS_PER_LOG).min(SEGMENT_BYTES)
    }
}

// === impl Ring ===

impl Ring {
    /// An empty one, whose next event is `last + 1`.
    pub(super) fn after(last: u64, epoch: Epoch, limits: Limits) -> Self {
        Self {
            epoch,
            limits,
            sealed: VecDeque::new(),
            active: Active::starting_at(last + 1),
            sealed_bytes: 0,
            sealed_events: 0,
        }
    }

    /// Adds an event and evicts what is over the bounds. Returns the number and the frame.
    pub(super) fn push(&mut self, kind: &str, data: &str, hidden: bool) -> (u64, &[u8]) {
        let need = frame::OVERHEAD + kind.len() + data.len();
        let full = self.active.index.len() >= self.limits.segment_events()
            || self.active.frames.len() + need > self.limits.segment_bytes();
        if full {
            self.seal();
        }
        let id = self.epoch.at(self.active.index.next());
        let start = self.active.frames.len();
        frame::encode(&mut self.active.frames, kind, id, data);
        self.active.index.push(self.active.frames.len(), hidden);
        self.trim();
        (id.seq, &self.active.frames[start..])
    }

    fn trim(&mut self) {
        while self.events() > self.limits.events || self.bytes() > self.limits.bytes {
            if !self.evict_segment() {
                break;
            }
        }
    }

    /// Ends the active segment, so that it takes exactly the memory it needs.
    pub(super) fn seal(&mut self) {
        if self.active.index.len() == 0 {
            return;
        }
        let next = Active::starting_at(self.active.index.next());
        let mut full = std::mem::replace(&mut self.active, next);
        full.index.marks.shrink_to_fit();
        let segment = Segment {
            index: full.index,
            frames: Bytes::from(full.frames.into_boxed_slice()),
        };
        self.sealed_bytes += segment.bytes();
        self.sealed_events += segment.index.len();
        self.sealed.push_back(segment);
    }

    /// Evicts the oldest sealed segment; false if there is none.
    pub(super) fn evict_segment(&mut self) -> bool {
        let Some(segment) = self.sealed.pop_front() else {
            return false;
        };
        self.sealed_bytes -= segment.bytes();
        self.sealed_events -= segment.index.len();
        true
    }

    /// What comes after event `after`, no further than `upto`, which must be past `after`.
    pub(super) fn read(&mut self, after: u64, upto: u64, reasoning: bool) -> Read {
        let want = after + 1;
        if want < self.oldest() {
            return Read::Evicted {
                oldest: self.oldest(),
            };
        }
        if want >= self.active.index.first {
            let (range, last) = self.active.index.run(want, upto, reasoning);
            return Read::new(range, last, |range| self.active.take(range));
        }
        let place = self
            .sealed
            .partition_point(|segment| segment.index.first <= want)
            - 1;
        let segment = &self.sealed[place];
        let (range, last) = segment.index.run(want, upto, reasoning);
        Read::new(range, last, |range| segment.frames.slice(range))
    }

    /// The last event; what came before the first one if there is none.
    pub(super) fn last(&self) -> u64 {
        self.active.index.next() - 1
    }

    /// The oldest event here; the next one to come if nothing is.
    pub(super) fn oldest(&self) -> u64 {
        self.sealed
            .front()
            .map_or(self.active.index.first, |segment| segment.index.first)
    }

    /// All bytes held, index included.
    pub(super) fn bytes(&self) -> usize {
        self.sealed_bytes + self.active.frames.len() + self.active.index.bytes()
    }

    /// The bytes that [`Self::evict_segment`] can free.
    pub(super) fn evictable_bytes(&self) -> usize {
        self.sealed_bytes
    }

    fn events(&self) -> usize {
        self.sealed_events + self.active.index.len()
    }
}

// === impl Read ===

impl Read {
    fn new(range: Range<usize>, last: u64, take: impl FnOnce(Range<usize>) -> Bytes) -> Self {
        if range.is_empty() {
            return Self::Skipped { last };
        }
        Self::Frames {
            bytes: take(range),
            last,
        }
    }
}

// === impl Segment ===

impl Segment {
    fn bytes(&self) -> usize {
        self.frames.len() + self.index.bytes()
    }
}

// === impl Active ===

impl Active {
    const fn starting_at(first: u64) -> Self {
        Self {
            index: Index {
                first,
                marks: Vec::new(),
            },
            frames: Vec::new(),
            taken: None,
        }
    }

    /// The bytes of `range`: a part of the piece last taken if that covers it, else a new piece.
    fn take(&mut self, range: Range<usize>) -> Bytes {
        if let Some((start, piece)) = &self.taken
            && *start <= range.start
            && range.end <= start + piece.len()
        {
            return piece.slice(range.start - start..range.end - start);
        }
        let start = range.start;
        let piece = Bytes::copy_from_slice(&self.frames[range]);
        self.taken = Some((start, piece.clone()));
        piece
    }
}

// === impl Index ===

impl Index {
    fn push(&mut self, end: usize, hidden: bool) {
        self.marks.push(end << 1 | usize::from(hidden));
    }

    fn len(&self) -> usize {
        self.marks.len()
    }

    fn bytes(&self) -> usize {
        self.marks.len() * size_of::<usize>()
    }

    /// The number after the last event here.
    fn next(&self) -> u64 {
        self.first + self.marks.len() as u64
    }

    /// The bytes of the next frames from event `want` up to `upto` that this reader is shown, and the last event it has
    /// passed after them. The range is empty if it is shown none.
    fn run(&self, want: u64, upto: u64, reasoning: bool) -> (Range<usize>, u64) {
        let place = |seq: u64| usize::try_from(seq - self.first).unwrap_or(usize::MAX);
        let end = place(upto + 1).min(self.marks.len());
        let (mut from, mut to) = (place(want).min(end), end);
        if !reasoning {
            let hidden = |place: &usize| self.marks[*place] & 1 == 1;
            from = (from..end).find(|place| !hidden(place)).unwrap_or(end);
            to = (from..end).find(hidden).unwrap_or(end);
        }
        (self.end(from)..self.end(to), self.first + to as u64 - 1)
    }

    /// Where the first `count` frames end.
    fn end(&self, count: usize) -> usize {
        count.checked_sub(1).map_or(0, |last| self.marks[last] >> 1)
    }
}

#[cfg(test)]
mod tests;
