//! Drafts that are not on disk: those that wait, and those that the writer is writing. Pure bookkeeping; the lock of
//! the [queue](super::queue) is round it.

use std::collections::{HashMap, VecDeque, hash_map};
use std::ops::{AddAssign, SubAssign};
use std::sync::Arc;

use super::draft::Draft;
use super::order_entry::Entry;
use super::watermark::Watermark;

/// All drafts of one session as one.
#[derive(Debug)]
pub(super) struct Pending {
    pub(super) number: u64,
    pub(super) watermark: Arc<Watermark>,
    pub(super) draft: Draft,
    size: Size,
    /// The last event that has a position in the order of all events.
    placed: u64,
    /// It was tried before, and may be on disk in part or as a whole: a commit can fail after it was done.
    pub(super) again: bool,
}

/// In bytes.
#[derive(Clone, Copy, Debug, Default)]
struct Size {
    frames: usize,
    /// What cannot become a hole.
    other: usize,
}

#[derive(Default)]
pub(super) struct PendingList {
    waiting: HashMap<u64, Pending>,
    /// Their numbers, the one that waits longest first.
    order: VecDeque<u64>,
    /// Of those that wait.
    size: Size,
    in_flight: Vec<InFlight>,
    /// Of those that are being written: they may come back.
    in_flight_size: Size,
    /// Events that became holes since somebody asked.
    lost: u64,
}

/// A session whose draft is being written.
struct InFlight {
    number: u64,
    watermark: Arc<Watermark>,
    /// The last event of the draft.
    last: u64,
}

/// What goes into one transaction.
#[derive(Debug)]
pub(super) struct Group {
    pub(super) drafts: Vec<Pending>,
    /// Their part of the order of all events.
    pub(super) entries: Vec<Entry>,
    /// Nothing else was waiting when it was taken.
    pub(super) is_all: bool,
}

/// How much goes into one transaction, unless one session has more. A disk that is nearly full may take parts of what
/// waits and not the whole.
const GROUP_BYTES: usize = 4 << 20;

// === impl PendingList ===

