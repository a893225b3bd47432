//! A disk that is full, hangs, or tells lies. Readers go on, and nothing is lost that memory could keep.

use std::time::Duration;

use rusqlite::Connection;

use super::support::{BOOT, DEADLINE, Fake, Setup, files, poll, set_most_pages};
use crate::journal::*;

fn give_room(conn: &Connection) {
    set_most_pages(conn, 1_073_741_823);
}

/// From now on the database may not grow.
async fn fill_disk(journal: &Journal) {
    journal.probe(|conn| set_most_pages(conn, 1)).await;
}

async fn free_disk(journal: &Journal) {
    journal.probe(give_room).await;
}

fn is_marked(setup: &Setup) -> bool {
    let text = std::fs::read(setup.config.dir.join(marker::NAME)).unwrap();
    assert_eq!(text.len(), 4096);
    text[0] != b' '
}

async fn until_unmarked(setup: &Setup) {
    let unmarked = || Some(()).filter(|()| !is_marked(setup));
    poll("the marker", unmarked).await;
}

async fn until_degraded(journal: &Journal, why: &str) {
    journal
        .until_health(|health| matches!(health, Health::Degraded(reason) if reason.contains(why)))
        .await;
}

async fn until_well(journal: &Journal) {
    journal.until_health(|health| *health == Health::Well).await;
}

/// Holds the database's write lock, as a disk that hangs would hold a commit.
fn hold(setup: &Setup) -> Connection {
    let conn = Connection::open(setup.path()).unwrap();
    conn.execute_batch("BEGIN IMMEDIATE").unwrap();
    conn
}

/// A disk that does not answer, and a session that said ten events since.
async fn hung() -> (Setup, Journal, Arc<Fake>, Connection) {
    let mut setup = Setup::new();
    setup.tuning.hang = Duration::from_millis(50);
    let (journal, _) = setup.open().await;
    let one = Fake::begun(&journal, 1).await;
    let lock = hold(&setup);
    one.say(&journal, 10, false);
    one.until(|state| state.from_memory).await;
    (setup, journal, one, lock)
}

async fn assert_all_there(journal: &Journal, fake: &Arc<Fake>) {
    let last = fake.look(|state| state.last);
    let got = journal.read(fake.number(), 0, last, true).await;
    assert_eq!(got, fake.expected(0, last, true));
}

#[tokio::test]
async fn while_the_disk_is_full_events_are_shown_from_memory_and_then_all_are_written() {
    let setup = Setup::new();
    let (journal, _) = setup.open().await;
    let one = Fake::begun(&journal, 1).await;
    one.say(&journal, 10, false);
    one.until_written().await;
    fill_disk(&journal).await;
    one.say(&journal, 500, false);
    one.until(|state| state.from_memory).await;
    until_degraded(&journal, "full").await;
    assert!(is_marked(&setup), "marked before it is shown");
    assert!(journal.figures().degraded);
    // One that comes meanwhile, more of the first, and some that memory could not keep.
    let two = Fake::new(2);
    two.begin(&journal);
    two.say(&journal, 300, false);
    two.until(|state| state.from_memory).await;
    for _ in 0..20 {
        one.say(&journal, 20, true);
    }
    one.lose(&journal, 7);
    one.say(&journal, 3, false);
    one.note(&journal, "a", 1);
    // It is tried again and again.
    let failures = journal.figures().failures;
    journal
        .until_figures(|now| now.failures >= failures + 3)
        .await;
    assert_eq!(one.look(|state| state.committed), 10);
    free_disk(&journal).await;
    one.until_written().await;
    two.until_written().await;
    until_well(&journal).await;
    journal.until_figures(|now| !now.degraded).await;
    assert_all_there(&journal, &one).await;
    assert_all_there(&journal, &two).await;
    assert_eq!(journal.figures().lost, 0);
    assert_eq!(journal.notes(1).await.unwrap(), [("a".to_owned(), 1)]);
    // As if nothing had been.
    one.say(&journal, 5, false);
    one.until_written().await;
    until_unmarked(&setup).await;
    journal.close().await;
    drop(journal);
    let (journal, opened) = setup.reopen().await;
    assert_eq!(opened.unfinished[0].0.row.epoch, "epoch12345");
    assert_all_there(&journal, &one).await;
}

