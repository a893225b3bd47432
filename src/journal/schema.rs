//! The tables, and the migrations that bring an older database up to date.
//!
//! `PRAGMA user_version` says which steps were done. A step is never changed once it was released: a further change is
//! a further step.

use rusqlite::{Connection, TransactionBehavior};

use super::store_error::StoreError;

/// Step n makes a database of version n one of version n + 1.
const STEPS: &[&str] = &[FIRST, PLAIN_NAMES, EVENT_ORDER, PROMPTS];

/// The key of a run is one number, [`place`]: a table by that number is one tree in the order in which readers read
/// it, with no index beside it.
///
/// The names `doomed` and `facts` are no longer in use: see [`PLAIN_NAMES`].
const FIRST: &str = "
    CREATE TABLE about (
        name TEXT PRIMARY KEY,
        value TEXT NOT NULL
    ) STRICT, WITHOUT ROWID;

    CREATE TABLE sessions (
        number INTEGER PRIMARY KEY,
        id TEXT NOT NULL,
        epoch TEXT NOT NULL,
        remote_id TEXT,
        state TEXT NOT NULL,
        ended INTEGER,
        key TEXT,
        reported INTEGER NOT NULL,
        turn INTEGER NOT NULL,
        facts TEXT NOT NULL
    ) STRICT;
    CREATE INDEX sessions_by_id ON sessions (id);
    CREATE INDEX sessions_by_key ON sessions (key) WHERE key IS NOT NULL;
    CREATE INDEX sessions_by_state ON sessions (state, number);
    CREATE INDEX sessions_by_end ON sessions (ended) WHERE ended IS NOT NULL;
    CREATE INDEX sessions_unfinished ON sessions (number) WHERE ended IS NULL;
    CREATE INDEX sessions_unreported ON sessions (ended, number) WHERE ended IS NOT NULL AND reported < turn;

    CREATE TABLE runs (
        place INTEGER PRIMARY KEY,
        last INTEGER NOT NULL,
        hidden INTEGER NOT NULL,
        frames BLOB NOT NULL
    ) STRICT;

    CREATE TABLE notes (
        session INTEGER NOT NULL,
        part TEXT NOT NULL,
        value INTEGER NOT NULL,
        PRIMARY KEY (session, part)
    ) STRICT, WITHOUT ROWID;

    CREATE TABLE doomed (
        session INTEGER PRIMARY KEY,
        id TEXT,
        remote_id TEXT
    ) STRICT;
";

/// `pending_deletion` holds sessions that were removed and still have rows, which are deleted in small steps. One with
/// an `id` was removed by retention, and that was perhaps not announced yet.
const PLAIN_NAMES: &str = "
    ALTER TABLE doomed RENAME TO pending_deletion;
    ALTER TABLE sessions RENAME COLUMN facts TO details;
";

/// The order of all events: a row has the position of its first event, and packed entries (`OrderRow`). A run
/// says the position of its last event. Runs of before have none.
const EVENT_ORDER: &str = "
    ALTER TABLE runs ADD COLUMN position INTEGER;
    CREATE TABLE event_order (
        position INTEGER PRIMARY KEY,
        entries BLOB NOT NULL
    ) STRICT;
";

/// Prompts of sessions that wait for their turn, and those that a client may send again under the same key.
const PROMPTS: &str = "
    CREATE TABLE prompts (
        session INTEGER NOT NULL,
        prompt TEXT NOT NULL,
        turn INTEGER NOT NULL,
        waits INTEGER NOT NULL,
        key TEXT,
        details TEXT NOT NULL,
        PRIMARY KEY (session, prompt)
    ) STRICT, WITHOUT ROWID;
    CREATE INDEX prompts_waiting ON prompts (session, turn) WHERE waits;
    CREATE INDEX prompts_by_key ON prompts (session, key) WHERE key IS NOT NULL;
";

/// 17 thousand million events in a session, 536 million sessions.
const EVENT_BITS: u32 = 34;
const MAX_EVENT: u64 = (1 << EVENT_BITS) - 1;
const MAX_NUMBER: u64 = (1 << (63 - EVENT_BITS)) - 1;

/// The key of the run of session `number` that begins with event `first`. Larger numbers count as the largest;
/// [`is_in_range`] keeps them out.
pub(super) fn place(number: u64, first: u64) -> i64 {
    let key = (number.min(MAX_NUMBER) << EVENT_BITS) | first.min(MAX_EVENT);
    i64::try_from(key).unwrap_or(i64::MAX)
}

/// The event with which the run with this key begins.
pub(super) fn first_of(place: i64) -> u64 {
    u64::try_from(place).unwrap_or_default() & MAX_EVENT
}

pub(super) const fn is_in_range(number: u64, last: u64) -> bool {
    number <= MAX_NUMBER && last <= MAX_EVENT
}

/// Creates the tables, or brings them up to date.
pub(super) fn prepare(conn: &mut Connection) -> Result<(), StoreError> {
    migrate(conn, STEPS)
}

/// Whether the tables are ours to the letter: no other type, no trigger, no view.
pub(super) fn check(conn: &Connection) -> Result<(), StoreError> {
    check_against(conn, STEPS)
}

/// Whether the tables are those that `steps` make.
fn check_against(conn: &Connection, steps: &[&str]) -> Result<(), StoreError> {
    let expected = Connection::open_in_memory()?;
    for step in steps {
        expected.execute_batch(step)?;
    }
    if definitions(conn)? == definitions(&expected)? {
        Ok(())
    } else {
        Err(StoreError::Damaged(
            "its tables are not as we make them".into(),
        ))
    }
}

