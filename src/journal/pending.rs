//! What was taken from the sources and is not on disk.
//!
//! Two threads take: the writer, and the watchdog while the writer hangs. Both do it under the pending list's
//! lock, so the drafts of a source lie in the order it gave them. Sources are called under that lock; they
//! only ever come back to the [`Queue`], which has a lock of its own.
//!
//! Memory is bounded: a source gives what its ring holds, and what is kept past `limit` bytes, what is at
//! the disk counted, becomes a hole, oldest first. Readers are told of a hole, so it is never silent. Rows
//! cannot become holes: when they take too much of the room, the pending list is full, and no further session may
//! begin.

use std::collections::BTreeMap;
use std::ops::{AddAssign, SubAssign};
use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;
use parking_lot::Mutex;

use super::queue::Queue;
use super::stats::Stats;
use super::{Draft, Health, Run, Source};

/// The drafts of one source, as one.
#[derive(Debug)]
pub(super) struct Pending {
    pub(super) source: Arc<dyn Source>,
    pub(super) draft: Draft,
    size: Size,
    /// It was tried before, and may be on disk in part or as a whole.
    again: bool,
}

/// In bytes.
#[derive(Clone, Copy, Debug, Default)]
struct Size {
    frames: usize,
    /// About what all but the frames takes.
    rest: usize,
}

pub(super) struct PendingList {
    state: Mutex<State>,
    /// The most that is kept while nothing can be written.
    limit: usize,
}

#[derive(Default)]
struct State {
    /// Neither on disk nor in flight.
    pending: BTreeMap<u64, Pending>,
    /// Of those together.
    size: Size,
    /// Whose drafts the writer is writing.
    flight: Vec<Arc<dyn Source>>,
    /// Of those drafts together: they may come back.
    flight_size: Size,
    degraded: bool,
    /// Events that became holes since somebody asked.
    lost: u64,
}

/// How much goes into one transaction, unless one source has more.
const GROUP_BYTES: usize = 4 << 20;

/// What a draft takes besides its longest fields, about.
const DRAFT_BYTES: usize = 512;

// === impl PendingList ===

impl PendingList {
    pub(super) fn new(limit: usize) -> Self {
        Self {
            state: Mutex::default(),
            limit,
        }
    }

    /// Takes what the woken sources have: as much as a group may hold, or, when nothing can be written,
    /// all of it. Says whether it was all.
    pub(super) fn gather(&self, queue: &Queue) -> bool {
        self.state.lock().gather(queue, self.limit)
    }

    /// The database is open. If that took so long that sources are shown from memory, it is not well yet.
    pub(super) fn start(&self, journal_stats: &Stats) {
        let state = self.state.lock();
        if !state.degraded {
            journal_stats.set_health(Health::Well);
        }
    }

    pub(super) fn has(&self, number: u64) -> bool {
        self.state.lock().pending.contains_key(&number)
    }

    pub(super) fn is_degraded(&self) -> bool {
        self.state.lock().degraded
    }

    /// The watchdog cannot degrade the pending list in the middle of this.
    pub(super) fn unless_degraded(&self, then: impl FnOnce()) {
        let state = self.state.lock();
        if !state.degraded {
            then();
        }
    }

    /// Nothing can be written, and what may not be let go of takes half the room.
    pub(super) fn is_full(&self) -> bool {
        let state = self.state.lock();
        state.degraded && state.size.rest + state.flight_size.rest > self.limit / 2
    }

    /// A group leaves for the disk: what was gathered, or of all that waits while nothing can be written
    /// as much as a group may hold. A disk that is nearly full may take the parts and not the whole.
    pub(super) fn depart(&self) -> Vec<Pending> {
        let mut state = self.state.lock();
        let mut group = Vec::new();
        while !state.degraded || state.flight_size.total() < GROUP_BYTES {
            let Some((_, pending)) = state.pending.pop_first() else {
                break;
            };
            state.size -= pending.size;
            state.flight_size += pending.size;
            state.flight.push(Arc::clone(&pending.source));
            group.push(pending);
        }
        group
    }

