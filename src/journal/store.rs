//! The writer's connection: what a group is in SQL.
//!
//! WAL with `synchronous=NORMAL`: a commit is in the page cache, where it survives the process but not
//! the machine. A group that must survive a power cut is committed with `FULL`. Only this connection
//! writes, and only it checkpoints.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fs::{self, File, OpenOptions};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Weak};
use std::time::Duration;

use rusqlite::config::DbConfig;
use rusqlite::{
    CachedStatement, Connection, OpenFlags, OptionalExtension as _, Transaction,
    TransactionBehavior, params,
};

use super::desk::Pending;
use super::fault::Fault;
use super::look;
use super::schema::{self, place};
use super::{Row, Run, Source, Stored};

pub(super) struct Store {
    pub(super) conn: Connection,
    path: PathBuf,
    pub(super) memory: Memory,
    /// Commits reach the disk itself. A pragma of SQLite's, which it keeps.
    synced: bool,
    wal_limit: u64,
}

/// A removed session.
#[derive(Clone, Copy, Debug)]
pub(super) enum Gone {
    /// Somebody asked for it: what its source still has is not wanted.
    Forgotten,
    /// By retention, after so many events. A turn that begins at this moment brings it back.
    Retired { last: u64 },
}

/// What is known without asking the database, and outlives it.
#[derive(Debug, Default)]
pub(super) struct Memory {
    /// The sessions whose turn runs. They are few, and they are what a new database begins with when
    /// this one turns out to be damaged.
    pub(super) open: HashMap<u64, Open>,
    /// Sessions that were removed a moment ago: their sources may still have something.
    gone: BTreeMap<u64, Gone>,
    /// The largest number there ever was.
    last_number: u64,
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

/// A group's changes to [`Memory`], for when it is on disk.
#[derive(Default)]
struct Changes {
    opened: Vec<(u64, Open)>,
    grown: Vec<(u64, u64, u64)>,
    closed: Vec<u64>,
    revived: Vec<u64>,
    last_number: u64,
}

/// What the database takes on disk.
#[derive(Clone, Copy, Debug)]
pub(super) struct Size {
    /// By pages that hold something.
    pub(super) used: u64,
    pub(super) free_pages: u64,
    pub(super) wal: u64,
}

pub(super) const NAME: &str = "sessions.db";
pub(super) const PAGE: u64 = 4096;

/// Nobody else writes. If a person does, with a tool, a group waits for it this long; the watchdog sees to
/// the readers.
const BUSY: Duration = Duration::from_secs(10);

/// A run is cut into rows of about this size, so that a reader that wants its end need not read all.
const ROW_BYTES: usize = 64 << 10;

/// A guess for sessions that were there before us, of which nobody counted the bytes.
const EVENT_BYTES: u64 = 256;

/// So many of the removed are remembered. A source is heard of within seconds, if at all.
const GONE: usize = 4096;

// === impl Store ===

impl Store {
    /// Opens the database, or makes it. It is checked as far as a few reads can.
    pub(super) fn open(dir: &Path, checkpoint_pages: u32) -> Result<Self, Fault> {
        let path = dir.join(NAME);
        // SQLite gives the other files the mode of this one.
        let made = OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(&path);
        if made.is_ok() {
            // The name must survive a power cut as well as what is written under it.
            File::open(dir)?.sync_all()?;
        }
        let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let mut conn = Connection::open_with_flags(&path, flags)?;
        conn.busy_timeout(BUSY)?;
        // Dropped without `close` it is left as a dead process leaves it.
        conn.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true)?;
        conn.execute_batch(&format!(
            "PRAGMA page_size = {PAGE}; PRAGMA auto_vacuum = INCREMENTAL; PRAGMA cache_size = -1024;"
        ))?;
        let mode: String = conn.query_row("PRAGMA journal_mode = WAL", [], |row| row.get(0))?;
        if mode != "wal" {
            return Err(Fault::Trouble(format!(
                "its file system cannot share memory between connections ({mode}); use a local volume"
            )));
        }
        let wal_limit = u64::from(checkpoint_pages) * PAGE;
        conn.execute_batch(&format!(
            "PRAGMA synchronous = NORMAL; PRAGMA wal_autocheckpoint = {checkpoint_pages}; PRAGMA journal_size_limit = {};",
            wal_limit
        ))?;
        schema::prepare(&mut conn)?;
        look::check(&conn)?;
        Ok(Self {
            conn,
            path,
            memory: Memory::default(),
            synced: false,
            wal_limit,
        })
    }

