//! What goes, so that the rest has room: sessions that are too old, then the oldest finished ones, then
//! the beginning of the largest one that runs.
//!
//! In small steps between groups, so that the writer never stalls: a step is one transaction of about
//! [`ROWS`] rows or [`TIME`], whatever is less. A removed session disappears at once; its rows follow.

use std::collections::BTreeMap;
use std::sync::Weak;
use std::time::{Duration, Instant};

use rusqlite::{OptionalExtension as _, Transaction, params};
use tokio::sync::mpsc::error::TrySendError;
use tokio::sync::mpsc::{Permit, Sender};

use super::memory::{Gone, Memory};
use super::schema::place;
use super::statements::doom;
use super::store::{Store, used};
use super::{Removed, queries};

/// The bounds.
#[derive(Clone, Copy, Debug)]
pub(super) struct Policy {
    pub(super) max_bytes: u64,
    pub(super) retention: Duration,
}

/// How a step left things.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Stepped {
    /// Another step may find more to do.
    pub(super) more: bool,
    /// Sessions it removed.
    pub(super) removed: u64,
}

/// What became of the wish to remove a session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Retiring {
    Done,
    Nobody,
    /// Whoever cleans up is behind. So are we then, and running sessions do not pay for it.
    Waits,
}

const ROWS: usize = 200;
const TIME: Duration = Duration::from_millis(5);

/// Rows between two looks at the clock: rows may be large.
const CHUNK: usize = 16;

/// Free pages that stay for what comes next.
const SPARE_PAGES: u64 = 256;

/// A step's transaction.
struct Cleaning<'a, 'p> {
    tx: &'a Transaction<'a>,
    memory: &'a Memory,
    busy: &'a dyn Fn(u64) -> bool,
    removals: &'p Sender<Removed>,
    rows: usize,
    /// Who is told when it is committed. Nobody may listen any more; then there is no permit.
    retired: Vec<(Removed, Option<Permit<'p, Removed>>)>,
    /// Bytes taken from running sessions.
    trimmed: BTreeMap<u64, u64>,
}

/// Does one step. Sessions that are `busy` have news, and are not removed now.
pub(super) fn step(
    store: &mut Store,
    policy: Policy,
    now: u64,
    busy: &dyn Fn(u64) -> bool,
    removals: &Sender<Removed>,
) -> rusqlite::Result<Stepped> {
    let size = store.size()?;
    let age = u64::try_from(policy.retention.as_millis()).unwrap_or(u64::MAX);
    let expired = now.saturating_sub(age);
    let full = size.used + size.wal > policy.max_bytes;
    if !full && !has_old(store, expired)? {
        return give_back(store, size.free_pages);
    }
    let end = Instant::now() + TIME;
    let (tx, memory) = store.begin(false)?;
    let mut cleaning = Cleaning {
        tx: &tx,
        memory,
        busy,
        removals,
        rows: 0,
        retired: Vec::new(),
        trimmed: BTreeMap::new(),
    };
    let mut more = true;
    while more && cleaning.rows < ROWS && Instant::now() < end {
        let full = cleaning.used()? + size.wal > policy.max_bytes;
        more = cleaning.next(expired, full)?;
    }
    let worked = cleaning.rows > 0;
    let Cleaning {
        retired, trimmed, ..
    } = cleaning;
    let mut oldest = Vec::new();
    for number in trimmed.keys() {
        oldest.push((*number, queries::span(&tx, *number)?.0));
    }
    tx.commit()?;
    for (number, bytes) in trimmed {
        if let Some(open) = memory.open.get_mut(&number) {
            open.bytes = open.bytes.saturating_sub(bytes);
        }
    }
    for (number, oldest) in oldest {
        let open = memory.open.get(&number);
        let source = open.and_then(|open| open.source.as_ref().and_then(Weak::upgrade));
        if let Some(source) = source {
            source.trimmed(oldest);
        }
    }
    let removed = retired.len() as u64;
    for (session, permit) in retired {
        memory.remember(session.number, Gone::Retired);
        if let Some(permit) = permit {
            permit.send(session);
        }
    }
    Ok(Stepped {
        more: more && worked,
        removed,
    })
}

/// Whether anything is to go whatever the size.
fn has_old(store: &Store, expired: u64) -> rusqlite::Result<bool> {
    store
        .conn
        .prepare_cached(
            "SELECT EXISTS (SELECT 1 FROM doomed)
                 OR EXISTS (SELECT 1 FROM sessions WHERE ended IS NOT NULL AND ended <= ?1)",
        )?
        .query_row([expired], |row| row.get(0))
}

/// Gives free pages at the end of the file back to the file system.
fn give_back(store: &Store, free: u64) -> rusqlite::Result<Stepped> {
    if free > SPARE_PAGES {
        let mut statement = store.conn.prepare_cached("PRAGMA incremental_vacuum(64)")?;
        let mut pages = statement.query([])?;
        // One page with each row.
        while pages.next()?.is_some() {}
    }
    let more = used(&store.conn)?.1 > SPARE_PAGES;
    if free > SPARE_PAGES && !more {
        // The file becomes shorter when the WAL is copied into it, and perhaps nothing else will be
        // written for long.
        store
            .conn
            .query_row("PRAGMA wal_checkpoint(PASSIVE)", [], |_| Ok(()))?;
    }
    Ok(Stepped { more, removed: 0 })
}

// === impl Cleaning ===

impl Cleaning<'_, '_> {
    fn used(&self) -> rusqlite::Result<u64> {
        used(self.tx).map(|(used, _)| used)
    }

