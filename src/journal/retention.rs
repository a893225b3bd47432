//! What is removed so that the rest has room: sessions that are too old, then the oldest finished ones, then the
//! beginning of the largest one that runs.
//!
//! It works in small steps between groups, so that the writer never stalls: a step is one transaction of about
//! [`STEP_ROWS`] rows or [`STEP_TIME`], whichever is less. A removed session disappears at once; what belongs to it is
//! deleted in the steps that follow.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use rusqlite::{OptionalExtension as _, Transaction, params};
use tokio::sync::mpsc::error::TrySendError;
use tokio::sync::mpsc::{Permit, Sender};

use super::order_rows;
use super::queries;
use super::row::Removed;
use super::schema::place;
use super::statements::remove_session;
use super::store::{Store, used};
use super::writer_cache::WriterCache;

/// The bounds.
#[derive(Clone, Copy, Debug)]
pub(super) struct Policy {
    pub(super) max_bytes: u64,
    pub(super) retention: Duration,
}

/// The result of a step.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Stepped {
    /// Another step may find more to do.
    pub(super) more: bool,
    /// How many sessions it removed.
    pub(super) removed: u64,
    /// The order of all events begins here now, if that changed.
    pub(super) order_oldest: Option<u64>,
}

/// Whether a session could be removed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Removal {
    Done,
    /// There is none to remove.
    Nothing,
    /// The queue of announcements is full. Then no session is removed, and running ones are not trimmed instead.
    Blocked,
}

const STEP_ROWS: usize = 200;
const STEP_TIME: Duration = Duration::from_millis(5);

/// Rows between two looks at the clock: rows may be large.
const CHUNK: usize = 16;

/// Free pages that are kept for what comes next.
const SPARE_PAGES: u64 = 256;

/// A step's transaction.
struct Step<'a, 'p> {
    tx: &'a Transaction<'a>,
    memory: &'a WriterCache,
    is_busy: &'a dyn Fn(u64) -> bool,
    removals: &'p Sender<Removed>,
    rows: usize,
    /// With the permit to announce each once the transaction is committed; nothing if nobody listens any more.
    removed: Vec<(Removed, Option<Permit<'p, Removed>>)>,
    /// Bytes taken from running sessions.
    trimmed: BTreeMap<u64, u64>,
    /// Where the order of all events begins: after everything that was removed.
    order_oldest: u64,
}

/// Does one step. Sessions that are busy are about to be written, and are not removed now.
pub(super) fn step(
    store: &mut Store,
    policy: Policy,
    now: u64,
    is_busy: &dyn Fn(u64) -> bool,
    removals: &Sender<Removed>,
) -> rusqlite::Result<Stepped> {
    let size = store.size()?;
    let age = u64::try_from(policy.retention.as_millis()).unwrap_or(u64::MAX);
    let expired = now.saturating_sub(age);
    let is_over = |used| used + size.wal > policy.max_bytes;
    if !is_over(size.used) && !has_expired(store, expired)? {
        return shrink_file(store, size.free_pages);
    }
    let end = Instant::now() + STEP_TIME;
    let (tx, memory) = store.begin(false)?;
    let order_oldest = memory.order_oldest;
    let mut step = Step {
        tx: &tx,
        memory,
        is_busy,
        removals,
        rows: 0,
        removed: Vec::new(),
        trimmed: BTreeMap::new(),
        order_oldest,
    };
    let mut more = true;
    while more && step.rows < STEP_ROWS && Instant::now() < end {
        more = step.next(expired, is_over(used(&tx)?.0))?;
    }
    let Step {
        rows,
        removed,
        trimmed,
        order_oldest: begins,
        ..
    } = step;
    if begins > order_oldest {
        order_rows::set_oldest(&tx, begins)?;
    }
    let mut oldest = Vec::new();
    for (number, bytes) in trimmed {
        oldest.push((number, bytes, queries::span(&tx, number)?.0));
    }
    tx.commit()?;
    memory.order_oldest = begins;
    for (number, bytes, oldest) in oldest {
        if let Some(running) = memory.running.get_mut(&number) {
            running.bytes = running.bytes.saturating_sub(bytes);
            if let Some(watermark) = &running.watermark {
                watermark.trim(oldest);
            }
        }
    }
    let count = removed.len() as u64;
    for (session, permit) in removed {
        memory.remember_removed(session.number);
        if let Some(permit) = permit {
            permit.send(session);
        }
    }
    Ok(Stepped {
        more: more && rows > 0,
        removed: count,
        order_oldest: (begins > order_oldest).then_some(begins),
    })
}

/// Whether anything is to be removed whatever the size.
fn has_expired(store: &Store, expired: u64) -> rusqlite::Result<bool> {
    store
        .conn
        .prepare_cached(
            "SELECT EXISTS (SELECT 1 FROM pending_deletion)
                 OR EXISTS (SELECT 1 FROM sessions WHERE ended IS NOT NULL AND ended <= ?1)",
        )?
        .query_row([expired], |row| row.get::<_, bool>(0))
        .and_then(|found| {
            Ok(found || order_rows::has_before(&store.conn, store.memory.order_oldest)?)
        })
}

/// Gives free pages at the end of the file back to the file system.
fn shrink_file(store: &Store, free: u64) -> rusqlite::Result<Stepped> {
    if free <= SPARE_PAGES {
        return Ok(Stepped::default());
    }
    {
        let mut statement = store.conn.prepare_cached("PRAGMA incremental_vacuum(64)")?;
        let mut pages = statement.query([])?;
        // Each row that is read frees one page.
        while pages.next()?.is_some() {}
    }
    let more = used(&store.conn)?.1 > SPARE_PAGES;
    if !more {
        // The file becomes shorter when the WAL is copied into it, and perhaps nothing else is written for long.
        store
            .conn
            .query_row("PRAGMA wal_checkpoint(PASSIVE)", [], |_| Ok(()))?;
    }
    Ok(Stepped {
        more,
        ..Stepped::default()
    })
}

// === impl Step ===

impl Step<'_, '_> {
    /// Does the next thing. Returns false if there is none.
    fn next(&mut self, expired: u64, is_over: bool) -> rusqlite::Result<bool> {
        let pending: Option<u64> = self
            .tx
            .prepare_cached("SELECT session FROM pending_deletion LIMIT 1")?
            .query_row([], |row| row.get(0))
            .optional()?;
        if let Some(number) = pending {
            self.delete_rows(number)?;
            return Ok(true);
        }
        let deleted = order_rows::delete_before(self.tx, self.order_oldest)?;
        self.rows += deleted;
        if deleted > 0 {
            return Ok(true);
        }
        // If there is too much on disk, any age will do.
        let expired = i64::try_from(expired).unwrap_or(i64::MAX);
        Ok(
            match self.remove_oldest(if is_over { i64::MAX } else { expired })? {
                Removal::Done => true,
                Removal::Blocked => false,
                Removal::Nothing => is_over && self.trim_largest()?,
            },
        )
    }

