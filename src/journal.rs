//! Sessions and their events on disk: one `SQLite` database, and one thread that writes it.
//!
//! ```text
//! session::log --append--> queue --one transaction--> database
//!                                        |
//!                                        +--> watermark: readers see what is on disk
//!                                        |
//!                                        +-- fails --> degraded: shown from memory, tried again until it is written
//! readers --page--> read-only connections of their own
//! ```
//!
//! A session hands each change over once, as a [`Draft`]. Drafts gather while a group is written, so a group is as large
//! as the disk is slow, and nothing waits for a timer. When a group is on disk, the [`Watermark`] of each of its sessions
//! moves, and that is what readers wait on.
//!
//! The journal knows frames as bytes and sessions as rows. It knows no keys, no HTTP and nothing of OpenCode.

mod check;
mod config;
mod draft;
mod frames;
mod marker;
mod opening;
mod order;
mod order_entry;
mod order_page;
mod order_rows;
mod page;
mod pending;
mod quarantine;
mod queries;
mod queue;
mod readers;
mod retention;
mod row;
mod schema;
mod shared;
mod statements;
mod stats;
mod store;
mod store_error;
mod watchdog;
mod watermark;
mod writer;
mod writer_cache;
mod writer_state;

use std::io;
use std::sync::Arc;
use std::thread;

use rusqlite::Connection;
use tokio::sync::{mpsc, watch};

pub(crate) use self::config::Config;
pub(crate) use self::draft::Draft;
pub(crate) use self::opening::boot_id;
pub(crate) use self::order::{Order, OrderHead, Recent};
pub(crate) use self::order_entry::Entry;
pub(crate) use self::order_page::{OrderPiece, OrderQuery};
pub(crate) use self::page::Piece;
pub(crate) use self::readers::JournalError;
pub(crate) use self::row::{Opened, PromptRow, Removed, Row, Stored};
pub(crate) use self::stats::{Figures, Health};
pub(crate) use self::watermark::{Appended, Head, Watermark};

use self::config::Tuning;
use self::queue::End;
use self::shared::Shared;
use self::stats::Stage;
use self::writer::Writer;
use crate::locks::Named;

/// A handle on the journal; clones are the same journal. When the last one is dropped without [`Journal::close`], the
/// writer ends as if the process had died.
#[derive(Clone)]
pub(crate) struct Journal {
    shared: Arc<Shared>,
    _owner: Arc<Owner>,
}

/// Ends the threads with the last handle.
struct Owner(Arc<Shared>);

/// The threads call SQLite, which needs less than 100 KiB.
const STACK: usize = 512 << 10;

// === impl Journal ===

impl Journal {
    /// Starts the thread that opens the database and writes it, and returns at once. `boot` is [`boot_id`].
    pub(crate) fn start(config: Config, boot: String) -> io::Result<Self> {
        let tuning = Tuning::of(&config);
        Self::start_tuned(config, boot, &tuning)
    }

    fn start_tuned(config: Config, boot: String, tuning: &Tuning) -> io::Result<Self> {
        let shared = Arc::new(Shared::new(&config, tuning));
        let journal = Self::new(Arc::clone(&shared));
        let spawn = |name: &str, work: Box<dyn FnOnce() + Send>| {
            let thread = thread::Builder::new().name(name.into()).stack_size(STACK);
            thread.spawn(work)
        };
        let (watched, limit) = (Arc::clone(&shared), tuning.hang);
        let writer = Writer::new(shared, config, boot, tuning);
        // First the one that ends with the last handle, because its end is what ends the other.
        spawn("journal", Box::new(move || writer.run()))?;
        spawn(
            "journal-watch",
            Box::new(move || watchdog::watch(&watched, limit)),
        )?;
        Ok(journal)
    }

    /// One without threads.
    fn new(shared: Arc<Shared>) -> Self {
        Self {
            _owner: Arc::new(Owner(Arc::clone(&shared))),
            shared,
        }
    }

    /// Waits until the database is open. The first caller gets what was found in it, a later one nothing.
    ///
    /// If the database cannot be opened this waits, however long: what is in it must be known before a new session may
    /// have a number. [`Journal::health`] says why meanwhile.
    pub(crate) async fn opened(&self) -> Opened {
        self.shared.stats.reaches(Stage::Open).await;
        self.shared.stats.take_opened()
    }