    /// The group is on disk.
    pub(super) fn arrived(&self) {
        let mut state = self.state.lock();
        state.flight_size = Size::default();
        for source in std::mem::take(&mut state.flight) {
            // The watchdog may have taken more of it meanwhile; then it is not all on disk.
            if !state.pending.contains_key(&source.number()) {
                source.committed();
            }
        }
    }

    /// The group is not on disk: it goes in front of what was taken since.
    pub(super) fn came_back(&self, group: Vec<Pending>) {
        let mut state = self.state.lock();
        state.flight.clear();
        state.flight_size = Size::default();
        for mut earlier in group {
            let number = earlier.source.number();
            if let Some(later) = state.remove(number) {
                earlier.add(later.draft);
            }
            earlier.again = true;
            state.insert(earlier);
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.state.lock().pending.is_empty()
    }

    /// Nothing can be written: readers are shown from memory what is here.
    pub(super) fn degrade(&self, journal_stats: &Stats, reason: &str) {
        self.state.lock().degrade(self.limit, journal_stats, reason);
    }

    /// What was taken is on disk: things are well, unless more was taken meanwhile.
    pub(super) fn recover(&self, journal_stats: &Stats) -> bool {
        let mut state = self.state.lock();
        if !state.pending.is_empty() {
            return false;
        }
        state.degraded = false;
        journal_stats.set_health(Health::Well);
        true
    }

    /// For the watchdog: degrades, and takes what came in, if the writer is still where it was then.
    pub(super) fn stand_in(
        &self,
        queue: &Queue,
        since: Instant,
        journal_stats: &Stats,
        reason: &str,
    ) -> bool {
        let mut state = self.state.lock();
        if !queue.is_away_since(since) {
            return false;
        }
        if !state.degraded {
            state.flight.iter().for_each(|source| source.failed());
        }
        state.degrade(self.limit, journal_stats, reason);
        state.gather(queue, self.limit);
        true
    }

    pub(super) fn take_lost(&self) -> u64 {
        std::mem::take(&mut self.state.lock().lost)
    }
}

// === impl State ===

impl State {
    fn gather(&mut self, queue: &Queue, limit: usize) -> bool {
        while self.degraded || self.size.total() < GROUP_BYTES {
            // Off the queue before it is asked: what it has after that wakes us anew.
            let Some(source) = queue.next_source() else {
                return true;
            };
            let draft = source.take();
            let number = source.number();
            let known = self.remove(number);
            if known.is_none() && draft.is_empty() {
                continue;
            }
            let pending = match known {
                Some(mut known) => {
                    known.add(draft);
                    known
                }
                None => Pending::new(source, draft),
            };
            if self.degraded {
                pending.source.failed();
            }
            self.insert(pending);
            if self.degraded {
                self.shrink(limit);
            }
        }
        false
    }

    fn insert(&mut self, pending: Pending) {
        self.size += pending.size;
        self.pending.insert(pending.source.number(), pending);
    }

    fn remove(&mut self, number: u64) -> Option<Pending> {
        let pending = self.pending.remove(&number)?;
        self.size -= pending.size;
        Some(pending)
    }

    /// Under the lock, so that the health is never older than the pending list.
    fn degrade(&mut self, limit: usize, journal_stats: &Stats, reason: &str) {
        if !self.degraded {
            // What comes in later is told when it is taken.
            self.degraded = true;
            self.pending.values().for_each(|one| one.source.failed());
        }
        journal_stats.set_health(Health::Degraded(reason.to_owned()));
        self.shrink(limit);
    }

