//! What one log keeps in memory: frames back to back in segments, oldest first.
//!
//! Owns the bytes and their index, and gives out the numbers. Promises that a run of frames is read as
//! one slice without copying (from the segment still being filled it is copied once for all readers),
//! and that memory goes back a whole segment at a time. Has no lock and wakes nobody: [`super::EventLog`]
//! does both.

use std::collections::VecDeque;
use std::ops::Range;

use bytes::Bytes;

use super::frame;
use super::id::{Epoch, EventId};
use crate::journal::Run;

/// Bounds of what one log keeps.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Limits {
    pub(crate) events: usize,
    pub(crate) bytes: usize,
}

/// Who is shown an event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Shown {
    Always,
    /// Only to readers that asked for reasoning.
    OnRequest,
}

/// What a reader that stands after one event finds next.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Read {
    /// Whole frames in order; the last one is `last`.
    Frames { bytes: Bytes, last: u64 },
    /// Events up to `last` that this reader is not shown.
    Passed { last: u64 },
    /// The next event is not here any more; the oldest one here is `oldest`.
    Evicted { oldest: u64 },
}

pub(super) struct Ring {
    epoch: Epoch,
    limits: Limits,
    sealed: VecDeque<Segment>,
    active: Active,
    /// Events past this one are nowhere else yet, so they are not given back.
    floor: u64,
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
    /// The latest piece that a reader took and where it starts. The readers that come for the same
    /// piece share it: one copy for all, not one each. Goes when the segment is sealed.
    taken: Option<(usize, Bytes)>,
}

/// Where each frame ends, and whether it is shown always.
struct Index {
    first: u64,
    /// Twice the end, plus one if the event is shown only on request.
    marks: Vec<usize>,
}

/// A segment is sealed before it grows past this: large enough that a write to a socket is a good
/// one, small enough that giving one back hurts little.
const SEGMENT_BYTES: usize = 64 * 1024;
/// A log gives back at most about this part of its bound at a time.
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
    /// One that goes on after event `last`.
    pub(super) fn after(last: u64, epoch: Epoch, limits: Limits) -> Self {
        Self {
            epoch,
            limits,
            sealed: VecDeque::new(),
            active: Active::starting_at(last + 1),
            floor: u64::MAX,
            sealed_bytes: 0,
            sealed_events: 0,
        }
    }

    /// Adds an event and gives back what is over the bounds.
    pub(super) fn push(&mut self, kind: &str, data: &str, shown: Shown) -> EventId {
        let need = frame::OVERHEAD + kind.len() + data.len();
        let full = self.active.index.len() >= self.limits.segment_events()
            || self.active.frames.len() + need > self.limits.segment_bytes();
        if full {
            self.seal();
        }
        let id = self.epoch.at(self.active.index.next());
        frame::encode(&mut self.active.frames, kind, id, data);
        self.active.index.push(self.active.frames.len(), shown);
        self.trim();
        id
    }

    /// Lets the events up to `floor` go when there is need, and those after it in no case.
    pub(super) fn hold_after(&mut self, floor: u64) {
        self.floor = floor;
        self.trim();
    }

    fn trim(&mut self) {
        while self.events() > self.limits.events || self.bytes() > self.limits.bytes {
            if !self.evict_segment() {
                break;
            }
        }
    }

    /// Ends the active segment, so that it takes exactly the room it needs.
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

    /// Gives the oldest sealed segment back; false if there is none to give.
    pub(super) fn evict_segment(&mut self) -> bool {
        let floor = self.floor;
        let Some(segment) = self
            .sealed
            .pop_front_if(|segment| segment.index.next() - 1 <= floor)
        else {
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

    /// Everything after event `after`, for the disk. What is not here any more is a run without frames.
    pub(super) fn runs(&mut self, after: u64) -> Vec<Run> {
        let mut runs = Vec::new();
        let mut want = after + 1;
        if want < self.oldest() {
            let (first, last) = (want, self.oldest() - 1);
            runs.push(Run {
                first,
                last,
                hidden: false,
                frames: Bytes::new(),
            });
            want = last + 1;
        }
        let from = self
            .sealed
            .partition_point(|segment| segment.index.next() <= want);
        for segment in self.sealed.iter().skip(from) {
            while want < segment.index.next() {
                let (range, mut run) = segment.index.alike(want);
                run.frames = segment.frames.slice(range);
                want = run.last + 1;
                runs.push(run);
            }
        }
        while want < self.active.index.next() {
            let (range, mut run) = self.active.index.alike(want);
            run.frames = self.active.take(range);
            want = run.last + 1;
            runs.push(run);
        }
        runs
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

    /// The bytes that [`Self::evict_segment`] can give back; none while the oldest must stay.
    pub(super) fn givable_bytes(&self) -> usize {
        match self.sealed.front() {
            Some(oldest) if oldest.index.next() - 1 <= self.floor => self.sealed_bytes,
            _ => 0,
        }
    }

    fn events(&self) -> usize {
        self.sealed_events + self.active.index.len()
    }
}

// === impl Read ===

impl Read {
    fn new(range: Range<usize>, last: u64, take: impl FnOnce(Range<usize>) -> Bytes) -> Self {
        if range.is_empty() {
            return Self::Passed { last };
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
    fn push(&mut self, end: usize, shown: Shown) {
        self.marks
            .push(end << 1 | usize::from(shown == Shown::OnRequest));
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

    /// From event `want` on, up to `upto`: the bytes of the next run this reader is shown, and the last
    /// event it stands at after that. An empty range if it is shown none of them.
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

    /// The events from `want` on, which is here, that are shown to the same readers as it is, and where
    /// their frames are.
    fn alike(&self, want: u64) -> (Range<usize>, Run) {
        let from = usize::try_from(want - self.first).unwrap_or(usize::MAX);
        let hidden = |place: usize| self.marks[place] & 1 == 1;
        let kind = hidden(from);
        let to = (from..self.marks.len())
            .find(|place| hidden(*place) != kind)
            .unwrap_or(self.marks.len());
        let run = Run {
            first: want,
            last: self.first + to as u64 - 1,
            hidden: kind,
            frames: Bytes::new(),
        };
        (self.end(from)..self.end(to), run)
    }

    /// Where the first `count` frames end.
    fn end(&self, count: usize) -> usize {
        count.checked_sub(1).map_or(0, |last| self.marks[last] >> 1)
    }
}

#[cfg(test)]
mod tests;