/// Between the moment the last group of the trouble was taken and the moment it is on disk, events are
/// still shown from memory. They are in the next group, and until that is on disk the marker stands.
#[tokio::test]
async fn the_marker_stands_until_what_was_shown_while_the_trouble_ended_is_on_disk() {
    let setup = Setup::new();
    let (journal, _) = setup.open().await;
    let one = Fake::begun(&journal, 1).await;
    fill_disk(&journal).await;
    one.say(&journal, 500, false);
    one.until(|state| state.from_memory).await;
    let others = [2, 3].map(Fake::new);
    for other in &others {
        other.begin(&journal);
    }
    for other in &others {
        other.until(|state| state.from_memory).await;
    }
    let seen = Arc::new(parking_lot::Mutex::new(Vec::new()));
    let talkers = [
        Arc::clone(&others[0]),
        Arc::clone(&others[1]),
        Arc::clone(&one),
    ];
    let (handle, commits) = (journal.clone(), Arc::clone(&seen));
    let file = setup.config.dir.join(marker::NAME);
    let at_commit = move || {
        let is_marked = std::fs::read(&file).unwrap()[0] != b' ';
        let mut commits = commits.lock();
        if commits.is_empty() {
            // More than one group, and `one` comes last.
            for talker in &talkers {
                talker.say(&handle, 15_000, false);
            }
        }
        let from_memory = talkers
            .iter()
            .map(|talker| talker.look(|state| state.from_memory));
        commits.push((from_memory.collect::<Vec<_>>(), is_marked));
        false
    };
    journal
        .probe(move |conn| {
            conn.commit_hook(Some(at_commit));
            give_room(conn);
        })
        .await;
    one.until_written().await;
    until_unmarked(&setup).await;
    // The last group of the trouble, in which all are shown from memory, and the two that follow it.
    let seen = std::mem::take(&mut *seen.lock());
    assert_eq!(seen[0], (vec![true; 3], true));
    assert_eq!(seen[1], (vec![false; 3], true));
    assert_eq!(seen[2], (vec![false; 3], true));
    assert_all_there(&journal, &one).await;
    // The hook has handles on the journal.
    journal
        .probe(|conn| conn.commit_hook(None::<fn() -> bool>))
        .await;
}

#[tokio::test]
async fn a_full_disk_gets_the_room_of_damaged_databases_and_a_newer_one_stays() {
    let setup = Setup::new();
    let (journal, _) = setup.open().await;
    let one = Fake::begun(&journal, 1).await;
    for name in ["corrupt-1", "corrupt-1-wal", "corrupt-2", "newer-1"] {
        std::fs::write(setup.config.dir.join(format!("sessions.db.{name}")), "x").unwrap();
    }
    let aside = || {
        let names = files(&setup.config.dir);
        let names = names
            .iter()
            .filter_map(|name| name.strip_prefix("sessions.db."));
        names.map(str::to_owned).collect::<Vec<_>>()
    };
    fill_disk(&journal).await;
    one.say(&journal, 500, false);
    poll("room", || Some(()).filter(|()| aside() == ["newer-1"])).await;
    free_disk(&journal).await;
    one.until_written().await;
    assert_eq!(aside(), ["newer-1"]);
}

