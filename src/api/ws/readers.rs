//! The WebSockets of all sessions: how many there are, and the frames that those of one session share.
//!
//! An event is made into a frame by the first reader that comes to it, and the others take what it made, as long as they are
//! not too far apart. Nothing is kept where a session has one reader, and nothing is here where it has none.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Weak};

use bytes::{Buf as _, Bytes};
use parking_lot::Mutex;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::api::encode::ws::{self, Mark};
use crate::session::log::Epoch;

/// WebSockets of one session, part of the contract: a room full of dashboards.
pub(super) const SOCKETS_PER_SESSION: usize = 512;

/// WebSockets that have not said their token yet, part of the contract. They have 5 s each, so this is what strangers can take.
pub(crate) const UNAUTHENTICATED: usize = 64;

/// Made at once: as large as a piece of the log.
pub(super) const BLOCK_BYTES: usize = 64 * 1024;

/// What is kept for the readers of one session, for each of the two views of it.
const KEPT_BYTES: usize = 512 * 1024;
const KEPT_BLOCKS: usize = 256;

/// All WebSockets. Clones are the same.
#[derive(Clone, Debug)]
pub(crate) struct Sockets {
    unauthenticated: Arc<Semaphore>,
    sessions: Arc<Mutex<HashMap<Epoch, Weak<Readers>>>>,
}

/// Those of one session; each holds an `Arc`, which is also what counts them.
#[derive(Debug, Default)]
pub(crate) struct Readers {
    plain: Mutex<Kept>,
    with_reasoning: Mutex<Kept>,
}

/// Frames that were made, by the number of the first event of each block. Blocks do not overlap.
#[derive(Debug, Default)]
struct Kept {
    blocks: BTreeMap<u64, Block>,
    bytes: usize,
    /// Counts the takings.
    clock: u64,
}

#[derive(Debug)]
struct Block {
    marks: Vec<Mark>,
    frames: Bytes,
    used: u64,
}

/// A run of events as the log has it. What was taken is gone from its start.
#[derive(Debug)]
pub(crate) struct Run {
    pub(crate) sse: Bytes,
    /// The last event of it.
    pub(crate) last: u64,
    pub(crate) reasoning: bool,
}

// === impl Sockets ===

impl Default for Sockets {
    fn default() -> Self {
        Self {
            unauthenticated: Arc::new(Semaphore::new(UNAUTHENTICATED)),
            sessions: Arc::default(),
        }
    }
}

impl Sockets {
    /// A place for one that has to say its token, unless all are taken.
    pub(super) fn unauthenticated(&self) -> Option<OwnedSemaphorePermit> {
        self.unauthenticated.clone().try_acquire_owned().ok()
    }

    /// How many have not said their token yet.
    pub(crate) fn waiting_for_token(&self) -> usize {
        UNAUTHENTICATED.saturating_sub(self.unauthenticated.available_permits())
    }

    /// Joins the readers of the log of this epoch, unless there are too many.
    pub(crate) fn join(&self, epoch: Epoch) -> Option<Arc<Readers>> {
        let mut sessions = self.sessions.lock();
        if let Some(readers) = sessions.get(&epoch).and_then(Weak::upgrade) {
            // The one just made is no reader yet.
            return (Arc::strong_count(&readers) <= SOCKETS_PER_SESSION).then_some(readers);
        }
        sessions.retain(|_, readers| readers.strong_count() > 0);
        let readers = Arc::default();
        sessions.insert(epoch, Arc::downgrade(&readers));
        Some(readers)
    }

    /// How many read a session now.
    pub(crate) fn open(&self) -> usize {
        self.sessions.lock().values().map(Weak::strong_count).sum()
    }
}

// === impl Readers ===

