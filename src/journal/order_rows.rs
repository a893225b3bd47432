//! The table of the order of all events: what the writer does with it.

use rusqlite::{Connection, OptionalExtension as _, Transaction, params};

use super::order::OrderStart;
use super::order_entry::{self, Entry};
use super::statements::{about, set_about};

/// Rows deleted at a time; they are small.
const CHUNK: usize = 64;

/// A group's part of the order. One that is written `again` may be there already, perhaps in other rows.
pub(super) fn insert(
    tx: &Transaction<'_>,
    entries: &[Entry],
    is_again: bool,
) -> rusqlite::Result<()> {
    let mut insert = tx
        .prepare_cached("INSERT OR REPLACE INTO event_order (position, entries) VALUES (?1, ?2)")?;
    for row in order_entry::rows(entries) {
        if is_again {
            tx.prepare_cached("DELETE FROM event_order WHERE position BETWEEN ?1 AND ?2")?
                .execute([row.position, row.end])?;
        }
        insert.execute(params![row.position, row.entries])?;
    }
    Ok(())
}

/// What an earlier process left. The epoch is there.
pub(super) fn start(conn: &Connection) -> rusqlite::Result<OrderStart> {
    let first: Option<u64> =
        conn.query_row("SELECT min(position) FROM event_order", [], |row| {
            row.get(0)
        })?;
    let last: Option<(u64, Vec<u8>)> = conn
        .query_row(
            "SELECT position, entries FROM event_order ORDER BY position DESC LIMIT 1",
            [],
            |row| Ok((row.get(0)?, row.get(1)?)),
        )
        .optional()?;
    let next = last.map_or(1, |(position, packed)| {
        let entries = order_entry::unpack(position, &packed);
        entries
            .last()
            .map_or(position, Entry::end)
            .saturating_add(1)
    });
    let next = next.max(oldest(conn)?);
    Ok(OrderStart {
        epoch: about(conn, "order_epoch")?.unwrap_or_default(),
        oldest: first.unwrap_or(next).max(oldest(conn)?),
        next,
    })
}

/// The order goes on in this database, and `next` is the first position that is not on disk. One that does not have what
/// is before that begins there; then this is returned.
pub(super) fn restore(
    tx: &Transaction<'_>,
    epoch: Option<String>,
    next: u64,
) -> rusqlite::Result<Option<u64>> {
    let epoch = epoch.unwrap_or_default();
    if about(tx, "order_epoch")?.is_some_and(|known| known == epoch) {
        return Ok(None);
    }
    set_about(tx, "order_epoch", &epoch)?;
    set_oldest(tx, next)?;
    Ok(Some(next))
}

/// The first position that is kept, as far as anything was removed.
pub(super) fn oldest(conn: &Connection) -> rusqlite::Result<u64> {
    let oldest = about(conn, "order_oldest")?.and_then(|text| text.parse().ok());
    Ok(oldest.unwrap_or(1))
}

pub(super) fn set_oldest(tx: &Transaction<'_>, oldest: u64) -> rusqlite::Result<()> {
    set_about(tx, "order_oldest", &oldest.to_string())
}

/// Whether there are rows of which everything is before `oldest`.
pub(super) fn has_before(conn: &Connection, oldest: u64) -> rusqlite::Result<bool> {
    conn.prepare_cached(
        "SELECT EXISTS (SELECT 1 FROM event_order WHERE position <
             (SELECT max(position) FROM event_order WHERE position <= ?1))",
    )?
    .query_row([oldest], |row| row.get(0))
}

/// Deletes some of them. Returns how many.
pub(super) fn delete_before(tx: &Transaction<'_>, oldest: u64) -> rusqlite::Result<usize> {
    tx.prepare_cached(
        "DELETE FROM event_order WHERE position IN
             (SELECT position FROM event_order WHERE position <
                 (SELECT max(position) FROM event_order WHERE position <= ?1)
              ORDER BY position LIMIT ?2)",
    )?
    .execute(params![oldest, CHUNK])
}