    /// A transaction. A synced one is on the disk itself when it is committed.
    pub(super) fn begin(
        &mut self,
        synced: bool,
    ) -> rusqlite::Result<(Transaction<'_>, &mut Memory)> {
        let tx = begin(&mut self.conn, &mut self.synced, synced)?;
        Ok((tx, &mut self.memory))
    }

    /// Whether this may not be lost in a power cut: see docs/decisions/0007-journal.md. It is so when it
    /// opens a session that is finished on disk, or adds to one.
    pub(super) fn must_sync(&self, pending: &Pending) -> bool {
        let draft = &pending.draft;
        let opens = draft.row.as_ref().is_some_and(|row| row.ended.is_none());
        let adds = opens || !draft.runs.is_empty();
        draft.durable || (adds && !self.memory.open.contains_key(&pending.source.number()))
    }

    /// Writes a group: all of it or nothing.
    pub(super) fn write(&mut self, group: &[Pending], synced: bool) -> rusqlite::Result<()> {
        let mut changes = Changes::default();
        let tx = begin(&mut self.conn, &mut self.synced, synced)?;
        {
            let mut writing = Writing::new(&tx)?;
            for pending in group {
                let gone = self.memory.gone.get(&pending.source.number());
                if !matches!(gone, Some(Gone::Forgotten)) {
                    writing.draft(pending, &self.memory.open, gone, &mut changes)?;
                }
            }
        }
        tx.commit()?;
        self.memory.apply(changes);
        Ok(())
    }

    /// Writes what the connection before this one knew. The database may be another than then: running
    /// sessions it knows nothing of get a row, and a hole where their events were, so that what readers
    /// saw keeps its number.
    pub(super) fn inherit(&mut self, memory: &mut Memory, boot: &str) -> rusqlite::Result<()> {
        self.seed(memory, boot)?;
        self.memory = std::mem::take(memory);
        Ok(())
    }

    fn seed(&mut self, memory: &Memory, boot: &str) -> rusqlite::Result<()> {
        let tx = begin(&mut self.conn, &mut self.synced, true)?;
        set_about(&tx, "boot", boot)?;
        set_about(&tx, "closed", "no")?;
        raise_last_number(&tx, memory.last_number)?;
        {
            let mut writing = Writing::new(&tx)?;
            for (number, open) in &memory.open {
                writing.row(&open.row)?;
                let (_, last) = look::span(&tx, *number)?;
                if last < open.last {
                    writing.piece(*number, last + 1, open.last, false, &[])?;
                }
            }
        }
        tx.commit()
    }

    /// The sessions go at once, what they leave behind goes in [steps](super::retention).
    pub(super) fn forget(&mut self, numbers: &BTreeSet<u64>) -> rusqlite::Result<()> {
        // Synced: what somebody asked us to remove must not come back.
        let tx = begin(&mut self.conn, &mut self.synced, true)?;
        for number in numbers {
            doom(&tx, *number, None)?;
        }
        tx.commit()?;
        for number in numbers {
            self.memory.open.remove(number);
            self.memory.remember(*number, Gone::Forgotten);
        }
        Ok(())
    }

    pub(super) fn size(&self) -> rusqlite::Result<Size> {
        let (used, free_pages) = used(&self.conn)?;
        let wal = fs::metadata(with_suffix(&self.path, "-wal"));
        Ok(Size {
            used,
            free_pages,
            wal: wal.map_or(0, |metadata| metadata.len()),
        })
    }

    /// Copies the WAL into the database and cuts it off, if no reader is in it.
    pub(super) fn truncate_wal(&self) -> rusqlite::Result<()> {
        // A reader of ours is done in milliseconds.
        self.conn.busy_timeout(Duration::from_millis(100))?;
        let done = self
            .conn
            .query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(()));
        self.conn.busy_timeout(BUSY)?;
        done
    }

    /// How long the WAL should be.
    pub(super) fn wal_limit(&self) -> u64 {
        self.wal_limit
    }

    /// Has all that was committed before written to the disk itself.
    pub(super) fn sync(&mut self) -> rusqlite::Result<()> {
        let tx = begin(&mut self.conn, &mut self.synced, true)?;
        // Something new each time: SQLite does not write what is there already.
        tx.execute_batch(
            "INSERT INTO about VALUES ('synced', hex(randomblob(8)))
             ON CONFLICT (name) DO UPDATE SET value = excluded.value",
        )?;
        tx.commit()
    }

    /// Says in the database that nothing is missing in it, and leaves one file.
    pub(super) fn close(&mut self) -> rusqlite::Result<()> {
        let tx = begin(&mut self.conn, &mut self.synced, true)?;
        set_about(&tx, "closed", "yes")?;
        tx.commit()?;
        self.truncate_wal()?;
        self.conn
            .set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, false)?;
        Ok(())
    }

    /// What was read at opening; from now on they are kept up to date.
    pub(super) fn adopt<'a>(
        &mut self,
        unfinished: impl Iterator<Item = &'a Stored>,
        last_number: u64,
    ) {
        self.memory.last_number = last_number;
        for Stored { row, oldest, last } in unfinished {
            self.memory.open.insert(
                row.number,
                Open {
                    row: row.clone(),
                    last: *last,
                    bytes: (last + 1 - oldest) * EVENT_BYTES,
                    source: None,
                },
            );
        }
    }
}