    /// Takes what session `number` has that is not on disk. Never blocks. The drafts of a session must come in the order
    /// of its events.
    pub(crate) fn append(
        &self,
        number: u64,
        watermark: &Arc<Watermark>,
        appended: Appended,
        draft: Draft,
    ) {
        self.shared.queue.append(number, watermark, appended, draft);
    }

    /// Whether everything that this session appended is on disk.
    pub(crate) fn is_written(&self, number: u64) -> bool {
        self.shared.queue.is_written(number)
    }

    /// Waits until everything that this session appended is on disk, or nothing can be written.
    pub(crate) async fn written(&self, number: u64) {
        self.shared.queue.written(number).await;
    }

    /// The newest session with this id.
    pub(crate) async fn session(&self, id: &str) -> Result<Option<Stored>, JournalError> {
        let id = id.to_owned();
        self.query(move |conn| queries::session(conn, &id)).await
    }

    pub(crate) async fn session_by_key(&self, key: &str) -> Result<Option<Stored>, JournalError> {
        let key = key.to_owned();
        self.query(move |conn| queries::session_by_key(conn, &key))
            .await
    }

    /// The prompt of session `number` that came under this key.
    pub(crate) async fn prompt_by_key(
        &self,
        number: u64,
        key: &str,
    ) -> Result<Option<PromptRow>, JournalError> {
        let key = key.to_owned();
        self.query(move |conn| queries::prompt_by_key(conn, number, &key))
            .await
    }

    /// The prompts of a session that wait, or that the agent may not have, in the order of their turns.
    pub(crate) async fn waiting_prompts(
        &self,
        number: u64,
    ) -> Result<Vec<PromptRow>, JournalError> {
        self.query(move |conn| queries::waiting_prompts(conn, number))
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
        self.query(move |conn| queries::sessions(conn, before, state.as_deref(), limit))
            .await
    }

    /// Finished sessions of whose end the backend was not told, oldest first.
    pub(crate) async fn unreported(&self, limit: usize) -> Result<Vec<Stored>, JournalError> {
        self.query(move |conn| queries::unreported(conn, limit))
            .await
    }

    /// Events `after + 1 ..= upto` of a session, until there are about 256 KiB. `upto` must be durable: what is not on
    /// disk counts as lost.
    ///
    /// What is not there is named ([`Piece`]); so there is at least one piece if `after < upto`, and the last piece says
    /// where to go on.
    pub(crate) async fn page(
        &self,
        number: u64,
        after: u64,
        upto: u64,
        hidden: bool,
    ) -> Result<Vec<Piece>, JournalError> {
        self.query(move |conn| queries::page(conn, number, after, upto, hidden))
            .await
    }

    /// The next events of all sessions, until there are about 256 KiB. As with [`Self::page`], what is not there is named.
    pub(crate) async fn order_page(
        &self,
        query: OrderQuery,
    ) -> Result<Vec<OrderPiece>, JournalError> {
        self.query(move |conn| order_page::order_page(conn, &query))
            .await
    }

    /// In which order the events of all sessions are shown.
    pub(crate) fn order(&self) -> &Arc<Order> {
        &self.shared.order
    }

    async fn query<T: Send + 'static>(
        &self,
        query: impl FnOnce(&Connection) -> rusqlite::Result<T> + Send + 'static,
    ) -> Result<T, JournalError> {
        self.shared.readers.query(query).await
    }

    /// Nothing can be written, and memory has no room for the rows of further sessions.
    pub(crate) fn is_full(&self) -> bool {
        self.shared.queue.is_full()
    }

    pub(crate) fn health(&self) -> watch::Receiver<Health> {
        self.shared.stats.health()
    }

    pub(crate) fn figures(&self) -> Figures {
        self.shared.stats.figures()
    }

    /// The locks that may only be held for a moment, besides that of the [`Order`].
    pub(crate) fn locks(&self) -> [Named<'_>; 2] {
        let Shared { queue, stats, .. } = &*self.shared;
        [
            ("journal_queue", queue.lock()),
            ("journal_figures", stats.lock()),
        ]
    }

    /// Sessions that retention removed, for whoever deletes what they left elsewhere; for the first caller. While nobody
    /// reads it, retention stops after a few.
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

// === impl Owner ===

impl Drop for Owner {
    fn drop(&mut self) {
        self.0.queue.end(End::Abandon);
    }
}

#[cfg(test)]
mod tests;
