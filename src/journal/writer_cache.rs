//! What the writer knows without asking the database.
//!
//! It outlives the database: if that turns out to be damaged, the next one begins with this.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use super::row::{Row, Stored};
use super::watermark::Watermark;

#[derive(Debug, Default)]
pub(super) struct WriterCache {
    /// The sessions whose turn runs. They are few.
    pub(super) running: HashMap<u64, Running>,
    /// Sessions that retention removed a moment ago. They may still hand something over, and a turn that begins now
    /// brings one back.
    pub(super) removed: BTreeSet<u64>,
    /// The largest number that was ever given to a session.
    pub(super) last_number: u64,
    /// The order of all events is kept from this position on; rows before it are to be deleted.
    pub(super) order_oldest: u64,
}

/// A session whose turn runs.
#[derive(Debug)]
pub(super) struct Running {
    pub(super) row: Row,
    pub(super) last: u64,
    /// About how much it takes on disk.
    pub(super) bytes: u64,
    /// Nothing until the session has written something in this process.
    pub(super) watermark: Option<Arc<Watermark>>,
}

/// What a group changes here once it is on disk.
#[derive(Default)]
pub(super) struct Changes {
    pub(super) running: Vec<(u64, Running)>,
    /// Number, last event and additional bytes.
    pub(super) grown: Vec<(u64, u64, u64)>,
    pub(super) ended: Vec<u64>,
    /// Removed sessions that began another turn.
    pub(super) restored: Vec<u64>,
    pub(super) last_number: u64,
}

/// An estimate for events of an earlier process, whose bytes nobody counted.
const EVENT_BYTES: u64 = 256;

/// So many removed sessions are remembered. They hand something over within seconds, if at all.
const MAX_REMOVED: usize = 4096;

// === impl WriterCache ===

impl WriterCache {
    /// The sessions that were found when the database was opened.
    pub(super) fn new<'a>(unfinished: impl Iterator<Item = &'a Stored>, last_number: u64) -> Self {
        let running = unfinished.map(|stored| {
            let span = (stored.oldest, stored.last);
            (
                stored.row.number,
                Running::new(stored.row.clone(), span, None),
            )
        });
        Self {
            running: running.collect(),
            removed: BTreeSet::new(),
            last_number,
            order_oldest: 0,
        }
    }

    pub(super) fn remember_removed(&mut self, number: u64) {
        self.removed.insert(number);
        if self.removed.len() > MAX_REMOVED {
            self.removed.pop_first();
        }
    }

    pub(super) fn apply(&mut self, changes: Changes) {
        self.last_number = self.last_number.max(changes.last_number);
        self.running.extend(changes.running);
        for (number, last, bytes) in changes.grown {
            if let Some(running) = self.running.get_mut(&number) {
                running.last = running.last.max(last);
                running.bytes += bytes;
            }
        }
        for number in changes.ended {
            self.running.remove(&number);
        }
        for number in changes.restored {
            self.removed.remove(&number);
        }
    }
}

// === impl Running ===

impl Running {
    /// One that has these events on disk.
    pub(super) fn new(
        row: Row,
        (oldest, last): (u64, u64),
        watermark: Option<Arc<Watermark>>,
    ) -> Self {
        Self {
            row,
            last,
            bytes: (last + 1).saturating_sub(oldest) * EVENT_BYTES,
            watermark,
        }
    }
}
