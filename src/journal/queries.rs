//! What is read from the database, by the writer or by readers.

use rusqlite::{Connection, OptionalExtension as _, Params, Transaction, params};

use super::check;
use super::page::{Found, Page, Piece};
use super::row::{PromptRow, Row, Stored};
use super::schema::{first_of, place};

const ROW: &str =
    "SELECT number, id, epoch, remote_id, state, ended, key, reported, turn, details FROM sessions";

/// A page reads at most so many runs, because hidden ones add no bytes to it.
const PAGE_RUNS: usize = 4096;

/// The newest session with this id.
pub(super) fn session(conn: &Connection, id: &str) -> rusqlite::Result<Option<Stored>> {
    one(conn, "WHERE id = ?1 ORDER BY number DESC LIMIT 1", [id])
}

pub(super) fn session_by_key(conn: &Connection, key: &str) -> rusqlite::Result<Option<Stored>> {
    one(conn, "WHERE key = ?1 ORDER BY number DESC LIMIT 1", [key])
}

/// Newest first.
pub(super) fn sessions(
    conn: &Connection,
    before: Option<u64>,
    state: Option<&str>,
    limit: usize,
) -> rusqlite::Result<Vec<Stored>> {
    let before = before.map_or(i64::MAX, |number| i64::try_from(number).unwrap_or(i64::MAX));
    let limit = i64::try_from(limit).unwrap_or(i64::MAX);
    match state {
        Some(state) => many(
            conn,
            "WHERE state = ?1 AND number < ?2 ORDER BY number DESC LIMIT ?3",
            params![state, before, limit],
        ),
        None => many(
            conn,
            "WHERE number < ?1 ORDER BY number DESC LIMIT ?2",
            params![before, limit],
        ),
    }
}

pub(super) fn unreported(conn: &Connection, limit: usize) -> rusqlite::Result<Vec<Stored>> {
    many(
        conn,
        "WHERE ended IS NOT NULL AND reported < turn ORDER BY ended, number LIMIT ?1",
        [i64::try_from(limit).unwrap_or(i64::MAX)],
    )
}

pub(super) fn unfinished(conn: &Connection) -> rusqlite::Result<Vec<Stored>> {
    many(conn, "WHERE ended IS NULL ORDER BY number", [])
}

/// Sessions with prompts that wait.
pub(super) fn with_waiting_prompts(conn: &Connection) -> rusqlite::Result<Vec<Stored>> {
    many(
        conn,
        "WHERE number IN (SELECT session FROM prompts WHERE waits) ORDER BY number",
        [],
    )
}

/// The prompts of a session that wait, in the order of their turns.
pub(super) fn waiting_prompts(conn: &Connection, number: u64) -> rusqlite::Result<Vec<PromptRow>> {
    conn.prepare_cached(
        "SELECT prompt, turn, waits, key, details FROM prompts
         WHERE session = ?1 AND waits ORDER BY turn LIMIT 64",
    )?
    .query_map([number], prompt)?
    .collect()
}

/// The prompt of a session that came under this key.
pub(super) fn prompt_by_key(
    conn: &Connection,
    number: u64,
    key: &str,
) -> rusqlite::Result<Option<PromptRow>> {
    conn.prepare_cached(
        "SELECT prompt, turn, waits, key, details FROM prompts WHERE session = ?1 AND key = ?2",
    )?
    .query_row(params![number, key], prompt)
    .optional()
}

fn prompt(row: &rusqlite::Row<'_>) -> rusqlite::Result<PromptRow> {
    Ok(PromptRow {
        id: row.get(0)?,
        turn: row.get(1)?,
        waits: row.get(2)?,
        key: row.get(3)?,
        details: row.get(4)?,
    })
}

pub(super) fn notes(conn: &Connection, number: u64) -> rusqlite::Result<Vec<(String, u64)>> {
    conn.prepare_cached("SELECT part, value FROM notes WHERE session = ?1 ORDER BY part")?
        .query_map([number], |row| Ok((row.get(0)?, row.get(1)?)))?
        .collect()
}

pub(super) fn exists(conn: &Connection, number: u64) -> rusqlite::Result<bool> {
    conn.prepare_cached("SELECT EXISTS (SELECT 1 FROM sessions WHERE number = ?1)")?
        .query_row([number], |row| row.get(0))
}

