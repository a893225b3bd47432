//! What a log has that is not on disk yet. Pure bookkeeping: the log's lock is round it.
//!
//! Without a journal nothing ever lies here: an event may be shown as soon as it is in the ring.

use std::sync::Arc;

use crate::journal::{Draft, Row};

use super::ring::Ring;

/// How far a part of the running turn is told.
pub(crate) type Note = (Arc<str>, u64);

#[derive(Debug, Default)]
pub(super) struct Desk {
    /// Whether there is a disk at all.
    pub(super) journaled: bool,
    /// The journal knows that there is something to take.
    woken: bool,
    row: Option<Row>,
    notes: Vec<Note>,
    fresh_notes: bool,
    durable: bool,
    /// Events up to here were given to the writer, and up to `kept` they are on disk.
    taken: u64,
    kept: u64,
    /// The disk fails: events are shown from memory.
    failing: bool,
    /// The row lies with the writer.
    row_taken: bool,
}

// === impl Desk ===

impl Desk {
    /// One whose events up to `last` are on disk.
    pub(super) fn after(last: u64) -> Self {
        Self {
            journaled: true,
            taken: last,
            kept: last,
            ..Self::default()
        }
    }

    pub(super) fn record(&mut self, row: Row, begins: bool) {
        if !self.journaled {
            return;
        }
        self.row = Some(row);
        if begins {
            self.durable = true;
            self.fresh_notes = true;
            self.notes.clear();
        }
    }

    pub(super) fn note(&mut self, note: Note) {
        if !self.journaled {
            return;
        }
        // The part that is being told is the last one or near it.
        match self
            .notes
            .iter_mut()
            .rev()
            .find(|(part, _)| *part == note.0)
        {
            Some(old) => *old = note,
            None => self.notes.push(note),
        }
    }

    /// Whether the journal has to be told that there is news.
    pub(super) fn wake(&mut self) -> bool {
        self.journaled && !std::mem::replace(&mut self.woken, true)
    }

    pub(super) fn take(&mut self, ring: &mut Ring) -> Draft {
        self.woken = false;
        let runs = ring.runs(self.taken);
        self.taken = ring.last();
        let row = self.row.take();
        self.row_taken |= row.is_some();
        Draft {
            row,
            runs,
            notes: std::mem::take(&mut self.notes),
            fresh_notes: std::mem::take(&mut self.fresh_notes),
            durable: std::mem::take(&mut self.durable),
        }
    }

    /// All that was taken is on disk.
    pub(super) fn committed(&mut self, ring: &mut Ring) {
        self.kept = self.taken;
        self.failing = false;
        self.row_taken = false;
        ring.hold_after(self.kept);
    }

    /// What was taken could not be written yet. The ring keeps within its bounds all the same.
    pub(super) fn failed(&mut self, ring: &mut Ring) {
        self.failing = true;
        ring.hold_after(u64::MAX);
    }

    /// The last event on disk.
    pub(super) const fn kept(&self) -> u64 {
        self.kept
    }

    /// The last event that readers may see.
    pub(super) fn visible(&self, ring: &Ring) -> u64 {
        if self.journaled && !self.failing {
            self.kept
        } else {
            ring.last()
        }
    }

    /// Nothing would be lost if the log left memory.
    pub(super) fn settled(&self, ring: &Ring) -> bool {
        self.journaled
            && !self.failing
            && !self.row_taken
            && self.row.is_none()
            && self.kept == ring.last()
    }
}
