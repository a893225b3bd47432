//! What a log has that is not on disk yet. Pure bookkeeping: the log's lock is round it.
//!
//! Without a journal nothing ever lies here: an event may be shown as soon as it is in the ring.

use std::sync::Arc;

use crate::journal::{Draft, Row};

use super::ring::Ring;

/// How far a part of the running turn is told.
pub(crate) type Note = (Arc<str>, u64);

#[derive(Debug, Default)]
pub(super) struct FlushState {
    disk: Disk,
    /// The journal knows that there is something to take.
    woken: bool,
    row: Option<Row>,
    notes: Vec<Note>,
    /// A turn begins with the row: earlier notes are of no use, and it must survive a power cut.
    begins: bool,
    /// The last turn whose end the backend was told of.
    reported: Option<u32>,
    /// Something lies with the writer.
    in_flight: bool,
    /// Events up to here were given to the writer, and up to `kept` they are on disk.
    taken: u64,
    kept: u64,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Disk {
    #[default]
    None,
    Well,
    /// Events are shown from memory.
    Failing,
}

// === impl FlushState ===

impl FlushState {
    /// One whose events up to `last` are on disk.
    pub(super) fn after(last: u64) -> Self {
        Self {
            disk: Disk::Well,
            taken: last,
            kept: last,
            ..Self::default()
        }
    }

    pub(super) fn record(&mut self, row: Row, begins: bool) {
        if self.disk == Disk::None {
            return;
        }
        self.row = Some(row);
        if begins {
            self.begins = true;
            self.notes.clear();
        }
    }

    pub(super) fn reported(&mut self, turn: u32) {
        if self.disk != Disk::None {
            self.reported = Some(turn);
        }
    }

    pub(super) fn note(&mut self, note: Note) {
        if self.disk == Disk::None {
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
        self.disk != Disk::None && !std::mem::replace(&mut self.woken, true)
    }

    pub(super) fn take(&mut self, ring: &mut Ring) -> Draft {
        self.woken = false;
        let after = self.taken;
        let runs = ring.runs(after);
        self.taken = ring.last();
        let begins = std::mem::take(&mut self.begins);
        let draft = Draft {
            row: self.row.take(),
            after,
            runs,
            notes: std::mem::take(&mut self.notes),
            fresh_notes: begins,
            reported: self.reported.take(),
            durable: begins,
        };
        // Of an empty one nothing is heard again.
        self.in_flight |= !draft.is_empty();
        draft
    }

    /// All that was taken is on disk.
    pub(super) fn committed(&mut self, ring: &mut Ring) {
        self.kept = self.taken;
        self.disk = Disk::Well;
        self.in_flight = false;
        ring.hold_after(self.kept);
    }

    /// What was taken could not be written yet. The ring keeps within its bounds all the same.
    pub(super) fn failed(&mut self, ring: &mut Ring) {
        self.disk = Disk::Failing;
        ring.hold_after(u64::MAX);
    }

    /// The last event on disk.
    pub(super) const fn kept(&self) -> u64 {
        self.kept
    }

    /// The last event that readers may see.
    pub(super) fn visible(&self, ring: &Ring) -> u64 {
        match self.disk {
            Disk::Well => self.kept,
            Disk::None | Disk::Failing => ring.last(),
        }
    }

    /// Nothing would be lost if the log left memory.
    pub(super) fn settled(&self, ring: &Ring) -> bool {
        self.disk == Disk::Well
            && !self.in_flight
            && self.row.is_none()
            && self.reported.is_none()
            && self.kept == ring.last()
    }
}
