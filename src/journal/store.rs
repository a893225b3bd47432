//! The writer's connection.
//!
//! WAL with `synchronous=NORMAL`: a commit is in the page cache, where it survives the process but not the machine. A
//! group that must survive a power cut is committed with `FULL`. Only this connection writes, and only it checkpoints.
//!
//! No file is mapped into memory, because whoever can write a mapped file can shorten it, and then a read ends the
//! process. The index of the WAL, which `SQLite` maps by default, lies on the heap ([`VFS`]); so no other process can
//! use the database while we have it open.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::time::Duration;

use rusqlite::config::DbConfig;
use rusqlite::{Connection, OpenFlags, Transaction, TransactionBehavior};

use super::order::Order;
use super::pending::{Group, Pending};
use super::statements::{DraftWriter, raise_last_number, set_about};
use super::store_error::StoreError;
use super::writer_cache::{Changes, WriterCache};
use super::{order_rows, queries, schema};

pub(super) struct Store {
    pub(super) conn: Connection,
    path: PathBuf,
    pub(super) memory: WriterCache,
    /// Commits reach the disk itself: the present value of a pragma.
    synced: bool,
    /// How long the WAL should be at most.
    pub(super) wal_limit: u64,
}

/// What the database takes on disk.
#[derive(Clone, Copy, Debug)]
pub(super) struct Size {
    /// In pages that hold something.
    pub(super) used: u64,
    pub(super) free_pages: u64,
    pub(super) wal: u64,
}

pub(super) const NAME: &str = "sessions.db";
pub(super) const PAGE: u64 = 4096;

/// For one process at a time, whose connections share what processes would share through a mapped file.
pub(super) const VFS: &str = "unix-excl";

/// Nobody else writes. If a person does, with a tool, a group waits for it this long; the watchdog lets readers go on
/// meanwhile.
const BUSY: Duration = Duration::from_secs(10);

// === impl Store ===

