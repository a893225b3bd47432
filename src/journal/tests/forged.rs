//! Somebody else wrote the database, or can write its files.

use std::time::Duration;

use rusqlite::{Connection, OpenFlags, params};

use super::support::{Fake, Setup, files, now, poll};
use crate::journal::*;

/// One session that has ended and one that has not, and the database closed.
async fn closed() -> Setup {
    let setup = Setup::new();
    let (journal, _) = setup.open().await;
    let (one, two) = (
        Fake::begun(&journal, 1).await,
        Fake::begun(&journal, 2).await,
    );
    one.say(&journal, 3, false);
    one.end(&journal, now());
    one.until_written().await;
    two.until_written().await;
    journal.close().await;
    setup
}

fn forge(setup: &Setup, work: impl FnOnce(&Connection)) {
    let conn = Connection::open(setup.path()).unwrap();
    work(&conn);
}

const ROW: &str =
    "INSERT INTO sessions (number, id, epoch, remote_id, state, ended, key, reported, turn, details)
    VALUES (?1, ?2, ?3, ?4, 'completed', ?5, NULL, ?6, ?7, '{}')";

/// A row like one of ours, but for what `change` makes of it.
struct Forged {
    number: i64,
    id: String,
    epoch: String,
    remote: String,
    ended: i64,
    reported: i64,
    turn: i64,
}

impl Forged {
    fn with(number: i64, change: impl FnOnce(&mut Self)) -> Self {
        let mut row = Self {
            number,
            id: format!("forged-{number}"),
            epoch: "abcdefghij".to_owned(),
            remote: "ses_forged".to_owned(),
            ended: 1,
            reported: 0,
            turn: 1,
        };
        change(&mut row);
        row
    }

    fn write(&self, conn: &Connection) {
        let values = params![
            self.number,
            self.id,
            self.epoch,
            self.remote,
            self.ended,
            self.reported,
            self.turn
        ];
        conn.execute(ROW, values).unwrap();
    }
}

#[tokio::test]
async fn forged_rows_are_left_out_and_the_others_are_used() {
    let setup = closed().await;
    let forged = [
        Forged::with(10, |row| "..%2F..%2Fadmin".clone_into(&mut row.id)),
        Forged::with(11, |row| "../../admin".clone_into(&mut row.id)),
        Forged::with(12, |row| "..".clone_into(&mut row.id)),
        Forged::with(13, |row| String::new().clone_into(&mut row.id)),
        Forged::with(14, |row| "a\r\nx: y".clone_into(&mut row.id)),
        Forged::with(15, |row| row.id = "x".repeat(1 << 20)),
        Forged::with(16, |row| "a\n\ndata: x".clone_into(&mut row.epoch)),
        Forged::with(17, |row| "../../../global".clone_into(&mut row.remote)),
        Forged::with(18, |row| row.ended = i64::MAX),
        Forged::with(19, |row| row.ended = -1),
        Forged::with(20, |row| row.turn = i64::from(u32::MAX)),
        Forged::with(21, |row| row.turn = -7),
        Forged::with(22, |row| row.reported = 9),
        Forged::with(-3, |_| {}),
        Forged::with(i64::MAX, |_| {}),
    ];
    forge(&setup, |conn| {
        for row in &forged {
            row.write(conn);
        }
        let pending_deletion = "INSERT INTO pending_deletion (session, id, remote_id) VALUES (30, '../x', NULL), (31, 'fine', '../y')";
        conn.execute_batch(pending_deletion).unwrap();
        // Runs that end before they begin, and beyond all numbers.
        let runs = "INSERT INTO runs (place, last, hidden, frames) VALUES (?1, ?2, 0, x'00')";
        for (number, last) in [(1_i64 << 34, 0_i64), (2 << 34, i64::MAX), (-5, 3)] {
            conn.execute(runs, [number + 9, last]).unwrap();
        }
    });

    let (journal, opened) = setup.reopen().await;
    journal.until_health(|health| *health == Health::Well).await;
    assert!(
        opened
            .unfinished
            .iter()
            .all(|(stored, _)| stored.row.number == 2)
    );
    let all = journal.sessions(None, None, 100).await.unwrap();
    assert!(all.iter().all(|stored| stored.row.number <= 2), "{all:?}");
    assert!(all.iter().any(|stored| stored.row.number == 1));
    for row in &forged {
        assert_eq!(journal.session(&row.id).await.unwrap(), None);
    }
    let told: Vec<u64> = journal
        .unreported(100)
        .await
        .unwrap()
        .iter()
        .map(|stored| stored.row.number)
        .collect();
    assert_eq!(told, [1]);
    // Whoever cleans up is told of nothing that is no session.
    let mut removals = journal.take_removals();
    let next = tokio::time::timeout(Duration::from_millis(50), removals.recv()).await;
    assert!(next.is_err(), "{next:?}");
    // And it goes on being written.
    let three = Fake::begun(&journal, 3).await;
    three.say(&journal, 2, false);
    three.until_written().await;
}

