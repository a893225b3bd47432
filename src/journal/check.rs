//! What comes from the disk is checked like what comes from the network: somebody else may have written it.
//!
//! A session whose row cannot be one of ours is not used, and is said in the log once. Ids become parts of
//! paths, epochs become parts of frames, and numbers are counted on with.

use std::collections::BTreeSet;

use parking_lot::Mutex;
use rusqlite::{Connection, Transaction};

use super::schema::{self, is_in_range};
use super::store_error::StoreError;
use super::{Removed, Row, queries, statements};
use crate::id;

/// Why a row is not used.
pub(super) type Reason = &'static str;

/// Milliseconds to the end of the year 9999, which is as far as a timestamp can be written.
const MAX_TIME: u64 = 253_402_300_799_999;

/// More turns than a session can have had.
const MAX_TURN: u32 = 1 << 24;

/// Idempotency keys are at most so long.
const MAX_KEY: usize = 1024;

const EPOCH_LENGTH: usize = 10;

/// Rows that were complained of. When there are more, some are said again.
static SAID: Mutex<BTreeSet<i64>> = Mutex::new(BTreeSet::new());
const MAX_SAID: usize = 1024;

/// Whether a row and the span of its events can be one of ours.
pub(super) fn row(row: &Row, (oldest, last): (u64, u64)) -> Result<(), Reason> {
    let faults = [
        (!is_in_range(row.number, last), "a number is too large"),
        (
            oldest > last.saturating_add(1),
            "its events end before they begin",
        ),
        (!id::is_id(&row.id), "its id is none"),
        (!is_epoch(&row.epoch), "its epoch is none"),
        (
            row.remote_id.as_deref().is_some_and(|id| !id::is_id(id)),
            "OpenCode's id is none",
        ),
        (
            row.key.as_ref().is_some_and(|key| key.len() > MAX_KEY),
            "its key is too long",
        ),
        (
            row.ended.is_some_and(|ended| ended > MAX_TIME),
            "it ended too late",
        ),
        (
            row.turn > MAX_TURN || row.reported > row.turn,
            "its turns do not add up",
        ),
    ];
    match faults.into_iter().find(|(is_fault, _)| *is_fault) {
        Some((_, reason)) => Err(reason),
        None => Ok(()),
    }
}

pub(super) fn is_epoch(epoch: &str) -> bool {
    let is_part = |byte: u8| byte.is_ascii_digit() || byte.is_ascii_lowercase();
    epoch.len() == EPOCH_LENGTH && epoch.bytes().all(is_part)
}

/// Whether somebody may be told of a session that was removed.
pub(super) fn removed(removed: &Removed) -> bool {
    let remote = removed.remote_id.as_deref();
    is_in_range(removed.number, 0) && id::is_id(&removed.id) && remote.is_none_or(id::is_id)
}

/// Says that a row is not used, once.
pub(super) fn complain(number: i64, reason: Reason) {
    let mut said = SAID.lock();
    if !said.insert(number) {
        return;
    }
    if said.len() > MAX_SAID {
        said.pop_first();
    }
    drop(said);
    tracing::error!(
        number,
        reason,
        "a session in the journal is not ours and is left out"
    );
}

/// The tables are ours to the letter: no other type, no trigger, no view.
pub(super) fn schema(conn: &Connection) -> Result<(), StoreError> {
    let mut ours = Connection::open_in_memory()?;
    schema::prepare(&mut ours)?;
    if tables(conn)? == tables(&ours)? {
        Ok(())
    } else {
        Err(StoreError::Damaged(
            "its tables are not as we make them".into(),
        ))
    }
}

fn tables(conn: &Connection) -> rusqlite::Result<Vec<(String, String, Option<String>)>> {
    conn.prepare("SELECT type, name, sql FROM sqlite_schema ORDER BY type, name")?
        .query_map([], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)))?
        .collect()
}

/// Takes the rows out that cannot be ours, so that nothing that counts rows counts them.
pub(super) fn weed(tx: &Transaction<'_>) -> rusqlite::Result<()> {
    for number in queries::rejected(tx)? {
        tx.execute("DELETE FROM sessions WHERE number = ?1", [number])?;
        if let Ok(number) = u64::try_from(number)
            && is_in_range(number, 0)
        {
            // Its events go in steps, as those of any session that is gone.
            statements::doom(tx, number, None)?;
        }
    }
    let found: Vec<(i64, Option<Removed>)> = tx
        .prepare("SELECT session, id, remote_id FROM doomed WHERE id IS NOT NULL")?
        .query_map([], |row| {
            let read = || {
                Ok::<_, rusqlite::Error>(Removed {
                    number: row.get(0)?,
                    id: row.get(1)?,
                    remote_id: row.get(2)?,
                })
            };
            Ok((row.get(0)?, read().ok()))
        })?
        .collect::<rusqlite::Result<_>>()?;
    for (number, session) in found {
        if !session.is_some_and(|session| removed(&session)) {
            complain(number, "it was removed, and its ids are none");
            tx.execute(
                "UPDATE doomed SET id = NULL, remote_id = NULL WHERE session = ?1",
                [number],
            )?;
        }
    }
    Ok(())
}
