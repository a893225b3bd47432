//! Look-ups: a few read-only connections, each used by one at a time, each look-up with a deadline.
//!
//! Read-only by a pragma, and not by how they are opened: a file that SQLite opens read-only takes locks of its own
//! there, and those would give up the lock that keeps other processes out. They never checkpoint: only the writer
//! moves pages into the database.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use rusqlite::config::DbConfig;
use rusqlite::{Connection, ErrorCode, OpenFlags};
use tokio::sync::Semaphore;
use tokio::time::{Instant, timeout_at};

use super::stats::Stage;
use super::{Shared, store, store_error};

/// Why a look-up found nothing out.
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
    idle: Mutex<Vec<Reader>>,
    places: Arc<Semaphore>,
    /// Which database is there: a new one begins when one is put aside.
    generation: AtomicU64,
}

struct Reader {
    conn: Connection,
    generation: u64,
}

/// Enough for two cores; a page is read in a millisecond.
const CONNECTIONS: usize = 4;

/// Steps of SQLite's machine between two looks at the clock. Few: each may wait for the disk.
const STEPS: std::ffi::c_int = 100;

const DEADLINE: Duration = Duration::from_secs(5);

// === impl Readers ===

impl Readers {
    pub(super) fn new(dir: &Path) -> Self {
        Self {
            path: dir.join(store::NAME),
            idle: Mutex::default(),
            places: Arc::new(Semaphore::new(CONNECTIONS)),
            generation: AtomicU64::new(0),
        }
    }

    /// There is another database now.
    pub(super) fn turn_over(&self) {
        self.generation.fetch_add(1, Ordering::AcqRel);
        self.idle.lock().clear();
    }

    pub(super) fn generation(&self) -> u64 {
        self.generation.load(Ordering::Acquire)
    }

    pub(super) fn close(&self) {
        self.places.close();
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
        // The writer never locks readers out for long: it does so when it opens and closes.
        conn.busy_timeout(Duration::from_secs(1))?;
        conn.execute_batch(
            "PRAGMA cache_size = -256; PRAGMA query_only = ON; PRAGMA mmap_size = 0",
        )?;
        conn.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true)?;
        Ok(Reader { conn, generation })
    }

    fn put_back(&self, reader: Reader) {
        let mut idle = self.idle.lock();
        if reader.generation == self.generation() && !self.places.is_closed() {
            idle.push(reader);
        }
    }
}

/// Runs a look-up on a thread where it may block.
///
/// A caller that goes away leaves it running; it keeps its place until it is done, so there are never
/// more than a few. It ends itself at the deadline.
pub(super) async fn look<T: Send + 'static>(
    shared: &Arc<Shared>,
    question: impl FnOnce(&Connection) -> rusqlite::Result<T> + Send + 'static,
) -> Result<T, JournalError> {
    look_within(shared, DEADLINE, question).await
}

pub(super) async fn look_within<T: Send + 'static>(
    shared: &Arc<Shared>,
    limit: Duration,
    question: impl FnOnce(&Connection) -> rusqlite::Result<T> + Send + 'static,
) -> Result<T, JournalError> {
    let deadline = Instant::now() + limit;
    match timeout_at(deadline, shared.stats.reaches(Stage::Open)).await {
        Err(_) => return Err(JournalError::Opening),
        Ok(Stage::Ended) => return Err(JournalError::Closed),
        Ok(_) => {}
    }
    let place = timeout_at(deadline, Arc::clone(&shared.readers.places).acquire_owned())
        .await
        .map_err(|_| JournalError::Slow)?
        .map_err(|_| JournalError::Closed)?;
    let shared = Arc::clone(shared);
    let task = tokio::task::spawn_blocking(move || {
        let _place = place;
        // It may have waited for its thread.
        if Instant::now() >= deadline {
            return Err(JournalError::Slow);
        }
        let generation = shared.readers.generation();
        let answer = shared.readers.checkout().and_then(|reader| {
            let is_late = move || Instant::now() >= deadline;
            reader.conn.progress_handler(STEPS, Some(is_late));
            // One that failed is not used again.
            let answer = question(&reader.conn)?;
            shared.readers.put_back(reader);
            Ok(answer)
        });
        answer.map_err(|error| {
            if store_error::is_damage(&error) {
                shared.queue.report_damage(generation);
            }
            match error.sqlite_error_code() {
                Some(ErrorCode::OperationInterrupted) => JournalError::Slow,
                _ => JournalError::Broken(error.to_string()),
            }
        })
    });
    match timeout_at(deadline, task).await {
        Ok(done) => done.unwrap_or_else(|error| Err(JournalError::Broken(error.to_string()))),
        Err(_) => Err(JournalError::Slow),
    }
}