/// A table of another make could hold any type, or do things of its own when it is written.
#[tokio::test]
async fn tables_that_are_not_ours_to_the_letter_are_moved_aside() {
    for change in [
        "CREATE TRIGGER t AFTER UPDATE ON sessions BEGIN DELETE FROM runs; END",
        "CREATE VIEW v AS SELECT 1",
        "DROP TABLE notes; CREATE TABLE notes (session, part, value)",
    ] {
        let setup = closed().await;
        forge(&setup, |conn| conn.execute_batch(change).unwrap());
        let (journal, opened) = setup.reopen().await;
        assert_eq!(
            (opened.unfinished.len(), opened.last_number),
            (0, 0),
            "{change}"
        );
        journal.until_health(|health| *health == Health::Well).await;
        let names = files(&setup.config.dir);
        assert!(
            names.iter().any(|name| name.contains("corrupt")),
            "{names:?}"
        );
    }
}

/// An earlier version left a WAL and its mapped index behind, and died.
#[tokio::test]
async fn a_database_that_was_used_with_a_mapped_index_is_recovered() {
    let setup = closed().await;
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE;
    let earlier = Connection::open_with_flags_and_vfs(setup.path(), flags, "unix").unwrap();
    earlier
        .execute_batch("PRAGMA wal_autocheckpoint = 0")
        .unwrap();
    Forged::with(7, |row| {
        "written-last".clone_into(&mut row.id);
        // What ended long ago would be removed at once.
        row.ended = i64::try_from(now()).unwrap();
    })
    .write(&earlier);
    let index = setup.config.dir.join("sessions.db-shm");
    assert!(index.exists());
    let copy = setup.copy();
    std::fs::copy(&index, copy.config.dir.join("sessions.db-shm")).unwrap();
    drop(earlier);

    let (journal, _) = copy.reopen().await;
    assert!(journal.session("written-last").await.unwrap().is_some());
    assert!(!copy.config.dir.join("sessions.db-shm").exists());
}

/// Whoever can write the directory can cut its files. That may cost what is in them, and not the process.
#[tokio::test]
async fn files_that_are_cut_under_it_do_not_end_the_process() {
    let setup = Setup::new();
    let (journal, _) = setup.open().await;
    let one = Fake::begun(&journal, 1).await;
    one.say(&journal, 50, false);
    one.until_written().await;
    for name in files(&setup.config.dir) {
        let path = setup.config.dir.join(name);
        std::fs::OpenOptions::new()
            .write(true)
            .open(path)
            .unwrap()
            .set_len(0)
            .unwrap();
    }
    // Reading and writing either work or fail.
    drop(journal.session("id-1").await);
    drop(journal.page(1, 0, 50, true).await);
    one.say(&journal, 50, false);
    poll("an answer of the disk", || {
        let (committed, from_memory) = one.look(|state| (state.committed, state.from_memory));
        (committed > 50 || from_memory).then_some(())
    })
    .await;
}

/// While we have it nobody else does, also when our readers come and go: the index that all users of a WAL must
/// share lies in our memory.
#[tokio::test]
async fn another_process_is_kept_out() {
    let setup = Setup::new();
    let (journal, _) = setup.open().await;
    let one = Fake::begun(&journal, 1).await;
    one.say(&journal, 5, false);
    one.until_written().await;
    for _ in 0..20 {
        journal.session("id-1").await.unwrap().unwrap();
    }
    let script = "import sqlite3, sys\nc = sqlite3.connect(sys.argv[1], timeout=0.1)\nc.execute('DELETE FROM sessions')\nc.commit()";
    let output = std::process::Command::new("python3")
        .args(["-c", script])
        .arg(setup.path())
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(said.contains("database is locked"), "{said}");
    assert!(journal.session("id-1").await.unwrap().is_some());
}