    /// An eighth more than need be goes, so that it is not done for every event.
    fn shrink(&mut self, limit: usize) {
        let fixed = self.size.rest + self.flight_size.total();
        if fixed + self.size.frames <= limit {
            return;
        }
        let wanted = (limit - limit / 8).saturating_sub(fixed);
        while self.size.frames > wanted {
            let excess = self.size.frames - wanted;
            let largest = self.pending.values_mut().max_by_key(|one| one.size.frames);
            let Some(largest) = largest.filter(|one| one.size.frames > 0) else {
                break;
            };
            let before = largest.size.frames;
            self.lost += largest.lose_oldest(excess);
            self.size.frames = self.size.frames + largest.size.frames - before;
        }
    }
}

// === impl Size ===

impl Size {
    const fn total(self) -> usize {
        self.frames + self.rest
    }
}

impl AddAssign for Size {
    fn add_assign(&mut self, more: Self) {
        self.frames += more.frames;
        self.rest += more.rest;
    }
}

impl SubAssign for Size {
    fn sub_assign(&mut self, less: Self) {
        self.frames -= less.frames;
        self.rest -= less.rest;
    }
}

// === impl Pending ===

impl Pending {
    fn new(source: Arc<dyn Source>, draft: Draft) -> Self {
        Self {
            source,
            size: Size {
                frames: draft.frame_bytes(),
                rest: draft.rest_bytes(),
            },
            again: false,
            draft,
        }
    }

    pub(super) const fn frame_bytes(&self) -> usize {
        self.size.frames
    }

    pub(super) const fn is_again(&self) -> bool {
        self.again
    }

    fn add(&mut self, later: Draft) {
        self.size.frames += later.frame_bytes();
        self.draft.add(later);
        self.size.rest = self.draft.rest_bytes();
    }

    /// Turns the oldest runs into holes until so many bytes are free, and says how many events that were.
    fn lose_oldest(&mut self, excess: usize) -> u64 {
        let (mut freed, mut lost) = (0, 0);
        let mut kept: Vec<Run> = Vec::new();
        for mut run in self.draft.runs.drain(..) {
            if freed < excess && !run.frames.is_empty() {
                freed += run.frames.len();
                lost += run.last - run.first + 1;
                run.frames = Bytes::new();
            }
            match kept.last_mut() {
                // One hole, not one for each run: else holes would fill the memory.
                Some(hole) if hole.is_followed_by_hole(&run) => {
                    hole.last = run.last;
                    hole.hidden &= run.hidden;
                }
                _ => kept.push(run),
            }
        }
        self.draft.runs = kept;
        self.size.frames = if freed == 0 {
            0
        } else {
            self.size.frames - freed
        };
        lost
    }
}

// === impl Run ===

impl Run {
    fn is_followed_by_hole(&self, next: &Self) -> bool {
        self.frames.is_empty() && next.frames.is_empty() && self.last + 1 == next.first
    }
}

// === impl Draft ===

impl Draft {
    pub(crate) fn is_empty(&self) -> bool {
        self.row.is_none()
            && self.runs.is_empty()
            && self.notes.is_empty()
            && !self.fresh_notes
            && self.reported.is_none()
    }

    /// A later draft of the same source.
    fn add(&mut self, later: Self) {
        let Self {
            row,
            after: _,
            runs,
            notes,
            fresh_notes,
            reported,
            durable,
        } = later;
        self.row = row.or_else(|| self.row.take());
        self.runs.extend(runs);
        if fresh_notes {
            self.notes.clear();
        }
        // The newest value of a part is enough: else notes would fill the memory.
        let newest: BTreeMap<_, _> = self.notes.drain(..).chain(notes).collect();
        self.notes.extend(newest);
        self.fresh_notes |= fresh_notes;
        self.reported = reported.or(self.reported);
        self.durable |= durable;
    }

    fn frame_bytes(&self) -> usize {
        self.runs.iter().map(|run| run.frames.len()).sum()
    }

    fn rest_bytes(&self) -> usize {
        let row = self.row.as_ref().map_or(0, |row| {
            let key = row.key.as_ref().map_or(0, String::len);
            row.facts.len() + row.id.len() + key
        });
        let notes: usize = self.notes.iter().map(|(part, _)| part.len() + 64).sum();
        DRAFT_BYTES + row + notes
    }

    /// How many events it has, those lost not counted.
    pub(super) fn events(&self) -> u64 {
        let kept = self.runs.iter().filter(|run| !run.frames.is_empty());
        kept.map(|run| run.last - run.first + 1).sum()
    }
}