// === impl Memory ===

impl Memory {
    pub(super) fn remember(&mut self, number: u64, how: Gone) {
        self.gone.insert(number, how);
        while self.gone.len() > GONE {
            self.gone.pop_first();
        }
    }

    fn apply(&mut self, changes: Changes) {
        self.last_number = self.last_number.max(changes.last_number);
        self.open.extend(changes.opened);
        for (number, last, bytes) in changes.grown {
            if let Some(open) = self.open.get_mut(&number) {
                open.last = open.last.max(last);
                open.bytes += bytes;
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

fn begin<'a>(
    conn: &'a mut Connection,
    now: &mut bool,
    synced: bool,
) -> rusqlite::Result<Transaction<'a>> {
    if *now != synced {
        // Never from the cache of statements: this pragma works when it is prepared, not when it is run.
        conn.pragma_update(None, "synchronous", if synced { "FULL" } else { "NORMAL" })?;
        *now = synced;
    }
    conn.transaction_with_behavior(TransactionBehavior::Immediate)
}

/// Moves a session to those whose rows go in steps. With a name, somebody is to be told.
pub(super) fn doom(
    tx: &Transaction<'_>,
    number: u64,
    told: Option<(&str, Option<&str>)>,
) -> rusqlite::Result<()> {
    let (id, remote_id) = told.unzip();
    tx.prepare_cached("INSERT OR IGNORE INTO doomed (session, id, remote_id) VALUES (?1, ?2, ?3)")?
        .execute(params![number, id, remote_id.flatten()])?;
    raise_last_number(tx, number)?;
    tx.prepare_cached("DELETE FROM sessions WHERE number = ?1")?
        .execute([number])?;
    Ok(())
}

/// The number of a session that is gone must not be given again.
fn raise_last_number(tx: &Transaction<'_>, number: u64) -> rusqlite::Result<()> {
    tx.prepare_cached(
        "INSERT INTO about VALUES ('last_number', ?1)
         ON CONFLICT (name) DO UPDATE SET value = max(CAST(value AS INTEGER), ?1)",
    )?
    .execute([number])?;
    Ok(())
}

/// Bytes in pages that hold something, and how many pages do not.
pub(super) fn used(conn: &Connection) -> rusqlite::Result<(u64, u64)> {
    let ask = |pragma| -> rusqlite::Result<u64> {
        conn.prepare_cached(pragma)?.query_row([], |row| row.get(0))
    };
    let (pages, free) = (ask("PRAGMA page_count")?, ask("PRAGMA freelist_count")?);
    Ok((pages.saturating_sub(free) * PAGE, free))
}

/// `sessions.db` and `-wal` make `sessions.db-wal`.
pub(super) fn with_suffix(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    name.into()
}

/// A transaction's statements.
struct Writing<'a> {
    tx: &'a Transaction<'a>,
    row: CachedStatement<'a>,
    run: CachedStatement<'a>,
    note: CachedStatement<'a>,
    no_notes: CachedStatement<'a>,
}

// === impl Writing ===

impl<'a> Writing<'a> {
    fn new(tx: &'a Transaction<'a>) -> rusqlite::Result<Self> {
        Ok(Self {
            tx,
            row: tx.prepare_cached(
                "INSERT INTO sessions
                     (number, id, epoch, remote_id, state, ended, key, reported, turn, facts)
                 VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10)
                 ON CONFLICT (number) DO UPDATE SET
                     id = ?2, epoch = ?3, remote_id = ?4, state = ?5, ended = ?6, key = ?7,
                     reported = ?8, turn = ?9, facts = ?10",
            )?,
            // A run may come twice, if a commit failed after it was done.
            run: tx.prepare_cached(
                "INSERT OR REPLACE INTO runs (place, last, hidden, frames) VALUES (?1, ?2, ?3, ?4)",
            )?,
            note: tx.prepare_cached(
                "INSERT INTO notes (session, part, value) VALUES (?1, ?2, ?3)
                 ON CONFLICT (session, part) DO UPDATE SET value = ?3",
            )?,
            no_notes: tx.prepare_cached("DELETE FROM notes WHERE session = ?1")?,
        })
    }