/// The oldest and the last event of a session.
pub(super) fn span(conn: &Connection, number: u64) -> rusqlite::Result<(u64, u64)> {
    let (from, to) = (place(number, 0), place(number, u64::MAX));
    let last: Option<u64> = conn
        .prepare_cached(
            "SELECT last FROM runs WHERE place BETWEEN ?1 AND ?2 ORDER BY place DESC LIMIT 1",
        )?
        .query_row([from, to], |row| row.get(0))
        .optional()?;
    let Some(last) = last else {
        return Ok((1, 0));
    };
    Ok((oldest(conn, number)?.unwrap_or(last + 1), last))
}

/// The position of a session's last event, if it has one.
pub(super) fn last_position(conn: &Connection, number: u64) -> rusqlite::Result<Option<u64>> {
    let position: Option<Option<u64>> = conn
        .prepare_cached(
            "SELECT position FROM runs WHERE place BETWEEN ?1 AND ?2 ORDER BY place DESC LIMIT 1",
        )?
        .query_row([place(number, 0), place(number, u64::MAX)], |row| {
            row.get(0)
        })
        .optional()?;
    Ok(position.flatten())
}

fn oldest(conn: &Connection, number: u64) -> rusqlite::Result<Option<u64>> {
    conn.prepare_cached("SELECT min(place) FROM runs WHERE place BETWEEN ?1 AND ?2")?
        .query_row([place(number, 0), place(number, u64::MAX)], |row| {
            row.get::<_, Option<i64>>(0)
        })
        .map(|place| place.map(first_of))
}

/// The largest number that was ever given to a session.
pub(super) fn last_number(conn: &Connection) -> rusqlite::Result<u64> {
    conn.query_row(
        "SELECT max(
             coalesce((SELECT max(number) FROM sessions), 0),
             coalesce((SELECT CAST(value AS INTEGER) FROM about WHERE name = 'last_number'), 0)
         )",
        [],
        |row| row.get(0),
    )
}

/// Reads a little of every tree. Reading all of a large database would take minutes.
pub(super) fn check(conn: &Connection) -> rusqlite::Result<()> {
    for question in [
        "SELECT name, value FROM about LIMIT 9",
        "SELECT place, last, hidden, frames FROM runs ORDER BY place LIMIT 1",
        "SELECT place, last, hidden, frames FROM runs ORDER BY place DESC LIMIT 1",
        "SELECT position, entries FROM event_order ORDER BY position LIMIT 1",
        "SELECT position, entries FROM event_order ORDER BY position DESC LIMIT 1",
        "SELECT session, part, value FROM notes LIMIT 1",
        "SELECT session, id FROM pending_deletion LIMIT 1",
        "SELECT session, prompt FROM prompts LIMIT 1",
        "SELECT session, turn FROM prompts WHERE waits LIMIT 1",
        "SELECT ended FROM sessions WHERE ended IS NOT NULL ORDER BY ended LIMIT 1",
        "SELECT key FROM sessions WHERE key IS NOT NULL ORDER BY key LIMIT 1",
        "SELECT id FROM sessions ORDER BY id LIMIT 1",
        "SELECT state FROM sessions ORDER BY state LIMIT 1",
    ] {
        conn.query_row(question, [], |_| Ok(())).optional()?;
    }
    sessions(conn, None, None, 1)?;
    unreported(conn, 1)?;
    Ok(())
}

/// Events `after + 1 ..= upto`, until the page is full.
pub(super) fn page(
    conn: &Connection,
    number: u64,
    after: u64,
    upto: u64,
    hidden: bool,
) -> rusqlite::Result<Vec<Piece>> {
    // In one transaction, so that the epoch and the runs belong together.
    page_within(
        &conn.unchecked_transaction()?,
        number,
        (after, upto),
        hidden,
    )
}