impl Readers {
    /// The next frames of a run, as many as lie together.
    pub(crate) fn take(self: &Arc<Self>, run: &mut Run) -> Bytes {
        if Arc::strong_count(self) == 1 {
            let (frames, marks) = ws::frames(&run.sse, BLOCK_BYTES);
            run.advance(marks.last().map(|mark| mark.sse));
            return frames.into();
        }
        let kept = if run.reasoning {
            &self.with_reasoning
        } else {
            &self.plain
        };
        // Held while frames are made, so that nobody makes the same ones: it is some ten microseconds.
        kept.lock().take(run)
    }
}

// === impl Kept ===

impl Kept {
    fn take(&mut self, run: &mut Run) -> Bytes {
        let Some(first) = ws::first_seq(&run.sse) else {
            run.advance(None);
            return Bytes::new();
        };
        self.clock += 1;
        let before = self.blocks.range_mut(..=first).next_back();
        if let Some((_, block)) = before
            && let Some((frames, length)) = block.slice(first, run.last)
        {
            block.used = self.clock;
            run.advance(Some(length));
            return frames;
        }
        let end = self.blocks.range(first..).next().map(|(start, _)| *start);
        let (mut frames, mut marks) = ws::frames(&run.sse, BLOCK_BYTES);
        if let Some(end) = end {
            // What comes then is there already.
            marks.truncate(marks.partition_point(|mark| mark.seq < end));
            frames.truncate(marks.last().map_or(0, |mark| mark.ws));
        }
        frames.shrink_to_fit();
        let frames = Bytes::from(frames);
        run.advance(marks.last().map(|mark| mark.sse));
        let block = Block {
            marks,
            frames: frames.clone(),
            used: self.clock,
        };
        self.bytes += block.bytes();
        self.blocks.insert(first, block);
        self.trim();
        frames
    }

    /// Lets go of what was used longest ago. What was made last stays.
    fn trim(&mut self) {
        while self.blocks.len() > KEPT_BLOCKS || (self.bytes > KEPT_BYTES && self.blocks.len() > 1)
        {
            let oldest = self.blocks.iter().min_by_key(|(_, block)| block.used);
            let Some(first) = oldest.map(|(first, _)| *first) else {
                return;
            };
            if let Some(block) = self.blocks.remove(&first) {
                self.bytes -= block.bytes();
            }
        }
    }
}

// === impl Block ===

impl Block {
    fn bytes(&self) -> usize {
        self.frames.len() + self.marks.len() * size_of::<Mark>()
    }

    /// The frames from event `first` to event `last` or the end of the block, and how many bytes of an event stream they are.
    fn slice(&self, first: u64, last: u64) -> Option<(Bytes, usize)> {
        let from = self
            .marks
            .binary_search_by_key(&first, |mark| mark.seq)
            .ok()?;
        let to = self.marks.partition_point(|mark| mark.seq <= last);
        let end = self.marks.get(to.checked_sub(1)?)?;
        let start = from.checked_sub(1).and_then(|place| self.marks.get(place));
        let (sse, ws) = start.map_or((0, 0), |mark| (mark.sse, mark.ws));
        Some((self.frames.slice(ws..end.ws), end.sse - sse))
    }
}

// === impl Run ===

