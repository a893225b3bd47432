//! In which order the events of all sessions are shown: each has a position, 1, 2, 3, … without holes
//! (docs/decisions/0010-one-order-of-all-events.md).
//!
//! It keeps the newest entries, for readers and because they may not be on disk yet. A position is given once, and
//! published when its event is shown. The lock here is the innermost one: it is taken under that of a log or of the
//! queue, and nothing is called under it.

use std::collections::{HashSet, VecDeque};

use parking_lot::Mutex;
use tokio::sync::watch;

use super::order_entry::Entry;
use super::pending::Pending;
use crate::locks::Lock;

#[derive(Debug)]
pub(crate) struct Order {
    state: Mutex<State>,
    head_tx: watch::Sender<OrderHead>,
    /// So many entries stay here although they are on disk.
    kept: usize,
}

/// What readers wait on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct OrderHead {
    /// The last position that readers may see. It never goes back.
    pub(crate) position: u64,
    /// Readers are to end. Nothing undoes this.
    pub(crate) closed: bool,
}

/// What an earlier process left.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct OrderStart {
    pub(super) epoch: String,
    /// The first position that is kept.
    pub(super) oldest: u64,
    /// The first position that was never given.
    pub(super) next: u64,
}

/// What memory has after a position.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Recent {
    /// The entries that follow, from the very next position on.
    Entries(Vec<Entry>),
    /// The next position is not here any more; the oldest one here is `oldest`.
    Older { oldest: u64 },
}

#[derive(Debug)]
struct State {
    /// Nothing until the database is open: then no position can be given.
    epoch: Option<String>,
    oldest: u64,
    next: u64,
    /// Without holes up to `next`.
    listed: VecDeque<Listed>,
    /// The first position that is not on disk; `next` if all are.
    unwritten: u64,
}

#[derive(Clone, Copy, Debug)]
struct Listed {
    entry: Entry,
    on_disk: OnDisk,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum OnDisk {
    No,
    /// In the group that is being written.
    Writing,
    /// Or it need not be.
    Yes,
}

/// Entries that are on disk stay for readers that are a little behind.
const KEPT: usize = 4096;

/// The most entries, about 3 MiB. With a journal so many may wait for a disk that fails; without one they are all there is.
const MOST: usize = 65_536;

// === impl Order ===

impl Order {
    pub(crate) fn lock(&self) -> &dyn Lock {
        &self.state
    }

    /// One that begins with the process, and is never on disk.
    pub(crate) fn in_memory(epoch: String) -> Self {
        Self::new(Some(epoch), MOST)
    }

    /// One for a journal that has to be opened first.
    pub(super) fn for_journal() -> Self {
        Self::new(None, KEPT)
    }

    fn new(epoch: Option<String>, kept: usize) -> Self {
        Self {
            state: Mutex::new(State {
                epoch,
                oldest: 1,
                next: 1,
                listed: VecDeque::new(),
                unwritten: 1,
            }),
            head_tx: watch::Sender::default(),
            kept,
        }
    }

    pub(super) fn open(&self, start: OrderStart) {
        let mut state = self.state.lock();
        state.epoch = Some(start.epoch);
        (state.oldest, state.next, state.unwritten) = (start.oldest, start.next, start.next);
        drop(state);
        self.publish(start.next - 1);
    }

    // --- for readers ---

    /// Nothing until the journal is open.
    pub(crate) fn epoch(&self) -> Option<String> {
        self.state.lock().epoch.clone()
    }

    pub(crate) fn head(&self) -> OrderHead {
        *self.head_tx.borrow()
    }

    pub(crate) fn subscribe(&self) -> watch::Receiver<OrderHead> {
        self.head_tx.subscribe()
    }

    /// The first position that is kept.
    pub(crate) fn oldest(&self) -> u64 {
        self.state.lock().oldest
    }

    /// Whatever is kept up to this position is on disk.
    pub(crate) fn written(&self) -> u64 {
        self.state.lock().unwritten - 1
    }

    /// At most so many entries after position `after`, none past the published head. `after` must be before that.
    pub(crate) fn recent(&self, after: u64, most: usize) -> Recent {
        let head = self.head().position;
        let state = self.state.lock();
        let from = after + 1;
        let start = state.place(from);
        let known = state.listed.range(start..).map(|listed| listed.entry);
        let mut entries = known.map_while(|entry| entry.within(from, head));
        match entries.next() {
            Some(first) if first.position == from => {
                let rest = entries.take(most.saturating_sub(1));
                Recent::Entries(std::iter::once(first).chain(rest).collect())
            }
            Some(first) => Recent::Older {
                oldest: first.position,
            },
            None => Recent::Older { oldest: head + 1 },
        }
    }

    // --- for whoever shows events ---

    /// Gives positions to events that are shown at once, and returns the last one; nothing before the journal is open.
    pub(super) fn place(&self, number: u64, first: u64, last: u64) -> Option<u64> {
        let mut state = self.state.lock();
        state.epoch.as_ref()?;
        state.push(number, first, last, OnDisk::No);
        state.trim(self.kept);
        Some(state.next - 1)
    }

    /// Events that are shown at once and never on disk.
    pub(crate) fn show(&self, number: u64, first: u64, last: u64) {
        let mut state = self.state.lock();
        state.push(number, first, last, OnDisk::Yes);
        state.unwritten = state.next;
        state.trim(self.kept);
        let position = state.next - 1;
        drop(state);
        self.publish(position);
    }