#[tokio::test]
async fn memory_is_bounded_and_what_it_lets_go_of_is_a_hole_that_readers_see() {
    let mut setup = Setup::new();
    setup.tuning.kept_bytes = 64 << 10;
    let (journal, _) = setup.open().await;
    let one = Fake::begun(&journal, 1).await;
    let two = Fake::begun(&journal, 2).await;
    fill_disk(&journal).await;
    // More than fits into the pages that are there.
    two.say(&journal, 30, false);
    two.until(|state| state.from_memory).await;
    for nth in 1..=1000 {
        one.say(&journal, 1, nth % 100 == 0);
        if nth % 50 == 0 {
            one.say(&journal, 10, false);
            one.until(|state| state.shown == state.last).await;
        }
    }
    one.until(|state| state.from_memory).await;
    free_disk(&journal).await;
    one.until_written().await;
    two.until_written().await;
    assert_all_there(&journal, &two).await;
    let last = one.look(|state| state.last);
    let got = journal.read(1, 0, last, true).await;
    let missing = got.lost.len() as u64;
    assert!(missing > 500 && missing < 1150, "{missing}");
    assert_eq!(got.lost, (1..=missing).collect(), "the oldest go first");
    assert_eq!(got.text, one.expected(missing, last, true).text);
    journal
        .until_figures(|figures| figures.lost == missing)
        .await;
    // A hole takes no room for each event in it.
    let count = |conn: &Connection| {
        conn.query_row("SELECT count(*) FROM runs WHERE frames = x''", [], |row| {
            row.get::<_, u64>(0)
        })
        .unwrap()
    };
    let holes = journal.probe(count).await;
    assert!(holes < 25, "{holes}");
}

#[tokio::test]
async fn while_the_disk_hangs_readers_go_on_from_memory() {
    let (setup, journal, one, lock) = hung().await;
    until_degraded(&journal, "has not answered").await;
    assert!(is_marked(&setup));
    // The writer is stuck, and still those that come are told.
    let two = Fake::new(2);
    two.begin(&journal);
    two.say(&journal, 10, false);
    two.until(|state| state.from_memory).await;
    for _ in 0..5 {
        one.say(&journal, 10, false);
        one.until(|state| state.from_memory && state.shown == state.last)
            .await;
    }
    // Look-ups are other connections.
    assert!(journal.session("id-1").await.unwrap().is_some());
    assert_eq!(journal.session("id-2").await, Ok(None));
    drop(lock);
    one.until_written().await;
    two.until_written().await;
    until_well(&journal).await;
    assert_all_there(&journal, &one).await;
    assert_all_there(&journal, &two).await;
    until_unmarked(&setup).await;
    assert_eq!(journal.figures().lost, 0);
    // And it can hang again. The commit that hung was not synced, and the marker may not go before it is.
    let synced = journal.figures().synced;
    let lock = hold(&setup);
    two.say(&journal, 1, false);
    two.until(|state| state.from_memory).await;
    drop(lock);
    two.until_written().await;
    until_well(&journal).await;
    until_unmarked(&setup).await;
    assert_eq!(journal.figures().synced, synced + 1);
    assert_all_there(&journal, &two).await;
}

#[tokio::test]
async fn what_is_said_while_a_hang_ends_and_the_journal_is_closed_is_written_too() {
    let (setup, journal, one, lock) = hung().await;
    tokio::join!(journal.close(), async {
        // Shown from memory.
        one.say(&journal, 1, false);
        drop(lock);
    });
    drop(journal);
    let (journal, opened) = setup.reopen().await;
    let (stored, _) = &opened.unfinished[0];
    assert_eq!((stored.row.epoch.as_str(), stored.last), ("epoch12345", 11));
    assert_all_there(&journal, &one).await;
}

#[tokio::test]
async fn a_disk_that_hangs_at_the_start_keeps_nobody_from_seeing_events() {
    let mut setup = Setup::new();
    let (journal, _) = setup.open().await;
    Fake::begun(&journal, 1).await;
    journal.close().await;
    drop(journal);
    setup.tuning.hang = Duration::from_millis(50);
    let lock = hold(&setup);
    let journal = Journal::start_tuned(setup.config.clone(), BOOT.into(), &setup.tuning).unwrap();
    let two = Fake::new(2);
    two.begin(&journal);
    two.say(&journal, 10, false);
    two.until(|state| state.from_memory).await;
    until_degraded(&journal, "has not answered").await;
    drop(lock);
    let opened = tokio::time::timeout(DEADLINE, journal.opened())
        .await
        .unwrap();
    assert_eq!(opened.last_number, 1);
    two.until_written().await;
    until_well(&journal).await;
    assert_all_there(&journal, &two).await;
}

