//! Queries of the database: a few read-only connections, each used by one query at a time, each query with a deadline.
//!
//! The connections are read-only by a pragma, and not by how they are opened: a file that SQLite opens read-only takes
//! locks of its own, and those would give up the lock that keeps other processes out. They never checkpoint, because only
//! the writer moves pages into the database.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use rusqlite::config::DbConfig;
use rusqlite::{Connection, ErrorCode, OpenFlags};
use tokio::sync::Semaphore;
use tokio::time::{Instant, timeout_at};

use super::queue::Queue;
use super::stats::{Stage, Stats};
use super::{store, store_error};

/// Why a query has no answer.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum JournalError {
    #[error("the journal is still being opened; ask again in a moment")]
    Opening,
    #[error("the journal did not answer within 5 s; ask again")]
    Slow,
    #[error("the journal is closed")]
    Closed,
    #[error("the journal cannot be read: {0}")]
    Broken(String),
}

pub(super) struct Readers {
    path: PathBuf,
    queue: Arc<Queue>,
    stats: Arc<Stats>,
    idle: Mutex<Vec<Reader>>,
    permits: Arc<Semaphore>,
    /// Which database is there: another one begins when one is moved aside.
    generation: AtomicU64,
}

struct Reader {
    conn: Connection,
    generation: u64,
}

/// Enough for two cores; a page is read in a millisecond.
const CONNECTIONS: usize = 4;

/// Steps of SQLite's virtual machine between two looks at the clock. They are few, because each may wait for the disk.
const STEPS: std::ffi::c_int = 100;

const DEADLINE: Duration = Duration::from_secs(5);

// === impl Readers ===

impl Readers {
    pub(super) fn new(dir: &Path, queue: Arc<Queue>, stats: Arc<Stats>) -> Self {
        Self {
            path: dir.join(store::NAME),
            queue,
            stats,
            idle: Mutex::default(),
            permits: Arc::new(Semaphore::new(CONNECTIONS)),
            generation: AtomicU64::new(0),
        }
    }

    /// The database was closed, and perhaps replaced: connections to it are not used again.
    pub(super) fn reset(&self) {
        self.generation.fetch_add(1, Ordering::AcqRel);
        self.idle.lock().clear();
    }

    pub(super) fn generation(&self) -> u64 {
        self.generation.load(Ordering::Acquire)
    }

    pub(super) fn close(&self) {
        self.permits.close();
        self.idle.lock().clear();
    }

    fn checkout(&self) -> rusqlite::Result<Reader> {
        let generation = self.generation();
        let idle = self.idle.lock().pop();
        if let Some(reader) = idle.filter(|reader| reader.generation == generation) {
            return Ok(reader);
        }
        let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let conn = Connection::open_with_flags_and_vfs(&self.path, flags, store::VFS)?;
        // The writer locks readers out only when it opens and closes, and not for long.
        conn.busy_timeout(Duration::from_secs(1))?;
        conn.execute_batch(
            "PRAGMA cache_size = -256; PRAGMA query_only = ON; PRAGMA mmap_size = 0",
        )?;
        conn.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true)?;
        Ok(Reader { conn, generation })
    }

    fn put_back(&self, reader: Reader) {
        let mut idle = self.idle.lock();
        if reader.generation == self.generation() && !self.permits.is_closed() {
            idle.push(reader);
        }
    }

    /// Runs a query on a thread where it may block.
    pub(super) async fn query<T: Send + 'static>(
        self: &Arc<Self>,
        query: impl FnOnce(&Connection) -> rusqlite::Result<T> + Send + 'static,
    ) -> Result<T, JournalError> {
        self.query_within(DEADLINE, query).await
    }

    /// A caller that goes away leaves its query running. It keeps its permit until it is done, so there are never more
    /// than a few, and it ends itself at the deadline.
    pub(super) async fn query_within<T: Send + 'static>(
        self: &Arc<Self>,
        limit: Duration,
        query: impl FnOnce(&Connection) -> rusqlite::Result<T> + Send + 'static,
    ) -> Result<T, JournalError> {
        let deadline = Instant::now() + limit;
        match timeout_at(deadline, self.stats.reaches(Stage::Open)).await {
            Err(_) => return Err(JournalError::Opening),
            Ok(Stage::Ended) => return Err(JournalError::Closed),
            Ok(_) => {}
        }
        let permit = timeout_at(deadline, Arc::clone(&self.permits).acquire_owned())
            .await
            .map_err(|_| JournalError::Slow)?
            .map_err(|_| JournalError::Closed)?;
        let readers = Arc::clone(self);
        let task = tokio::task::spawn_blocking(move || {
            let _permit = permit;
            readers.run(deadline, query)
        });
        match timeout_at(deadline, task).await {
            Ok(done) => done.unwrap_or_else(|error| Err(JournalError::Broken(error.to_string()))),
            Err(_) => Err(JournalError::Slow),
        }
    }

    fn run<T>(
        &self,
        deadline: Instant,
        query: impl FnOnce(&Connection) -> rusqlite::Result<T>,
    ) -> Result<T, JournalError> {
        // It may have waited for its thread.
        if Instant::now() >= deadline {
            return Err(JournalError::Slow);
        }
        let generation = self.generation();
        let answer = self.checkout().and_then(|reader| {
            let is_late = move || Instant::now() >= deadline;
            reader.conn.progress_handler(STEPS, Some(is_late));
            // A connection that failed is not used again.
            let answer = query(&reader.conn)?;
            self.put_back(reader);
            Ok(answer)
        });
        answer.map_err(|error| {
            if store_error::is_damage(&error) {
                self.queue.report_damage(generation);
            }
            match error.sqlite_error_code() {
                Some(ErrorCode::OperationInterrupted) => JournalError::Slow,
                _ => JournalError::Broken(error.to_string()),
            }
        })
    }
}
