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

mod check;
mod frames;
mod marker;
mod memory;
mod opening;
mod page;
mod pending;
mod quarantine;
mod queries;
mod queue;
mod readers;
mod retention;
mod schema;
mod statements;
mod stats;
mod store;
mod store_error;
mod watchdog;
mod writer;

use std::io;
use std::path::PathBuf;
use std::sync::{Arc, OnceLock};
use std::thread;
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::{mpsc, watch};

pub(crate) use self::opening::boot_id;
pub(crate) use self::page::Piece;
pub(crate) use self::readers::JournalError;
pub(crate) use self::stats::Figures;

use self::marker::Marker;
use self::pending::PendingList;
use self::queue::{End, Queue};
use self::readers::Readers;
use self::stats::{Stage, Stats};
use self::writer::Writer;
use crate::setting;

/// The settings of the journal. Their comments are the words of `--help`.
#[derive(Clone, Debug, clap::Args)]
#[command(next_help_heading = "Sessions")]
#[group(skip)]
pub(crate) struct Config {
    /// The directory of the database; made if it is missing.
    #[arg(skip)]
    pub(crate) dir: PathBuf,
    /// The most the journal may take on disk; finished sessions go first, the oldest first
    #[arg(long = "journal-max-bytes", default_value = "512Mi", value_parser =
        setting::bytes(4 << 20..=1 << 40, "an amount of memory from 4Mi to 1Ti, such as 512Mi"))]
    pub(crate) max_bytes: u64,
    /// How long a finished session is kept: `SESSION_RETENTION`.
    #[arg(skip)]
    pub(crate) retention: Duration,
}

/// One session as it is kept. `facts` is the session module's own business.
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
    /// The last event before these. The database may not have it: a new one knows nothing of earlier
    /// sessions.
    pub(crate) after: u64,
    pub(crate) runs: Vec<Run>,
    /// How far each part of the running turn is told. The newest value of a part holds.
    pub(crate) notes: Vec<(Arc<str>, u64)>,
    /// All notes before these are of no use any more.
    pub(crate) fresh_notes: bool,
    /// The last turn whose end the backend was told of, if that is news. Not a row: it may come while
    /// another turn is about to begin.
    pub(crate) reported: Option<u32>,
    /// This must survive a power cut before anything that follows it is shown.
    pub(crate) durable: bool,
}

/// A session with news. The journal calls it from its own threads, under a lock of its own: nothing here
/// may wait, and of the journal nothing but [`Journal::wake`] may be called.
pub(crate) trait Source: Send + Sync + std::fmt::Debug {
    /// The number of its [`Row`].
    fn number(&self) -> u64;
    /// Everything new since the last call.
    fn take(&self) -> Draft;
    /// All that the last draft held is on disk.
    fn committed(&self);
    /// It is not, and will be tried again: readers are shown it from memory meanwhile. Comes again for
    /// every draft until one is [committed](Self::committed).
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

/// A handle on the journal; clones are the same journal. When the last one is dropped without
/// [`Journal::close`], the writer ends as if the process had died.
#[derive(Clone)]
pub(crate) struct Journal {
    shared: Arc<Shared>,
    _owner: Arc<Owner>,
}

/// What the handles and the two threads share.
struct Shared {
    queue: Queue,
    pending: PendingList,
    stats: Stats,
    readers: Readers,
    /// There once the database's directory is.
    marker: OnceLock<Arc<Marker>>,
}

/// Ends the threads with the last handle.
struct Owner(Arc<Shared>);

/// What tests make shorter or smaller.
#[derive(Clone, Debug)]
struct Tuning {
    /// The disk hangs if it has not answered for so long.
    hang: Duration,
    /// The first and the longest delay before a group that failed is tried again.
    retry: (Duration, Duration),
    /// What is kept in memory while nothing can be written, of the pod's 1 GiB.
    kept_bytes: usize,
    /// The WAL goes into the database when it has so many pages.
    checkpoint_pages: u32,
}

/// The threads call SQLite, which wants less than 100 KiB.
const STACK: usize = 512 << 10;

// === impl Journal ===

impl Journal {
    /// Starts the thread that opens the database and writes it, and returns at once. `boot` is
    /// [`boot_id`].
    pub(crate) fn start(config: Config, boot: String) -> io::Result<Self> {
        let tuning = Tuning::of(&config);
        Self::start_tuned(config, boot, &tuning)
    }

    fn start_tuned(config: Config, boot: String, tuning: &Tuning) -> io::Result<Self> {
        let shared = Arc::new(Shared::new(&config, tuning));
        let journal = Self {
            _owner: Arc::new(Owner(Arc::clone(&shared))),
            shared: Arc::clone(&shared),
        };
        let spawn = |name: &str, work: Box<dyn FnOnce() + Send>| {
            let thread = thread::Builder::new().name(name.into()).stack_size(STACK);
            thread.spawn(work)
        };
        let (watched, limit) = (Arc::clone(&shared), tuning.hang);
        let writer = Writer::new(shared, config, boot, tuning);
        spawn(
            "journal-watch",
            Box::new(move || watchdog::watch(&watched, limit)),
        )?;
        spawn("journal", Box::new(move || writer.run()))?;
        Ok(journal)
    }