    /// Deletes some rows of a session that is gone.
    fn delete_rows(&mut self, number: u64) -> rusqlite::Result<()> {
        let deleted = self
            .tx
            .prepare_cached(
                "DELETE FROM runs WHERE place IN
                     (SELECT place FROM runs WHERE place BETWEEN ?1 AND ?2 ORDER BY place LIMIT ?3)",
            )?
            .execute(params![place(number, 0), place(number, u64::MAX), CHUNK])?;
        self.rows += deleted.max(1);
        if deleted < CHUNK {
            for table in ["notes", "prompts", "pending_deletion"] {
                self.tx
                    .prepare_cached(&format!("DELETE FROM {table} WHERE session = ?1"))?
                    .execute([number])?;
            }
        }
        Ok(())
    }

    /// Removes the session that ended first, if it ended by `latest`.
    fn remove_oldest(&mut self, latest: i64) -> rusqlite::Result<Removal> {
        let mut statement = self.tx.prepare_cached(
            "SELECT number, id, remote_id FROM sessions
             WHERE ended IS NOT NULL AND ended <= ?1 ORDER BY ended, number",
        )?;
        let mut rows = statement.query([latest])?;
        while let Some(row) = rows.next()? {
            let session = Removed {
                number: row.get(0)?,
                id: row.get(1)?,
                remote_id: row.get(2)?,
            };
            if (self.is_busy)(session.number) {
                continue;
            }
            let permit = match self.removals.try_reserve() {
                Ok(permit) => Some(permit),
                Err(TrySendError::Closed(())) => None,
                Err(TrySendError::Full(())) => return Ok(Removal::Blocked),
            };
            if let Some(position) = queries::last_position(self.tx, session.number)? {
                self.order_oldest = self.order_oldest.max(position + 1);
            }
            let ids = (session.id.as_str(), session.remote_id.as_deref());
            remove_session(self.tx, session.number, Some(ids))?;
            self.rows += 1;
            self.removed.push((session, permit));
            return Ok(Removal::Done);
        }
        Ok(Removal::Nothing)
    }

    /// Deletes the oldest rows of the largest session that runs, but never its last one: that tells which event is the
    /// last. Returns false if no session has a row to spare.
    fn trim_largest(&mut self) -> rusqlite::Result<bool> {
        let mut by_size: Vec<_> = self.memory.running.iter().collect();
        by_size.sort_by_key(|(number, running)| {
            let trimmed = self.trimmed.get(number).copied().unwrap_or_default();
            std::cmp::Reverse(running.bytes.saturating_sub(trimmed))
        });
        for (number, _) in by_size {
            let rows: Vec<(i64, u64, Option<u64>)> = self
                .tx
                .prepare_cached(
                    "SELECT place, length(frames), position FROM runs
                     WHERE place BETWEEN ?1 AND ?2 ORDER BY place LIMIT ?3",
                )?
                .query_map(
                    params![place(*number, 0), place(*number, u64::MAX), CHUNK + 1],
                    |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)),
                )?
                .collect::<rusqlite::Result<_>>()?;
            // One more was asked for than is deleted, so the last one that there is stays.
            let [deleted @ .., _] = rows.as_slice() else {
                continue;
            };
            let [.., (upto, _, position)] = deleted else {
                continue;
            };
            self.tx
                .prepare_cached("DELETE FROM runs WHERE place BETWEEN ?1 AND ?2")?
                .execute(params![place(*number, 0), upto])?;
            self.rows += deleted.len();
            if let Some(position) = position {
                self.order_oldest = self.order_oldest.max(position + 1);
            }
            let bytes: u64 = deleted.iter().map(|(_, bytes, _)| bytes).sum();
            *self.trimmed.entry(*number).or_default() += bytes;
            return Ok(true);
        }
        Ok(false)
    }
}