impl Store {
    /// Opens the database, or creates it, and checks it as far as a few reads can.
    pub(super) fn open(dir: &Path, checkpoint_pages: u32) -> Result<Self, StoreError> {
        let path = dir.join(NAME);
        // SQLite gives the other files the mode of this one.
        let created = OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(&path)
            // Closed before SQLite opens it: closing a file gives up all locks that this process has on it.
            .map(drop);
        if created.is_ok() {
            // The name must survive a power cut as well as what is written under it.
            File::open(dir)?.sync_all()?;
        }
        let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        restrict_permissions(&path)?;
        let mut conn = Connection::open_with_flags_and_vfs(&path, flags, VFS)?;
        conn.busy_timeout(BUSY)?;
        // If it is dropped without `close`, the files are left as a dead process leaves them.
        conn.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true)?;
        conn.execute_batch(&format!(
            "PRAGMA page_size = {PAGE}; PRAGMA auto_vacuum = INCREMENTAL; PRAGMA cache_size = -1024; PRAGMA mmap_size = 0;"
        ))?;
        let mode: String = conn.query_row("PRAGMA journal_mode = WAL", [], |row| row.get(0))?;
        if mode != "wal" {
            return Err(StoreError::Temporary(format!(
                "its file system cannot share memory between connections ({mode}); use a local volume"
            )));
        }
        let wal_limit = u64::from(checkpoint_pages) * PAGE;
        conn.execute_batch(&format!(
            "PRAGMA synchronous = NORMAL; PRAGMA wal_autocheckpoint = {checkpoint_pages}; PRAGMA journal_size_limit = {wal_limit};"
        ))?;
        schema::prepare(&mut conn)?;
        // From here on no other process has the database open.
        remove_old_index(&path)?;
        schema::check(&conn)?;
        queries::check(&conn)?;
        Ok(Self {
            conn,
            path,
            memory: WriterCache::default(),
            synced: false,
            wal_limit,
        })
    }

    /// A transaction. A synced one is on the disk itself when it is committed.
    pub(super) fn begin(
        &mut self,
        synced: bool,
    ) -> rusqlite::Result<(Transaction<'_>, &mut WriterCache)> {
        let tx = begin(&mut self.conn, &mut self.synced, synced)?;
        Ok((tx, &mut self.memory))
    }

    /// Whether this may not be lost in a power cut (see docs/decisions/0007-journal.md): it begins a turn, or adds to a
    /// session that is finished on disk.
    pub(super) fn must_sync(&self, pending: &Pending) -> bool {
        let draft = &pending.draft;
        let runs = draft.row.as_ref().is_some_and(|row| row.ended.is_none());
        let adds = runs || !draft.runs.is_empty();
        draft.begins || (adds && !self.memory.running.contains_key(&pending.number))
    }

    /// Writes a group: all of it or nothing.
    pub(super) fn write(&mut self, group: &Group, synced: bool) -> rusqlite::Result<()> {
        let mut changes = Changes::default();
        let tx = begin(&mut self.conn, &mut self.synced, synced)?;
        {
            let mut writer = DraftWriter::new(&tx, &group.entries)?;
            for pending in &group.drafts {
                writer.write(pending, &self.memory, &mut changes)?;
            }
            let is_again = group.drafts.iter().any(|pending| pending.again);
            order_rows::insert(&tx, &group.entries, is_again)?;
        }
        tx.commit()?;
        self.memory.apply(changes);
        Ok(())
    }

    /// Takes over what the connection before this one knew. The database may be another one than then: running
    /// sessions that it does not know get a row, and a hole in place of their events, so that their numbers go on.
    pub(super) fn restore_state(
        &mut self,
        memory: &mut WriterCache,
        boot: &str,
        order: &Order,
    ) -> rusqlite::Result<()> {
        let tx = begin(&mut self.conn, &mut self.synced, true)?;
        set_about(&tx, "boot", boot)?;
        set_about(&tx, "closed", "no")?;
        raise_last_number(&tx, memory.last_number)?;
        let oldest = order_rows::restore(&tx, order.epoch(), order.written() + 1)?;
        {
            let mut writer = DraftWriter::new(&tx, &[])?;
            for (number, running) in &memory.running {
                // A row that is there may say more: that the session has ended, in a group whose commit looked failed.
                if !queries::exists(&tx, *number)? {
                    writer.row(&running.row)?;
                }
                let (_, last) = queries::span(&tx, *number)?;
                writer.insert_hole(*number, last, running.last)?;
            }
        }
        tx.commit()?;
        self.memory = std::mem::take(memory);
        if let Some(oldest) = oldest {
            self.memory.order_oldest = oldest;
            order.forget_before(oldest);
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

    /// Copies the WAL into the database and truncates it, if no reader uses it.
    pub(super) fn truncate_wal(&self) -> rusqlite::Result<()> {
        // A reader of ours is done in milliseconds.
        self.conn.busy_timeout(Duration::from_millis(100))?;
        let done = self
            .conn
            .query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(()));
        self.conn.busy_timeout(BUSY)?;
        done
    }

    /// Makes all that was committed before reach the disk itself.
    pub(super) fn sync(&mut self) -> rusqlite::Result<()> {
        let tx = begin(&mut self.conn, &mut self.synced, true)?;
        // A new value each time, because SQLite does not write a value that is there already.
        tx.execute_batch(
            "INSERT INTO about VALUES ('synced', hex(randomblob(8)))
             ON CONFLICT (name) DO UPDATE SET value = excluded.value",
        )?;
        tx.commit()
    }

    /// Notes in the database that nothing is missing in it, and leaves one file.
    pub(super) fn close(&mut self) -> rusqlite::Result<()> {
        let tx = begin(&mut self.conn, &mut self.synced, true)?;
        set_about(&tx, "closed", "yes")?;
        tx.commit()?;
        self.truncate_wal()?;
        self.conn
            .set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, false)?;
        Ok(())
    }
}

/// Files of an earlier version may have another mode.
fn restrict_permissions(path: &Path) -> io::Result<()> {
    for suffix in ["", "-wal"] {
        match fs::set_permissions(with_suffix(path, suffix), fs::Permissions::from_mode(0o600)) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            // Another user's, in a directory that is ours all the same: it is used as it is.
            Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {}
            other => other?,
        }
    }
    Ok(())
}

/// The index that an earlier version left behind: ours is on the heap.
fn remove_old_index(path: &Path) -> io::Result<()> {
    match fs::remove_file(with_suffix(path, "-shm")) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

fn begin<'a>(
    conn: &'a mut Connection,
    present: &mut bool,
    synced: bool,
) -> rusqlite::Result<Transaction<'a>> {
    if *present != synced {
        // Not through the cache of statements: this pragma takes effect when it is prepared, not when it is run.
        conn.pragma_update(None, "synchronous", if synced { "FULL" } else { "NORMAL" })?;
        *present = synced;
    }
    conn.transaction_with_behavior(TransactionBehavior::Immediate)
}

/// The bytes in pages that hold something, and the number of free pages.
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
