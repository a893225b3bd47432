//! What the writer knows without asking the database.
//!
//! It outlives the database: when that turns out to be damaged, this is what the next one begins with.

use std::collections::{BTreeMap, HashMap};
use std::sync::Weak;

use super::{Row, Source, Stored};

#[derive(Debug, Default)]
pub(super) struct Memory {
    /// The sessions whose turn runs. They are few.
    pub(super) open: HashMap<u64, Open>,
    /// Sessions that were removed a moment ago: their sources may still have something.
    pub(super) gone: BTreeMap<u64, Gone>,
    /// The largest number there ever was.
    pub(super) last_number: u64,
}

/// A session whose turn runs.
#[derive(Debug)]
pub(super) struct Open {
    pub(super) row: Row,
    pub(super) last: u64,
    /// About how much it takes on disk.
    pub(super) bytes: u64,
    pub(super) source: Option<Weak<dyn Source>>,
}

/// A removed session.
#[derive(Clone, Copy, Debug)]
pub(super) enum Gone {
    /// Somebody asked for it: what its source still has is not wanted.
    Forgotten,
    /// By retention. A turn that begins at this moment brings it back.
    Retired,
}

/// What a group changes here once it is on disk.
#[derive(Default)]
pub(super) struct Changes {
    pub(super) opened: Vec<(u64, Open)>,
    pub(super) grown: Vec<Growth>,
    pub(super) closed: Vec<u64>,
    /// Retired sessions that began another turn.
    pub(super) revived: Vec<u64>,
    pub(super) last_number: u64,
}

/// A session has more events.
pub(super) struct Growth {
    pub(super) number: u64,
    pub(super) last: u64,
    pub(super) bytes: u64,
}

/// A guess for events that were there before us: nobody counted their bytes.
const EVENT_BYTES: u64 = 256;

/// So many of the removed are remembered. A source is heard of within seconds, if at all.
const GONE: usize = 4096;

// === impl Memory ===

impl Memory {
    /// The sessions that were found at opening.
    pub(super) fn new<'a>(unfinished: impl Iterator<Item = &'a Stored>, last_number: u64) -> Self {
        let open = unfinished.map(|stored| {
            let open = Open::found(stored.row.clone(), (stored.oldest, stored.last), None);
            (stored.row.number, open)
        });
        Self {
            open: open.collect(),
            gone: BTreeMap::new(),
            last_number,
        }
    }

    pub(super) fn remember(&mut self, number: u64, how: Gone) {
        self.gone.insert(number, how);
        while self.gone.len() > GONE {
            self.gone.pop_first();
        }
    }

    pub(super) fn apply(&mut self, changes: Changes) {
        self.last_number = self.last_number.max(changes.last_number);
        self.open.extend(changes.opened);
        for growth in changes.grown {
            if let Some(open) = self.open.get_mut(&growth.number) {
                open.last = open.last.max(growth.last);
                open.bytes += growth.bytes;
            }
        }
        for number in changes.closed {
            self.open.remove(&number);
        }
        for number in changes.revived {
            self.gone.remove(&number);
        }
    }
}

// === impl Open ===

impl Open {
    /// One that has these events on disk.
    pub(super) fn found(
        row: Row,
        (oldest, last): (u64, u64),
        source: Option<Weak<dyn Source>>,
    ) -> Self {
        Self {
            row,
            last,
            bytes: (last + 1 - oldest) * EVENT_BYTES,
            source,
        }
    }
}