    /// Every event that has a position is shown.
    pub(super) fn publish_all(&self) {
        let position = self.state.lock().next - 1;
        self.publish(position);
    }

    /// The events up to this position are shown.
    pub(super) fn publish(&self, position: u64) {
        self.head_tx.send_if_modified(|head| {
            let is_new = position > head.position;
            head.position = head.position.max(position);
            is_new
        });
    }

    pub(crate) fn close(&self) {
        self.head_tx.send_modify(|head| head.closed = true);
    }

    /// What is before `oldest` is not kept any more.
    pub(crate) fn forget_before(&self, oldest: u64) {
        let mut state = self.state.lock();
        state.oldest = state.oldest.max(oldest);
        let limit = state.oldest.min(state.unwritten);
        while let Some(front) = state.listed.front()
            && front.entry.end() < limit
        {
            state.listed.pop_front();
        }
    }

    // --- for the writer ---

    /// What is to be written with these drafts. Their events that have no position get one.
    pub(super) fn take(&self, drafts: &mut [Pending]) -> Vec<Entry> {
        let mut state = self.state.lock();
        let start = state.place(state.unwritten);
        let is_behind = state.unwritten < state.next;
        for pending in drafts.iter_mut() {
            if let Some((first, last)) = pending.unplaced() {
                state.push(pending.number, first, last, OnDisk::Writing);
                pending.set_placed();
            }
        }
        if is_behind {
            // The journal was degraded: some that wait may not be in this group.
            let numbers: HashSet<u64> = drafts.iter().map(|pending| pending.number).collect();
            for listed in state.listed.range_mut(start..) {
                if numbers.contains(&listed.entry.number) && listed.on_disk == OnDisk::No {
                    listed.on_disk = OnDisk::Writing;
                }
            }
        }
        let taken = state.listed.range(start..);
        let taken = taken.filter(|listed| listed.on_disk == OnDisk::Writing);
        taken.map(|listed| listed.entry).collect()
    }

    /// What was taken is on disk, and shown.
    pub(super) fn commit(&self) {
        let mut state = self.state.lock();
        let shown = state.on_written();
        state.trim(self.kept);
        drop(state);
        if let Some(position) = shown {
            self.publish(position);
        }
    }

    /// What was taken is not on disk. Its positions stay as they are.
    pub(super) fn put_back(&self) {
        let mut state = self.state.lock();
        let start = state.place(state.unwritten);
        for listed in state.listed.range_mut(start..) {
            if listed.on_disk == OnDisk::Writing {
                listed.on_disk = OnDisk::No;
            }
        }
    }
}

// === impl State ===

impl State {
    /// Where the entry with this position, or the first one after it, is listed.
    fn place(&self, position: u64) -> usize {
        self.listed
            .partition_point(|listed| listed.entry.end() < position)
    }

    fn push(&mut self, number: u64, first: u64, last: u64, on_disk: OnDisk) {
        let entry = Entry {
            position: self.next,
            number,
            first,
            last,
        };
        self.next = entry.end() + 1;
        match self.listed.back_mut() {
            Some(back)
                if back.on_disk == on_disk
                    && on_disk != OnDisk::Writing
                    && entry.continues(&back.entry) =>
            {
                back.entry.last = last;
            }
            _ => self.listed.push_back(Listed { entry, on_disk }),
        }
    }

    /// Entries that were being written are on disk; neighbours of one session become one. Returns the last position of
    /// those.
    fn on_written(&mut self) -> Option<u64> {
        let start = self.place(self.unwritten);
        let (mut kept, mut shown, mut unwritten) = (start, None, None);
        for place in start..self.listed.len() {
            let Some(mut listed) = self.listed.get(place).copied() else {
                break;
            };
            if listed.on_disk == OnDisk::Writing {
                listed.on_disk = OnDisk::Yes;
                shown = Some(listed.entry.end());
            }
            if listed.on_disk == OnDisk::No && unwritten.is_none() {
                unwritten = Some(listed.entry.position);
            }
            let before = kept.checked_sub(1).and_then(|at| self.listed.get_mut(at));
            match before {
                Some(before)
                    if before.on_disk == OnDisk::Yes
                        && listed.on_disk == OnDisk::Yes
                        && listed.entry.continues(&before.entry) =>
                {
                    before.entry.last = listed.entry.last;
                }
                _ => {
                    if let Some(free) = self.listed.get_mut(kept) {
                        *free = listed;
                    }
                    kept += 1;
                }
            }
        }
        self.listed.truncate(kept);
        self.unwritten = unwritten.unwrap_or(self.next);
        shown
    }

    /// Keeps the newest entries: those on disk only up to `kept`, and not more than [`MOST`] in all.
    fn trim(&mut self, kept: usize) {
        while let Some(front) = self.listed.front() {
            let excess = self.listed.len() > kept && front.on_disk == OnDisk::Yes;
            if !excess && self.listed.len() <= MOST {
                break;
            }
            // One that is not on disk by now becomes a hole.
            self.unwritten = self.unwritten.max(front.entry.end() + 1);
            self.listed.pop_front();
        }
    }
}

#[cfg(test)]
mod tests;