impl Run {
    /// Drops what was taken; without a length, what cannot be.
    fn advance(&mut self, length: Option<usize>) {
        self.sse.advance(length.unwrap_or(self.sse.len()));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sse(seqs: impl Iterator<Item = u64>, size: usize) -> Bytes {
        let frame = |seq| {
            let text = "x".repeat(size);
            format!("event: output\nid: abcdefghij-{seq}\ndata: {{\"text\":\"{text}\"}}\n\n")
        };
        seqs.map(frame).collect::<String>().into()
    }

    fn run(first: u64, last: u64) -> Run {
        Run {
            sse: sse(first..=last, 10),
            last,
            reasoning: false,
        }
    }

    fn take_all(readers: &Arc<Readers>, mut run: Run) -> Vec<u8> {
        let mut all = Vec::new();
        while !run.sse.is_empty() {
            all.extend_from_slice(&readers.take(&mut run));
        }
        all
    }

    fn pair() -> (Arc<Readers>, Arc<Readers>) {
        let readers: Arc<Readers> = Arc::default();
        (readers.clone(), readers)
    }

    #[test]
    fn readers_of_any_pieces_get_the_same_bytes_and_share_them() {
        let (one, other) = pair();
        let expected = ws::frames(&run(1, 60).sse, usize::MAX).0;
        // Pieces that begin and end in the middle of those that were made.
        for cuts in [vec![60], vec![7, 60], vec![20, 21, 40, 60], vec![60]] {
            let (mut got, mut from) = (Vec::new(), 1);
            for to in cuts {
                got.extend(take_all(&one, run(from, to)));
                from = to + 1;
            }
            assert_eq!(got, expected);
        }
        let (a, b) = (one.take(&mut run(3, 9)), other.take(&mut run(3, 9)));
        assert_eq!(a.as_ptr(), b.as_ptr(), "one copy");
        assert_eq!(one.plain.lock().blocks.len(), 1, "made once");
    }

    #[test]
    fn a_reader_that_comes_from_behind_makes_what_is_missing_and_no_more() {
        let (one, _other) = pair();
        take_all(&one, run(50, 60));
        take_all(&one, run(20, 30));
        let all = take_all(&one, run(1, 60));
        assert_eq!(all, ws::frames(&run(1, 60).sse, usize::MAX).0);
        let firsts: Vec<u64> = one.plain.lock().blocks.keys().copied().collect();
        assert_eq!(firsts, [1, 20, 31, 50]);
    }

    #[test]
    fn what_is_kept_is_bounded_and_nothing_is_kept_for_one() {
        let (one, other) = pair();
        for at in 0..2000 {
            take_all(&one, run(at * 10 + 1, at * 10 + 5));
        }
        let large = sse(100_000..100_100, 100_000);
        let large = Run {
            sse: large,
            last: 100_099,
            reasoning: false,
        };
        take_all(&one, large);
        let kept = one.plain.lock();
        let bytes: usize = kept.blocks.values().map(Block::bytes).sum();
        assert_eq!(bytes, kept.bytes);
        assert!(bytes <= KEPT_BYTES && kept.blocks.len() <= KEPT_BLOCKS);
        drop(kept);
        drop(other);
        let before = one.plain.lock().clock;
        take_all(&one, run(1, 5));
        assert_eq!(one.plain.lock().clock, before);
    }

    #[test]
    fn with_and_without_reasoning_are_different_runs() {
        let (one, _other) = pair();
        let some = Run {
            sse: sse([1, 2, 5, 6].into_iter(), 10),
            last: 6,
            reasoning: false,
        };
        let all = Run {
            reasoning: true,
            ..run(1, 6)
        };
        assert_eq!(
            take_all(&one, all),
            ws::frames(&run(1, 6).sse, usize::MAX).0
        );
        let expected = ws::frames(&some.sse, usize::MAX).0;
        assert_eq!(take_all(&one, some), expected);
    }

    #[test]
    fn the_513th_reader_is_refused_until_one_goes_and_the_log_is_forgotten_with_the_last() {
        let sockets = Sockets::default();
        let epoch = Epoch::parse("abcdefghij").unwrap();
        let mut all: Vec<_> = (0..600).map_while(|_| sockets.join(epoch)).collect();
        assert_eq!((all.len(), sockets.open()), (512, 512));
        all.pop();
        all.extend(sockets.join(epoch));
        assert_eq!((all.len(), sockets.open()), (512, 512));
        drop(all);
        assert_eq!(sockets.open(), 0);
        let other = sockets.join(Epoch::parse("bbbbbbbbbb").unwrap());
        assert_eq!(sockets.sessions.lock().len(), 1);
        drop(other);
    }
}