    /// Does the next thing; no if there is none.
    fn next(&mut self, expired: u64, full: bool) -> rusqlite::Result<bool> {
        if let Some(number) = self.doomed()? {
            self.sweep(number)?;
            return Ok(true);
        }
        // With too much on disk any age will do.
        let expired = i64::try_from(expired).unwrap_or(i64::MAX);
        let retired = self.retire(if full { i64::MAX } else { expired })?;
        Ok(match retired {
            Retiring::Done => true,
            Retiring::Waits => false,
            Retiring::Nobody => full && self.trim_largest()?,
        })
    }

    fn doomed(&self) -> rusqlite::Result<Option<u64>> {
        self.tx
            .prepare_cached("SELECT session FROM doomed LIMIT 1")?
            .query_row([], |row| row.get(0))
            .optional()
    }

    /// Removes some rows of a session that is gone.
    fn sweep(&mut self, number: u64) -> rusqlite::Result<()> {
        let gone = self
            .tx
            .prepare_cached(
                "DELETE FROM runs WHERE place IN
                     (SELECT place FROM runs WHERE place BETWEEN ?1 AND ?2 ORDER BY place LIMIT ?3)",
            )?
            .execute(params![place(number, 0), place(number, u64::MAX), CHUNK])?;
        self.rows += gone.max(1);
        if gone < CHUNK {
            for table in ["notes", "doomed"] {
                self.tx
                    .prepare_cached(&format!("DELETE FROM {table} WHERE session = ?1"))?
                    .execute([number])?;
            }
        }
        Ok(())
    }

    /// Removes the session that ended first, if it ended by then.
    fn retire(&mut self, by: i64) -> rusqlite::Result<Retiring> {
        let mut statement = self.tx.prepare_cached(
            "SELECT number, id, remote_id FROM sessions
             WHERE ended IS NOT NULL AND ended <= ?1 ORDER BY ended, number",
        )?;
        let mut rows = statement.query([by])?;
        while let Some(row) = rows.next()? {
            let session = Removed {
                number: row.get(0)?,
                id: row.get(1)?,
                remote_id: row.get(2)?,
            };
            if (self.busy)(session.number) {
                continue;
            }
            let permit = match self.removals.try_reserve() {
                Ok(permit) => Some(permit),
                Err(TrySendError::Closed(())) => None,
                Err(TrySendError::Full(())) => return Ok(Retiring::Waits),
            };
            doom(
                self.tx,
                session.number,
                Some((&session.id, session.remote_id.as_deref())),
            )?;
            self.rows += 1;
            self.retired.push((session, permit));
            return Ok(Retiring::Done);
        }
        Ok(Retiring::Nobody)
    }

    /// Takes the oldest rows of the largest session that runs, but never its last one: that says which
    /// event is the last.
    fn trim_largest(&mut self) -> rusqlite::Result<bool> {
        let mut by_size: Vec<_> = self.memory.open.iter().collect();
        by_size.sort_by_key(|(number, open)| {
            let trimmed = self.trimmed.get(number).copied().unwrap_or_default();
            std::cmp::Reverse(open.bytes.saturating_sub(trimmed))
        });
        for (number, _) in by_size {
            let rows: Vec<(i64, u64)> = self
                .tx
                .prepare_cached(
                    "SELECT place, length(frames) FROM runs
                     WHERE place BETWEEN ?1 AND ?2 ORDER BY place LIMIT ?3",
                )?
                .query_map(
                    params![place(*number, 0), place(*number, u64::MAX), CHUNK + 1],
                    |row| Ok((row.get(0)?, row.get(1)?)),
                )?
                .collect::<rusqlite::Result<_>>()?;
            // One more was asked for than is taken, so the last one that there is stays.
            let Some((_, taken)) = rows.split_last() else {
                continue;
            };
            let Some((upto, _)) = taken.last() else {
                continue;
            };
            self.tx
                .prepare_cached("DELETE FROM runs WHERE place BETWEEN ?1 AND ?2")?
                .execute(params![place(*number, 0), upto])?;
            self.rows += taken.len();
            let bytes: u64 = taken.iter().map(|(_, bytes)| bytes).sum();
            *self.trimmed.entry(*number).or_default() += bytes;
            return Ok(true);
        }
        Ok(false)
    }
}