/// Without quotation marks, which SQLite adds when it renames.
fn definitions(conn: &Connection) -> rusqlite::Result<Vec<(String, String, Option<String>)>> {
    conn.prepare(
        "SELECT type, name, replace(sql, '\"', '') FROM sqlite_schema ORDER BY type, name",
    )?
    .query_map([], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)))?
    .collect()
}

fn migrate(conn: &mut Connection, steps: &[&str]) -> Result<(), StoreError> {
    let version: i64 = conn.query_row("PRAGMA user_version", [], |row| row.get(0))?;
    let done = usize::try_from(version)
        .ok()
        .filter(|done| *done <= steps.len())
        .ok_or(StoreError::Newer(version))?;
    if let (before, [_, ..]) = steps.split_at(done) {
        // A step would fail on other tables, and one that fails is tried again for ever.
        check_against(conn, before)?;
    }
    for (version, step) in (1..).zip(steps).skip(done) {
        // The tables and the version in one transaction: a step is done or it is not.
        let tx = conn.transaction_with_behavior(TransactionBehavior::Immediate)?;
        tx.execute_batch(step)?;
        tx.pragma_update(None, "user_version", version)?;
        tx.commit()?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn version(conn: &Connection) -> i64 {
        conn.query_row("PRAGMA user_version", [], |row| row.get(0))
            .unwrap()
    }

    fn cookie(conn: &Connection) -> i64 {
        conn.query_row("PRAGMA schema_version", [], |row| row.get(0))
            .unwrap()
    }

    #[test]
    fn the_version_is_the_number_of_steps_and_a_second_time_does_nothing() {
        let mut conn = Connection::open_in_memory().unwrap();
        prepare(&mut conn).unwrap();
        assert_eq!(version(&conn), i64::try_from(STEPS.len()).unwrap());
        let (before, changes) = (cookie(&conn), conn.total_changes());
        prepare(&mut conn).unwrap();
        assert_eq!((cookie(&conn), conn.total_changes()), (before, changes));
    }

    #[test]
    fn an_older_database_gets_the_steps_it_lacks_and_keeps_its_rows() {
        let mut conn = Connection::open_in_memory().unwrap();
        migrate(&mut conn, &[FIRST]).unwrap();
        conn.execute("INSERT INTO notes VALUES (1, 'a', 2)", [])
            .unwrap();
        let steps = [
            FIRST,
            "ALTER TABLE notes ADD COLUMN more INTEGER NOT NULL DEFAULT 7",
        ];
        migrate(&mut conn, &steps).unwrap();
        assert_eq!(version(&conn), 2);
        let row: (u64, u64) = conn
            .query_row("SELECT value, more FROM notes", [], |row| {
                Ok((row.get(0)?, row.get(1)?))
            })
            .unwrap();
        assert_eq!(row, (2, 7));
    }

    #[test]
    fn a_database_of_version_1_keeps_its_rows_under_the_new_names() {
        let mut conn = Connection::open_in_memory().unwrap();
        migrate(&mut conn, &[FIRST]).unwrap();
        conn.execute_batch(
            "INSERT INTO doomed VALUES (3, 'id-3', 'ses_3');
             INSERT INTO sessions (number, id, epoch, state, reported, turn, facts)
             VALUES (4, 'id-4', 'epoch12345', 'running', 0, 1, '{\"a\":1}')",
        )
        .unwrap();
        prepare(&mut conn).unwrap();
        check(&conn).unwrap();
        let pending: (u64, String, String) = conn
            .query_row(
                "SELECT session, id, remote_id FROM pending_deletion",
                [],
                |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)),
            )
            .unwrap();
        assert_eq!(pending, (3, "id-3".into(), "ses_3".into()));
        let details: String = conn
            .query_row("SELECT details FROM sessions", [], |row| row.get(0))
            .unwrap();
        assert_eq!(details, "{\"a\":1}");
    }

    #[test]
    fn a_step_that_fails_leaves_the_version_before_it() {
        let mut conn = Connection::open_in_memory().unwrap();
        let steps = [FIRST, "CREATE TABLE more (a); CREATE TABLE sessions (a)"];
        migrate(&mut conn, &steps).unwrap_err();
        assert_eq!(version(&conn), 1);
        conn.execute("SELECT 1 FROM more", []).unwrap_err();
    }

    #[test]
    fn a_newer_database_and_a_strange_one_are_refused() {
        let mut conn = Connection::open_in_memory().unwrap();
        conn.pragma_update(None, "user_version", 99).unwrap();
        let newer = prepare(&mut conn).unwrap_err();
        assert_eq!(
            newer.to_string(),
            "its schema has version 99, which is newer than ours"
        );
        let mut conn = Connection::open_in_memory().unwrap();
        conn.execute_batch("CREATE TABLE cats (name)").unwrap();
        assert!(matches!(prepare(&mut conn), Err(StoreError::Damaged(_))));
        let mut conn = Connection::open_in_memory().unwrap();
        migrate(&mut conn, &[FIRST]).unwrap();
        conn.execute_batch("DROP TABLE doomed").unwrap();
        assert!(matches!(prepare(&mut conn), Err(StoreError::Damaged(_))));
    }

    #[test]
    fn places_are_in_the_order_of_sessions_and_events() {
        let all = [
            (0, 1),
            (0, MAX_EVENT),
            (1, 0),
            (1, 1),
            (MAX_NUMBER, MAX_EVENT),
        ];
        let places = all.map(|(number, first)| place(number, first));
        assert!(places.is_sorted_by(|a, b| a < b), "{places:?}");
        assert_eq!(places[4], i64::MAX);
        for (place, (_, first)) in places.into_iter().zip(all) {
            assert_eq!(first_of(place), first);
        }
        assert!(!is_in_range(MAX_NUMBER + 1, 1) && !is_in_range(1, MAX_EVENT + 1));
    }
}