#[tokio::test]
async fn a_database_that_cannot_be_opened_is_tried_again() {
    let setup = Setup::new();
    std::fs::write(&setup.config.dir, "in the way").unwrap();
    let journal = Journal::start_tuned(setup.config.clone(), BOOT.into(), &setup.tuning).unwrap();
    until_degraded(&journal, "File exists").await;
    let one = Fake::new(1);
    one.begin(&journal);
    one.say(&journal, 10, false);
    one.until(|state| state.from_memory).await;
    std::fs::remove_file(&setup.config.dir).unwrap();
    tokio::time::timeout(DEADLINE, journal.opened())
        .await
        .unwrap();
    one.until_written().await;
    until_well(&journal).await;
    assert_all_there(&journal, &one).await;
}

#[tokio::test]
async fn a_bug_in_the_writer_s_thread_leaves_readers_with_events_from_memory() {
    let setup = Setup::new();
    let (journal, _) = setup.open().await;
    let one = Fake::begun(&journal, 1).await;
    let bug = Box::new(|_: &Connection| panic!("a test asked for this panic"));
    journal.shared.queue.probe(bug);
    until_degraded(&journal, "restart the sidecar").await;
    one.say(&journal, 10, false);
    one.until(|state| state.from_memory).await;
    one.say(&journal, 10, false);
    assert!(journal.session("id-1").await.unwrap().is_some());
    drop(journal);
    // What was shown and not written costs the epoch.
    let (_journal, opened) = setup.reopen().await;
    assert_ne!(opened.unfinished[0].0.row.epoch, "epoch12345");
}

/// Overwrites everything but the first page, in the file and out of the writer's memory.
async fn damage(setup: &Setup, journal: &Journal) {
    let path = setup.path();
    let damage = move |conn: &Connection| {
        conn.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(()))
            .unwrap();
        conn.execute_batch("PRAGMA shrink_memory").unwrap();
        let length = std::fs::metadata(&path).unwrap().len();
        let junk = vec![0xa5; usize::try_from(length).unwrap() - 4096];
        let file = std::fs::OpenOptions::new().write(true).open(&path).unwrap();
        std::os::unix::fs::FileExt::write_all_at(&file, &junk, 4096).unwrap();
    };
    journal.probe(damage).await;
}

fn corrupt_ones(setup: &Setup) -> usize {
    let names = files(&setup.config.dir);
    names
        .iter()
        .filter(|name| {
            name.starts_with("sessions.db.corrupt-") && !name.ends_with('l') && !name.ends_with('m')
        })
        .count()
}

#[tokio::test]
async fn a_database_that_is_damaged_while_it_is_used_is_moved_aside_and_running_sessions_go_on() {
    let setup = Setup::new();
    let (journal, _) = setup.open().await;
    let one = Fake::begun(&journal, 1).await;
    let two = Fake::begun(&journal, 2).await;
    one.say(&journal, 100, false);
    two.say(&journal, 100, false);
    two.end(&journal, super::support::now());
    one.until_written().await;
    two.until_written().await;
    damage(&setup, &journal).await;
    one.say(&journal, 10, false);
    one.until_written().await;
    until_well(&journal).await;
    assert_eq!(corrupt_ones(&setup), 1);
    // What ran goes on under the same numbers; what had ended is in the file that was moved aside.
    let got = journal.read(1, 0, 110, false).await;
    assert_eq!(got.lost, (1..=100).collect());
    assert_eq!(got.text, one.expected(100, 110, false).text);
    assert_eq!(journal.session("id-2").await, Ok(None));
    one.say(&journal, 10, false);
    // Unless it begins another turn: its numbers go on too, even if it has said nothing yet.
    two.begin(&journal);
    one.until_written().await;
    two.until_written().await;
    drop(journal);
    let (journal, opened) = setup.reopen().await;
    let (stored, _) = &opened.unfinished[0];
    assert_eq!((opened.unfinished.len(), stored.last), (2, 120));
    let (again, _) = &opened.unfinished[1];
    assert_eq!((again.row.turn, again.oldest, again.last), (2, 1, 101));
    assert_eq!(
        journal.page(2, 0, 101, false).await.unwrap(),
        [Piece::Lost { last: 101 }]
    );
    assert_eq!(stored.row.epoch, "epoch12345");
    assert_eq!(opened.last_number, 2, "no number is given again");
    assert_eq!(
        journal.read(1, 110, 120, false).await,
        one.expected(110, 120, false)
    );
}

