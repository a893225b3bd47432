//! What a draft is in SQL.

use std::collections::HashMap;
use std::sync::Arc;

use rusqlite::{CachedStatement, Connection, OptionalExtension as _, Transaction, params};

use super::memory::{Changes, Gone, Growth, Open};
use super::pending::Pending;
use super::schema::{self, place};
use super::{Row, Run, frames, queries};

/// A transaction's statements.
pub(super) struct Writing<'a> {
    tx: &'a Transaction<'a>,
    row: CachedStatement<'a>,
    run: CachedStatement<'a>,
    note: CachedStatement<'a>,
    no_notes: CachedStatement<'a>,
}

/// A run is cut into rows of about this size, so that a reader that wants its end need not read all.
const ROW_BYTES: usize = 64 << 10;

// === impl Writing ===

impl<'a> Writing<'a> {
    pub(super) fn new(tx: &'a Transaction<'a>) -> rusqlite::Result<Self> {
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
            run: tx.prepare_cached(
                "INSERT INTO runs (place, last, hidden, frames) VALUES (?1, ?2, ?3, ?4)",
            )?,
            note: tx.prepare_cached(
                "INSERT INTO notes (session, part, value) VALUES (?1, ?2, ?3)
                 ON CONFLICT (session, part) DO UPDATE SET value = ?3",
            )?,
            no_notes: tx.prepare_cached("DELETE FROM notes WHERE session = ?1")?,
        })
    }

    pub(super) fn draft(
        &mut self,
        pending: &Pending,
        open: &HashMap<u64, Open>,
        gone: Option<&Gone>,
        changes: &mut Changes,
    ) -> rusqlite::Result<()> {
        let (number, draft) = (pending.source.number(), &pending.draft);
        if matches!(gone, Some(Gone::Retired)) {
            // A line about a session that is over does not bring it back.
            let runs = draft.row.as_ref().is_some_and(|row| row.ended.is_none());
            if !runs && !draft.fresh_notes {
                return Ok(());
            }
            self.revive(number)?;
            changes.revived.push(number);
        }
        if pending.is_again() {
            // A commit can fail after it was done.
            self.remove_runs(number, draft.after + 1)?;
        }
        let was_open = open.contains_key(&number);
        if draft.row.is_none() && !was_open && !queries::exists(self.tx, number)? {
            return Ok(());
        }
        if let Some(row) = &draft.row {
            let mut known = self.known(pending, row, open.get(&number))?;
            self.fill(number, known.last, draft.after)?;
            if row.ended.is_none() {
                known.last = known.last.max(draft.after);
                changes.opened.push((number, known));
            } else {
                changes.closed.push(number);
            }
            self.row(row)?;
            changes.last_number = changes.last_number.max(number);
        }
        if let Some(turn) = draft.reported {
            self.tx.execute(
                "UPDATE sessions SET reported = ?2 WHERE number = ?1",
                [number, turn.into()],
            )?;
        }
        if draft.fresh_notes {
            self.no_notes.execute([number])?;
        }
        for (part, value) in &draft.notes {
            self.note.execute(params![number, &**part, value])?;
        }
        for run in &draft.runs {
            self.cut_run(number, run)?;
            changes.grown.push(Growth {
                number,
                last: run.last,
                bytes: run.frames.len() as u64,
            });
        }
        Ok(())
    }

    /// A removed session that begins another turn: what was left of it goes.
    fn revive(&mut self, number: u64) -> rusqlite::Result<()> {
        self.tx
            .execute("DELETE FROM doomed WHERE session = ?1", [number])?;
        self.remove_runs(number, 0)
    }

    fn remove_runs(&mut self, number: u64, from: u64) -> rusqlite::Result<()> {
        self.tx.execute(
            "DELETE FROM runs WHERE place BETWEEN ?1 AND ?2",
            [place(number, from), place(number, u64::MAX)],
        )?;
        Ok(())
    }

    /// Events that this database does not have become a hole: their numbers are not given again.
    pub(super) fn fill(&mut self, number: u64, last: u64, upto: u64) -> rusqlite::Result<()> {
        if last < upto {
            self.piece(number, last + 1, upto, false, &[])?;
        }
        Ok(())
    }

    /// The session with the events it has on disk before this draft.
    fn known(&self, pending: &Pending, row: &Row, before: Option<&Open>) -> rusqlite::Result<Open> {
        let source = Some(Arc::downgrade(&pending.source));
        Ok(match before {
            Some(before) => Open {
                row: row.clone(),
                last: before.last,
                bytes: before.bytes,
                source,
            },
            None => Open::found(row.clone(), queries::span(self.tx, row.number)?, source),
        })
    }

    pub(super) fn row(&mut self, row: &Row) -> rusqlite::Result<()> {
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
            let (count, length) = frames::whole_within(frames, ROW_BYTES);
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
pub(super) fn raise_last_number(tx: &Transaction<'_>, number: u64) -> rusqlite::Result<()> {
    tx.prepare_cached(
        "INSERT INTO about VALUES ('last_number', ?1)
         ON CONFLICT (name) DO UPDATE SET value = max(CAST(value AS INTEGER), ?1)",
    )?
    .execute([number])?;
    Ok(())
}

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