impl PendingList {
    pub(super) fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }

    /// Whether something of this session is not on disk.
    pub(super) fn has(&self, number: u64) -> bool {
        self.waiting.contains_key(&number) || self.in_flight.iter().any(|one| one.number == number)
    }

    /// Returns all of that session that waits now.
    pub(super) fn add(
        &mut self,
        number: u64,
        watermark: &Arc<Watermark>,
        draft: Draft,
    ) -> &mut Pending {
        match self.waiting.entry(number) {
            hash_map::Entry::Vacant(place) => {
                let pending = Pending::new(number, Arc::clone(watermark), draft);
                self.size += pending.size;
                self.order.push_back(number);
                place.insert(pending)
            }
            hash_map::Entry::Occupied(place) => {
                let pending = place.into_mut();
                self.size -= pending.size;
                pending.add(draft);
                self.size += pending.size;
                pending
            }
        }
    }

    /// Those that wait, the one that waits longest first.
    pub(super) fn each_waiting(&mut self, mut visit: impl FnMut(&mut Pending)) {
        for number in &self.order {
            if let Some(pending) = self.waiting.get_mut(number) {
                visit(pending);
            }
        }
    }

    pub(super) fn take_group(&mut self) -> Group {
        let mut drafts = Vec::new();
        while self.in_flight_size.total() < GROUP_BYTES
            && let Some(number) = self.order.pop_front()
        {
            let Some(pending) = self.waiting.remove(&number) else {
                continue;
            };
            self.size -= pending.size;
            self.in_flight_size += pending.size;
            self.in_flight.push(InFlight {
                number,
                watermark: Arc::clone(&pending.watermark),
                last: pending.draft.last(),
            });
            drafts.push(pending);
        }
        Group {
            drafts,
            entries: Vec::new(),
            is_all: self.is_empty(),
        }
    }

    /// The group is on disk. Returns whose readers may see it, and up to which event.
    pub(super) fn commit(&mut self) -> impl Iterator<Item = (Arc<Watermark>, u64)> + use<> {
        self.in_flight_size = Size::default();
        let done = std::mem::take(&mut self.in_flight);
        done.into_iter().map(|one| (one.watermark, one.last))
    }

    /// The group is not on disk: it goes in front of what came since.
    pub(super) fn put_back(&mut self, group: Vec<Pending>) {
        self.in_flight.clear();
        self.in_flight_size = Size::default();
        for mut earlier in group.into_iter().rev() {
            let number = earlier.number;
            if let Some(later) = self.waiting.remove(&number) {
                self.order.retain(|one| *one != number);
                self.size -= later.size;
                earlier.placed = earlier.placed.max(later.placed);
                earlier.add(later.draft);
            }
            earlier.again = true;
            self.size += earlier.size;
            self.order.push_front(number);
            self.waiting.insert(number, earlier);
        }
    }

    /// Everybody who has something that is not on disk.
    pub(super) fn watermarks(&self) -> impl Iterator<Item = &Watermark> {
        let waiting = self.waiting.values().map(|pending| &*pending.watermark);
        waiting.chain(self.in_flight.iter().map(|one| &*one.watermark))
    }

    /// Makes holes of the oldest events of the largest drafts, until all takes at most `limit` bytes. An eighth more
    /// than necessary goes, so that this is not done for every event.
    pub(super) fn shrink(&mut self, limit: usize) {
        let fixed = self.size.other + self.in_flight_size.total();
        if fixed + self.size.frames <= limit {
            return;
        }
        let wanted = limit.saturating_sub(fixed) / 8 * 7;
        while self.size.frames > wanted {
            let excess = self.size.frames - wanted;
            let largest = self.waiting.values_mut().max_by_key(|one| one.size.frames);
            let Some(largest) = largest.filter(|one| one.size.frames > 0) else {
                break;
            };
            let before = largest.size;
            self.lost += largest.draft.lose_oldest(excess);
            largest.measure();
            self.size -= before;
            self.size += largest.size;
        }
    }

    /// What cannot become a hole takes half of `limit` or more.
    pub(super) fn is_full(&self, limit: usize) -> bool {
        self.size.other + self.in_flight_size.other > limit / 2
    }

    pub(super) fn take_lost(&mut self) -> u64 {
        std::mem::take(&mut self.lost)
    }
}

// === impl Pending ===

impl Pending {
    fn new(number: u64, watermark: Arc<Watermark>, draft: Draft) -> Self {
        let mut pending = Self {
            number,
            watermark,
            placed: draft.after,
            draft,
            size: Size::default(),
            again: false,
        };
        pending.measure();
        pending
    }

    fn add(&mut self, later: Draft) {
        self.size.frames += later.frame_bytes();
        self.draft.append(later);
        self.size.other = self.draft.other_bytes();
    }

    fn measure(&mut self) {
        self.size = Size {
            frames: self.draft.frame_bytes(),
            other: self.draft.other_bytes(),
        };
    }

    pub(super) const fn frame_bytes(&self) -> usize {
        self.size.frames
    }

    /// The first and the last event that have no position yet.
    pub(super) fn unplaced(&self) -> Option<(u64, u64)> {
        let last = self.draft.last();
        (self.placed < last).then_some((self.placed + 1, last))
    }

    /// All have one now.
    pub(super) fn set_placed(&mut self) {
        self.placed = self.draft.last();
    }
}

// === impl Size ===

impl Size {
    const fn total(self) -> usize {
        self.frames + self.other
    }
}

impl AddAssign for Size {
    fn add_assign(&mut self, more: Self) {
        self.frames += more.frames;
        self.other += more.other;
    }
}

impl SubAssign for Size {
    fn sub_assign(&mut self, less: Self) {
        self.frames -= less.frames;
        self.other -= less.other;
    }
}