/// Room may come at the last moment, however rarely it was tried before.
#[tokio::test]
async fn a_journal_that_is_closed_while_the_disk_is_full_tries_again() {
    let mut setup = Setup::new();
    setup.tuning.retry = (Duration::from_millis(10), Duration::from_mins(1));
    let (journal, _) = setup.open().await;
    let one = Fake::begun(&journal, 1).await;
    fill_disk(&journal).await;
    one.say(&journal, 500, false);
    // The next try would be in 1.3 s.
    journal.until_figures(|now| now.failures >= 7).await;
    let shared = Arc::clone(&journal.shared);
    journal.shared.queue.end(End::Close);
    journal.shared.queue.probe(Box::new(move |_| {
        // After the first try of the close.
        shared.queue.probe(Box::new(give_room));
    }));
    journal.close().await;
    drop(journal);
    assert!(!is_marked(&setup));
    let (journal, opened) = setup.reopen().await;
    let (stored, _) = &opened.unfinished[0];
    assert_eq!(
        (stored.row.epoch.as_str(), stored.last),
        ("epoch12345", 500)
    );
    assert_all_there(&journal, &one).await;
}

/// Found by the last group, when the journal is already being closed.
#[tokio::test]
async fn a_database_that_is_damaged_when_it_is_closed_is_moved_aside_too() {
    let setup = Setup::new();
    let (journal, _) = setup.open().await;
    let one = Fake::begun(&journal, 1).await;
    one.say(&journal, 100, false);
    one.until_written().await;
    damage(&setup, &journal).await;
    let (begun_tx, begun_rx) = std::sync::mpsc::channel();
    let (go_tx, go_rx) = std::sync::mpsc::channel();
    let queue = &journal.shared.queue;
    queue.probe(Box::new(move |_| {
        begun_tx.send(()).unwrap();
        go_rx.recv().unwrap();
    }));
    begun_rx.recv().unwrap();
    queue.end(End::Close);
    let (handle, talker) = (journal.clone(), Arc::clone(&one));
    queue.probe(Box::new(move |_| talker.say(&handle, 10, false)));
    go_tx.send(()).unwrap();
    journal.close().await;
    drop(journal);
    assert_eq!(corrupt_ones(&setup), 1);
    let (journal, opened) = setup.reopen().await;
    let (stored, _) = &opened.unfinished[0];
    assert_eq!(
        (stored.row.epoch.as_str(), stored.last),
        ("epoch12345", 110)
    );
    assert_eq!(
        journal.read(1, 100, 110, false).await,
        one.expected(100, 110, false)
    );
}

#[tokio::test]
async fn a_reader_that_meets_a_damaged_page_has_the_database_put_aside() {
    let setup = Setup::new();
    let (journal, _) = setup.open().await;
    let one = Fake::begun(&journal, 1).await;
    one.say(&journal, 2000, false);
    one.until_written().await;
    damage(&setup, &journal).await;
    let broken = journal.page(1, 0, 2000, false).await.unwrap_err();
    assert!(matches!(broken, JournalError::Broken(_)), "{broken:?}");
    poll("the move", || {
        Some(()).filter(|()| corrupt_ones(&setup) == 1)
    })
    .await;
    until_well(&journal).await;
    assert_eq!(
        journal.page(1, 0, 2000, false).await.unwrap(),
        [Piece::Lost { last: 2000 }]
    );
    one.say(&journal, 1, false);
    one.until_written().await;
    assert_eq!(
        journal.read(1, 2000, 2001, false).await,
        one.expected(2000, 2001, false)
    );
}