/// The same within a transaction.
pub(super) fn page_within(
    tx: &Transaction<'_>,
    number: u64,
    (after, upto): (u64, u64),
    hidden: bool,
) -> rusqlite::Result<Vec<Piece>> {
    if after >= upto {
        return Ok(Vec::new());
    }
    let epoch: Option<String> = tx
        .prepare_cached("SELECT epoch FROM sessions WHERE number = ?1")?
        .query_row([number], |row| row.get(0))
        .optional()?;
    let Some(epoch) = epoch.filter(|epoch| check::is_epoch(epoch)) else {
        return Ok(vec![Piece::Removed { oldest: upto + 1 }]);
    };
    let next = place(number, after + 1);
    let start: Option<i64> = tx
        .prepare_cached(
            "SELECT place FROM runs WHERE place BETWEEN ?1 AND ?2 ORDER BY place DESC LIMIT 1",
        )?
        .query_row([place(number, 0), next], |row| row.get(0))
        .optional()?;
    if start.is_none()
        && let Some(oldest) = oldest(tx, number)?
        && oldest > upto
    {
        return Ok(vec![Piece::Removed { oldest }]);
    }
    let mut page = Page::new(&epoch, after, upto);
    let mut statement = tx.prepare_cached(
        "SELECT place, last, CASE WHEN hidden AND NOT ?3 THEN NULL ELSE frames END
         FROM runs WHERE place BETWEEN ?1 AND ?2 ORDER BY place",
    )?;
    let mut rows = statement.query(params![start.unwrap_or(next), place(number, upto), hidden])?;
    let (mut seen, mut is_end) = (0, true);
    while let Some(row) = rows.next()? {
        let found = Found {
            first: first_of(row.get(0)?),
            last: row.get(1)?,
            frames: row.get_ref(2)?.as_blob_or_null()?,
        };
        page.add(&found, start.is_none() && seen == 0);
        seen += 1;
        if page.is_full() || seen == PAGE_RUNS {
            is_end = false;
            break;
        }
    }
    Ok(page.finish(is_end))
}

fn one(conn: &Connection, which: &str, params: impl Params) -> rusqlite::Result<Option<Stored>> {
    Ok(many(conn, which, params)?.pop())
}

fn many(conn: &Connection, which: &str, params: impl Params) -> rusqlite::Result<Vec<Stored>> {
    // In one transaction, so that a row and its span belong together.
    let tx = conn.unchecked_transaction()?;
    let found = candidates(&tx, &format!("{ROW} {which}"), params)?;
    Ok(found.into_iter().filter_map(Result::ok).collect())
}

/// The numbers of rows that cannot be of sessions of ours; each is logged.
pub(super) fn rejected(conn: &Connection) -> rusqlite::Result<Vec<i64>> {
    // Without the details, which may be long and are checked when they are parsed.
    let found = candidates(conn, &ROW.replace("details", "''"), [])?;
    Ok(found.into_iter().filter_map(Result::err).collect())
}

/// Each row as a session, or the number of one that cannot be ours.
fn candidates(
    conn: &Connection,
    query: &str,
    params: impl Params,
) -> rusqlite::Result<Vec<Result<Stored, i64>>> {
    let mut statement = conn.prepare_cached(query)?;
    let rows: Vec<(i64, Option<Row>)> = statement
        .query_map(params, |row| Ok((row.get(0)?, parse(row)?)))?
        .collect::<rusqlite::Result<_>>()?;
    let candidate = |(number, row): (i64, Option<Row>)| {
        let checked = match row {
            Some(row) => {
                let span = span(conn, row.number)?;
                check::row(&row, span).map(|()| (row, span))
            }
            None => Err("a value has another type"),
        };
        Ok(match checked {
            Ok((row, (oldest, last))) => Ok(Stored { row, oldest, last }),
            Err(reason) => {
                check::log_rejected(number, reason);
                Err(number)
            }
        })
    };
    rows.into_iter().map(candidate).collect()
}

/// Nothing if a value has a wrong type: that makes the row unusable, and does not fail the query.
fn parse(row: &rusqlite::Row<'_>) -> rusqlite::Result<Option<Row>> {
    let read = || {
        Ok(Row {
            number: row.get(0)?,
            id: row.get(1)?,
            epoch: row.get(2)?,
            remote_id: row.get(3)?,
            state: row.get(4)?,
            ended: row.get(5)?,
            key: row.get(6)?,
            reported: row.get(7)?,
            turn: row.get(8)?,
            details: row.get(9)?,
        })
    };
    match read() {
        Ok(row) => Ok(Some(row)),
        Err(
            rusqlite::Error::InvalidColumnType(..)
            | rusqlite::Error::FromSqlConversionFailure(..)
            | rusqlite::Error::IntegralValueOutOfRange(..),
        ) => Ok(None),
        Err(error) => Err(error),
    }
}
