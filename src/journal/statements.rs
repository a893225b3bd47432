//! The statements that change the database.

use std::sync::Arc;

use rusqlite::{CachedStatement, Connection, OptionalExtension as _, Transaction, params};

use super::order_entry::Entry;
use super::pending::Pending;
use super::queries;
use super::row::{PromptRow, Row};
use super::schema::{self, place};
use super::writer_cache::{Changes, Running, WriterCache};

/// Writes drafts in one transaction.
pub(super) struct DraftWriter<'a> {
    tx: &'a Transaction<'a>,
    /// By session and event: where the events of the drafts are in the order of all events.
    entries: Vec<Entry>,
    row: CachedStatement<'a>,
    run: CachedStatement<'a>,
    note: CachedStatement<'a>,
    delete_notes: CachedStatement<'a>,
}

/// Prompts of one session that are kept for their keys.
const KEPT_KEYS: u32 = 100;

// === impl DraftWriter ===

impl<'a> DraftWriter<'a> {
    pub(super) fn new(tx: &'a Transaction<'a>, entries: &[Entry]) -> rusqlite::Result<Self> {
        let mut entries = entries.to_vec();
        entries.sort_unstable_by_key(|entry| (entry.number, entry.first));
        Ok(Self {
            tx,
            entries,
            row: tx.prepare_cached(
                "INSERT INTO sessions
                     (number, id, epoch, remote_id, state, ended, key, reported, turn, details)
                 VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10)
                 ON CONFLICT (number) DO UPDATE SET
                     id = ?2, epoch = ?3, remote_id = ?4, state = ?5, ended = ?6, key = ?7,
                     reported = ?8, turn = ?9, details = ?10",
            )?,
            run: tx.prepare_cached(
                "INSERT INTO runs (place, last, hidden, frames, position) VALUES (?1, ?2, ?3, ?4, ?5)",
            )?,
            note: tx.prepare_cached(
                "INSERT INTO notes (session, part, value) VALUES (?1, ?2, ?3)
                 ON CONFLICT (session, part) DO UPDATE SET value = ?3",
            )?,
            delete_notes: tx.prepare_cached("DELETE FROM notes WHERE session = ?1")?,
        })
    }

    pub(super) fn write(
        &mut self,
        pending: &Pending,
        memory: &WriterCache,
        changes: &mut Changes,
    ) -> rusqlite::Result<()> {
        let (number, draft) = (pending.number, &pending.draft);
        if memory.removed.contains(&number) {
            // A late detail of a session that is over does not bring it back.
            let runs = draft.row.as_ref().is_some_and(|row| row.ended.is_none());
            if !runs && !draft.begins {
                return Ok(());
            }
            self.restore(number)?;
            changes.restored.push(number);
        }
        if pending.again {
            self.delete_runs(number, draft.after + 1)?;
        }
        let before = memory.running.get(&number);
        match &draft.row {
            Some(row) => {
                let mut running = self.running(pending, row, before)?;
                self.insert_hole(number, running.last, draft.after)?;
                self.row(row)?;
                changes.last_number = changes.last_number.max(number);
                if row.ended.is_none() {
                    running.last = running.last.max(draft.after);
                    changes.running.push((number, running));
                } else {
                    changes.ended.push(number);
                }
            }
            None if before.is_none() && !queries::exists(self.tx, number)? => return Ok(()),
            None => {}
        }
        if let Some(turn) = draft.reported {
            self.tx.execute(
                "UPDATE sessions SET reported = ?2 WHERE number = ?1",
                [number, turn.into()],
            )?;
        }
        if draft.begins {
            self.delete_notes.execute([number])?;
        }
        for (part, value) in &draft.notes {
            self.note.execute(params![number, &**part, value])?;
        }
        for prompt in draft.prompts.values() {
            self.prompt(number, prompt)?;
        }
        for run in &draft.runs {
            self.run(number, run.first, run.last, run.hidden, &run.frames)?;
        }
        if !draft.runs.is_empty() {
            let bytes = pending.frame_bytes() as u64;
            changes.grown.push((number, draft.last(), bytes));
        }
        Ok(())
    }

    /// A prompt that neither waits nor has a key is not kept, and of those with a key only the newest are.
    fn prompt(&self, number: u64, prompt: &PromptRow) -> rusqlite::Result<()> {
        if !prompt.waits && prompt.key.is_none() {
            self.tx
                .prepare_cached("DELETE FROM prompts WHERE session = ?1 AND prompt = ?2")?
                .execute(params![number, prompt.id])?;
            return Ok(());
        }
        self.tx
            .prepare_cached(
                "INSERT INTO prompts (session, prompt, turn, waits, key, details)
                 VALUES (?1, ?2, ?3, ?4, ?5, ?6)
                 ON CONFLICT (session, prompt) DO UPDATE SET
                     turn = ?3, waits = ?4, key = ?5, details = ?6",
            )?
            .execute(params![
                number,
                prompt.id,
                prompt.turn,
                prompt.waits,
                prompt.key,
                prompt.details
            ])?;
        self.tx
            .prepare_cached(
                "DELETE FROM prompts WHERE session = ?1 AND NOT waits AND prompt NOT IN
                     (SELECT prompt FROM prompts WHERE session = ?1 AND NOT waits
                      ORDER BY turn DESC, prompt DESC LIMIT ?2)",
            )?
            .execute(params![number, KEPT_KEYS])?;
        Ok(())
    }

    /// A removed session begins another turn: what was left of it is deleted.
    fn restore(&mut self, number: u64) -> rusqlite::Result<()> {
        self.tx
            .execute("DELETE FROM pending_deletion WHERE session = ?1", [number])?;
        self.delete_runs(number, 0)
    }

    fn delete_runs(&mut self, number: u64, from: u64) -> rusqlite::Result<()> {
        self.tx.execute(
            "DELETE FROM runs WHERE place BETWEEN ?1 AND ?2",
            [place(number, from), place(number, u64::MAX)],
        )?;
        Ok(())
    }

    /// Events that this database does not have become a hole: their numbers are not given again.
    pub(super) fn insert_hole(
        &mut self,
        number: u64,
        last: u64,
        upto: u64,
    ) -> rusqlite::Result<()> {
        if last < upto {
            self.run(number, last + 1, upto, false, &[])?;
        }
        Ok(())
    }

    /// The session, with the events that are on disk before this draft.
    fn running(
        &self,
        pending: &Pending,
        row: &Row,
        before: Option<&Running>,
    ) -> rusqlite::Result<Running> {
        let watermark = Some(Arc::clone(&pending.watermark));
        Ok(match before {
            Some(before) => Running {
                row: row.clone(),
                watermark,
                ..*before
            },
            None => Running::new(row.clone(), queries::span(self.tx, row.number)?, watermark),
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
            row.details
        ])?;
        Ok(())
    }

    fn run(
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
        let position = self.position(number, last);
        self.run.execute(params![
            place(number, first),
            last,
            hidden,
            frames,
            position
        ])?;
        Ok(())
    }

    /// The position of an event, if it is known.
    fn position(&self, number: u64, seq: u64) -> Option<u64> {
        let after = self
            .entries
            .partition_point(|entry| (entry.number, entry.first) <= (number, seq));
        let entry = self.entries.get(after.checked_sub(1)?)?;
        (entry.number == number && seq <= entry.last).then(|| entry.position_of(seq))
    }
}

/// Removes a session. What belongs to it is deleted later, in small steps. With ids, the removal is to be announced.
pub(super) fn remove_session(
    tx: &Transaction<'_>,
    number: u64,
    ids: Option<(&str, Option<&str>)>,
) -> rusqlite::Result<()> {
    let (id, remote_id) = ids.unzip();
    tx.prepare_cached(
        "INSERT OR IGNORE INTO pending_deletion (session, id, remote_id) VALUES (?1, ?2, ?3)",
    )?
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

/// A value of the table `about`, which says things of the database itself.
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
