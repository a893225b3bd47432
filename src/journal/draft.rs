//! What a session has that is not on disk yet.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::row::{PromptRow, Row};

/// Frames of consecutive events, back to back, all shown to the same readers. It becomes one row of the database.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Run {
    pub(crate) first: u64,
    pub(crate) last: u64,
    /// Only readers that ask for reasoning are shown these events.
    pub(crate) hidden: bool,
    /// Empty: these events are lost. They were dropped from memory before they could be written.
    pub(crate) frames: Vec<u8>,
}

/// Changes of one session that are written together or not at all.
#[derive(Debug, Default)]
pub(crate) struct Draft {
    /// The session's row, if it changed.
    pub(crate) row: Option<Row>,
    /// The last event before these. The database may not have it: one that replaced a damaged database knows
    /// nothing of earlier sessions.
    pub(crate) after: u64,
    pub(crate) runs: Vec<Run>,
    /// How much of each part of the agent's answer was published. The newest value of a part holds.
    pub(crate) notes: BTreeMap<Arc<str>, u64>,
    /// Prompts that changed, by their ids.
    pub(crate) prompts: BTreeMap<String, PromptRow>,
    /// A turn begins with the row. Notes from before are of no use any more, and the beginning must survive a power
    /// cut before anything that follows it is shown.
    pub(crate) begins: bool,
    /// The last turn whose end the backend was told of, if that changed. It is not in the row, because it may come
    /// while another turn is about to begin.
    pub(crate) reported: Option<u32>,
}

/// A run is not made longer than this, so that a reader that wants only its end need not read much else.
const RUN_BYTES: usize = 32 << 10;

/// What a draft takes in memory besides its longest fields, about.
const DRAFT_BYTES: usize = 512;

/// What a note takes in memory besides its name, about.
const NOTE_BYTES: usize = 64;

// === impl Draft ===

impl Draft {
    /// An empty one, of a session whose last event is `last`.
    pub(crate) fn after(last: u64) -> Self {
        Self {
            after: last,
            ..Self::default()
        }
    }

    /// Adds the next event.
    pub(crate) fn add_event(&mut self, seq: u64, hidden: bool, frame: &[u8]) {
        match self.runs.last_mut() {
            Some(run) if run.accepts(hidden, frame.len()) => {
                run.last = seq;
                run.frames.extend_from_slice(frame);
            }
            _ => self.runs.push(Run {
                first: seq,
                last: seq,
                hidden,
                frames: frame.to_vec(),
            }),
        }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.row.is_none()
            && self.runs.is_empty()
            && self.notes.is_empty()
            && self.prompts.is_empty()
            && !self.begins
            && self.reported.is_none()
    }

    /// The last event of the session once this is on disk.
    pub(super) fn last(&self) -> u64 {
        self.runs.last().map_or(self.after, |run| run.last)
    }

    /// Adds what the session did after this draft.
    pub(super) fn append(&mut self, later: Self) {
        let Self {
            row,
            after: _,
            runs,
            notes,
            prompts,
            begins,
            reported,
        } = later;
        self.row = row.or_else(|| self.row.take());
        for run in runs {
            self.add_run(run);
        }
        if begins {
            self.notes.clear();
        }
        self.notes.extend(notes);
        self.prompts.extend(prompts);
        self.begins |= begins;
        self.reported = reported.or(self.reported);
    }

    fn add_run(&mut self, run: Run) {
        match self.runs.last_mut() {
            // One hole, and not one for each run: otherwise holes would fill the memory.
            Some(before) if before.is_lost() && run.is_lost() => {
                before.last = run.last;
                before.hidden &= run.hidden;
            }
            Some(before) if !run.is_lost() && before.accepts(run.hidden, run.frames.len()) => {
                before.last = run.last;
                before.frames.extend_from_slice(&run.frames);
            }
            _ => self.runs.push(run),
        }
    }

    /// Turns the oldest runs into holes until `excess` bytes are free. Returns how many events are lost by that.
    pub(super) fn lose_oldest(&mut self, excess: usize) -> u64 {
        let (mut freed, mut lost) = (0, 0);
        for mut run in std::mem::take(&mut self.runs) {
            if freed < excess && !run.is_lost() {
                freed += run.frames.len();
                lost += run.events();
                run.frames = Vec::new();
            }
            self.add_run(run);
        }
        lost
    }

    pub(super) fn frame_bytes(&self) -> usize {
        self.runs.iter().map(|run| run.frames.len()).sum()
    }

    /// About what everything but the frames takes in memory.
    pub(super) fn other_bytes(&self) -> usize {
        let row = self.row.as_ref().map_or(0, |row| {
            row.details.len() + row.id.len() + row.key.as_ref().map_or(0, String::len)
        });
        let notes: usize = self.notes.keys().map(|part| part.len() + NOTE_BYTES).sum();
        let prompts = self.prompts.values();
        let prompts: usize = prompts.map(|row| row.details.len() + NOTE_BYTES).sum();
        DRAFT_BYTES + row + notes + prompts
    }

    /// How many events it has, those that are lost not counted.
    pub(super) fn events(&self) -> u64 {
        let kept = self.runs.iter().filter(|run| !run.is_lost());
        kept.map(Run::events).sum()
    }
}

// === impl Run ===

impl Run {
    fn is_lost(&self) -> bool {
        self.frames.is_empty()
    }

    fn events(&self) -> u64 {
        self.last - self.first + 1
    }

    /// Whether the frames that follow may be part of this run.
    fn accepts(&self, hidden: bool, bytes: usize) -> bool {
        !self.is_lost() && self.hidden == hidden && self.frames.len() + bytes <= RUN_BYTES
    }
}