    fn draft(
        &mut self,
        pending: &Pending,
        open: &HashMap<u64, Open>,
        gone: Option<&Gone>,
        changes: &mut Changes,
    ) -> rusqlite::Result<()> {
        let (number, draft) = (pending.source.number(), &pending.draft);
        if let Some(Gone::Retired { last }) = gone {
            // A line about a session that is over does not bring it back.
            if draft.row.as_ref().is_none_or(|row| row.ended.is_some()) {
                return Ok(());
            }
            self.revive(number, *last)?;
            changes.revived.push(number);
        }
        let was_open = open.contains_key(&number);
        if draft.row.is_none() && !was_open && !look::exists(self.tx, number)? {
            return Ok(());
        }
        if let Some(row) = &draft.row {
            match row.ended {
                Some(_) => changes.closed.push(number),
                None => changes.opened.push((
                    number,
                    self.opened(row, open.get(&number), &pending.source)?,
                )),
            }
            self.row(row)?;
            changes.last_number = changes.last_number.max(number);
        }
        if draft.fresh_notes {
            self.no_notes.execute([number])?;
        }
        for (part, value) in &draft.notes {
            self.note.execute(params![number, &**part, value])?;
        }
        for run in &draft.runs {
            self.cut_run(number, run)?;
            changes
                .grown
                .push((number, run.last, run.frames.len() as u64));
        }
        Ok(())
    }

    /// A removed session that begins another turn: what was left of it goes, and its events keep their
    /// numbers.
    fn revive(&mut self, number: u64, last: u64) -> rusqlite::Result<()> {
        self.tx
            .execute("DELETE FROM doomed WHERE session = ?1", [number])?;
        self.tx.execute(
            "DELETE FROM runs WHERE place BETWEEN ?1 AND ?2",
            [place(number, 0), place(number, u64::MAX)],
        )?;
        if last > 0 {
            self.piece(number, 1, last, false, &[])?;
        }
        Ok(())
    }

    fn opened(
        &self,
        row: &Row,
        before: Option<&Open>,
        source: &Arc<dyn Source>,
    ) -> rusqlite::Result<Open> {
        let (last, bytes) = if let Some(before) = before {
            (before.last, before.bytes)
        } else {
            let (oldest, last) = look::span(self.tx, row.number)?;
            (last, (last + 1 - oldest) * EVENT_BYTES)
        };
        Ok(Open {
            row: row.clone(),
            last,
            bytes,
            source: Some(Arc::downgrade(source)),
        })
    }

    fn row(&mut self, row: &Row) -> rusqlite::Result<()> {
        self.row.execute(params![
            row.number,
            row.id,
            row.epoch,
            row.remote_id,
            row.state,
            row.ended,
            row.key,
            row.reported,
            row.turn,
            row.facts
        ])?;
        Ok(())
    }

    fn cut_run(&mut self, number: u64, run: &Run) -> rusqlite::Result<()> {
        let (mut first, mut frames) = (run.first, &run.frames[..]);
        while frames.len() > ROW_BYTES && first < run.last {
            let (count, length) = super::frames::whole_within(frames, ROW_BYTES);
            let last = first + count - 1;
            if last >= run.last {
                break;
            }
            self.piece(number, first, last, run.hidden, &frames[..length])?;
            (first, frames) = (last + 1, &frames[length..]);
        }
        self.piece(number, first, run.last, run.hidden, frames)
    }

    fn piece(
        &mut self,
        number: u64,
        first: u64,
        last: u64,
        hidden: bool,
        frames: &[u8],
    ) -> rusqlite::Result<()> {
        if !schema::is_in_range(number, last) {
            return Err(rusqlite::Error::ToSqlConversionFailure(
                "the numbers of sessions or events are used up".into(),
            ));
        }
        self.run
            .execute(params![place(number, first), last, hidden, frames])?;
        Ok(())
    }
}

/// For whoever wants one value or nothing.
pub(super) fn about(conn: &Connection, name: &str) -> rusqlite::Result<Option<String>> {
    conn.query_row("SELECT value FROM about WHERE name = ?1", [name], |row| {
        row.get(0)
    })
    .optional()
}

pub(super) fn set_about(conn: &Connection, name: &str, value: &str) -> rusqlite::Result<()> {
    conn.execute(
        "INSERT INTO about VALUES (?1, ?2) ON CONFLICT (name) DO UPDATE SET value = ?2",
        [name, value],
    )?;
    Ok(())
}
