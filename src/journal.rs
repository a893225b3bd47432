//! Sessions and their events on disk: one `SQLite` database, one thread that writes it.
//!
//! ```text
//! session::log --wake--> writer thread --take--> drafts --one transaction--> committed --> readers see it
//!                                                             |
//!                                                             +-- fails --> degraded: shown from memory,
//!                                                                           tried again until it is written
//! readers --page--> read-only connections of their own
//! ```
//!
//! The writer pulls: a source that has news is woken for once, and gives all of it in one [`Draft`] when
//! the writer comes round. So there is no queue of events, a group is as large as the disk is slow, and
//! nothing waits for a timer.
//!
//! Knows frames as bytes and sessions as rows. It knows no keys, no HTTP and nothing of OpenCode.

#![expect(dead_code, reason = "the session room takes it up next")]

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;

/// What the journal was told.
#[derive(Clone, Debug)]
pub(crate) struct Config {
    /// The directory of the database; made if it is missing.
    pub(crate) dir: PathBuf,
    /// The most the database may take on disk.
    pub(crate) max_bytes: u64,
    /// How long a finished session is kept.
    pub(crate) retention: Duration,
}

/// One session as it is kept. `facts` is the session room's own business.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Row {
    /// The order in which sessions were made; also the name of the session in here.
    pub(crate) number: u64,
    pub(crate) id: String,
    /// Of its log: 10 characters `[0-9a-z]`.
    pub(crate) epoch: String,
    /// OpenCode's own id.
    pub(crate) remote_id: Option<String>,
    /// As the contract spells it.
    pub(crate) state: String,
    /// When the session's last turn ended, in milliseconds since 1970; nothing while one runs.
    pub(crate) ended: Option<u64>,
    /// An idempotency key, by which the session is found again.
    pub(crate) key: Option<String>,
    /// The last turn whose end the backend was told of.
    pub(crate) reported: u32,
    pub(crate) turn: u32,
    /// JSON.
    pub(crate) facts: String,
}

/// A row, and which of its events are there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Stored {
    pub(crate) row: Row,
    /// The oldest event kept; `last + 1` if none is.
    pub(crate) oldest: u64,
    /// The last event; 0 if there never was one.
    pub(crate) last: u64,
}

/// A run of frames back to back, all shown to the same readers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Run {
    pub(crate) first: u64,
    pub(crate) last: u64,
    /// Only for readers that asked for it.
    pub(crate) hidden: bool,
    /// Empty: these events are lost. They could not be written before memory had to let them go.
    pub(crate) frames: Bytes,
}

/// What a source has that is not on disk, as of one moment.
#[derive(Debug, Default)]
pub(crate) struct Draft {
    /// The session's row, if it changed.
    pub(crate) row: Option<Row>,
    pub(crate) runs: Vec<Run>,
    /// How far each part of the running turn is told. The newest value of a part holds.
    pub(crate) notes: Vec<(Arc<str>, u64)>,
    /// All notes before these are of no use any more.
    pub(crate) fresh_notes: bool,
    /// This must survive a power cut before anything that follows it is shown.
    pub(crate) durable: bool,
}

/// A session with news. The writer calls it from its own thread, so nothing here may wait.
pub(crate) trait Source: Send + Sync + std::fmt::Debug {
    /// The number of its [`Row`].
    fn number(&self) -> u64;
    /// Everything new since the last call.
    fn take(&self) -> Draft;
    /// All that the last draft held is on disk.
    fn committed(&self);
    /// It is not, and will be tried again: readers are shown it from memory meanwhile.
    fn failed(&self);
    /// Retention removed events: `oldest` is the oldest now.
    fn trimmed(&self, oldest: u64);
}

/// How the journal does.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Health {
    Opening,
    Well,
    /// Nothing can be written; the text says why.
    Degraded(String),
}

/// What opening found.
#[derive(Clone, Debug, Default)]
pub(crate) struct Opened {
    /// Sessions whose turn had not ended, with the notes of that turn.
    pub(crate) unfinished: Vec<(Stored, Vec<(String, u64)>)>,
    /// The largest number there ever was.
    pub(crate) last_number: u64,
}

/// A session that retention removed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Removed {
    pub(crate) number: u64,
    pub(crate) id: String,
    pub(crate) remote_id: Option<String>,
}