    /// Waits until the database is open. The first caller gets what was found in it, a later one nothing.
    ///
    /// If the database cannot be opened this waits, however long: what is in it must be known before a
    /// new session may have a number. [`Journal::health`] says why meanwhile.
    pub(crate) async fn opened(&self) -> Opened {
        self.shared.stats.reaches(Stage::Open).await;
        self.shared.stats.take_opened()
    }

    /// This source has news. Never blocks; a source that is waiting already keeps its place.
    pub(crate) fn wake(&self, source: Arc<dyn Source>) {
        self.shared.queue.wake(source);
    }

    /// The newest session with this id.
    pub(crate) async fn session(&self, id: &str) -> Result<Option<Stored>, JournalError> {
        let id = id.to_owned();
        readers::look(&self.shared, move |conn| queries::session(conn, &id)).await
    }

    pub(crate) async fn session_by_key(&self, key: &str) -> Result<Option<Stored>, JournalError> {
        let key = key.to_owned();
        readers::look(&self.shared, move |conn| {
            queries::session_by_key(conn, &key)
        })
        .await
    }

    /// Newest first: those with a number below `before`, and in `state` if one is given.
    pub(crate) async fn sessions(
        &self,
        before: Option<u64>,
        state: Option<&str>,
        limit: usize,
    ) -> Result<Vec<Stored>, JournalError> {
        let state = state.map(str::to_owned);
        readers::look(&self.shared, move |conn| {
            queries::sessions(conn, before, state.as_deref(), limit)
        })
        .await
    }

    /// Finished sessions whose end the backend was not told, oldest first.
    pub(crate) async fn unreported(&self, limit: usize) -> Result<Vec<Stored>, JournalError> {
        readers::look(&self.shared, move |conn| queries::unreported(conn, limit)).await
    }

    /// Events `after + 1 ..= upto` of a session, until there are about 256 KiB. `upto` was committed: what
    /// is not on disk counts as lost.
    ///
    /// What is not there is named ([`Piece`]); so there is at least one piece if `after < upto`, and
    /// the last piece says where to go on.
    pub(crate) async fn page(
        &self,
        number: u64,
        after: u64,
        upto: u64,
        hidden: bool,
    ) -> Result<Vec<Piece>, JournalError> {
        readers::look(&self.shared, move |conn| {
            queries::page(conn, number, after, upto, hidden)
        })
        .await
    }

    /// Notes of a session's last turn.
    #[cfg(test)]
    pub(crate) async fn notes(&self, number: u64) -> Result<Vec<(String, u64)>, JournalError> {
        readers::look(&self.shared, move |conn| queries::notes(conn, number)).await
    }

    /// The session and its events go. What its source still has is not written any more.
    #[cfg_attr(
        not(test),
        expect(dead_code, reason = "no route deletes a session before its time")
    )]
    pub(crate) fn forget(&self, number: u64) {
        self.shared.queue.forget(number);
    }

    /// Nothing can be written, and memory has no room for the rows of further sessions.
    pub(crate) fn is_full(&self) -> bool {
        self.shared.pending.is_full()
    }

    pub(crate) fn health(&self) -> watch::Receiver<Health> {
        self.shared.stats.health()
    }

    pub(crate) fn figures(&self) -> Figures {
        self.shared.stats.figures()
    }

    /// Sessions that retention removed, for whoever cleans up after them; for the first who asks. While
    /// nobody reads it, retention stops after a few.
    pub(crate) fn take_removals(&self) -> mpsc::Receiver<Removed> {
        self.shared.stats.take_removals()
    }

    /// Writes what there is, and marks the database as closed in good order. The caller has the deadline.
    pub(crate) async fn close(&self) {
        self.shared.queue.end(End::Close);
        self.shared.stats.reaches(Stage::Ended).await;
    }
}

impl std::fmt::Debug for Journal {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Journal")
            .field("health", &*self.health().borrow())
            .finish_non_exhaustive()
    }
}

// === impl Shared ===

impl Shared {
    fn new(config: &Config, tuning: &Tuning) -> Self {
        Self {
            queue: Queue::default(),
            pending: PendingList::new(tuning.kept_bytes),
            stats: Stats::new(),
            readers: Readers::new(&config.dir),
            marker: OnceLock::new(),
        }
    }

    /// Does something at the disk, where the watchdog has an eye on it.
    fn at_disk<T>(&self, work: impl FnOnce() -> T) -> T {
        self.queue.set_at_disk(true);
        let done = work();
        self.queue.set_at_disk(false);
        done
    }
}

// === impl Owner ===

impl Drop for Owner {
    fn drop(&mut self) {
        self.0.queue.end(End::Abandon);
    }
}

// === impl Tuning ===

impl Tuning {
    fn of(config: &Config) -> Self {
        // A WAL of 4 MiB, but an eighth of what there is at most.
        let pages = config.max_bytes / 8 / store::PAGE;
        Self {
            hang: Duration::from_secs(2),
            retry: (Duration::from_millis(100), Duration::from_secs(1)),
            kept_bytes: 64 << 20,
            checkpoint_pages: u32::try_from(pages).unwrap_or(1000).clamp(16, 1000),
        }
    }
}

#[cfg(test)]
mod tests;
