//! What goes when it is old or there is too much, who is told, and what stays.

use std::collections::BTreeSet;
use std::time::Duration;

use tokio::time::timeout;

use super::support::{DEADLINE, Fake, Setup, files, now, poll, set_most_pages};
use crate::journal::*;

/// A finished session with this many events of about 200 bytes.
async fn finished(journal: &Journal, number: u64, events: u64, ended: u64) -> Arc<Fake> {
    let fake = Fake::begun(journal, number).await;
    fake.say(journal, events, false);
    fake.note(journal, "a", 1);
    fake.until_written().await;
    fake.end(journal, ended);
    fake.until_written().await;
    fake
}

fn count(table: &'static str) -> impl Fn(&Connection) -> u64 + Send + 'static {
    move |conn| {
        let question = format!("SELECT count(*) FROM {table}");
        conn.query_row(&question, [], |row| row.get(0)).unwrap()
    }
}

async fn numbers(journal: &Journal) -> Vec<u64> {
    let found = journal.sessions(None, None, 99).await.unwrap();
    found.into_iter().map(|stored| stored.row.number).collect()
}

async fn next(removals: &mut mpsc::Receiver<Removed>) -> Removed {
    let next = timeout(DEADLINE, removals.recv()).await;
    next.unwrap().unwrap()
}

fn on_disk(setup: &Setup) -> u64 {
    let dir = &setup.config.dir;
    let length = |name: &String| std::fs::metadata(dir.join(name)).map_or(0, |file| file.len());
    files(dir)
        .iter()
        .filter(|name| name.starts_with("sessions.db"))
        .map(length)
        .sum()
}

#[tokio::test]
async fn what_is_too_old_goes_with_all_it_had_and_somebody_is_told() {
    let setup = Setup::new();
    let (journal, _) = setup.open().await;
    let mut removals = journal.take_removals();
    let hour = 3_600_000;
    // The age is that of the end, whatever the number.
    finished(&journal, 1, 10, now() - hour + 60_000).await;
    finished(&journal, 2, 2000, now() - hour - 1).await;
    Fake::begun(&journal, 3).await;
    finished(&journal, 4, 10, now() - 2 * hour).await;
    let gone = [next(&mut removals).await, next(&mut removals).await];
    let gone: BTreeSet<_> = gone
        .into_iter()
        .map(|removed| (removed.number, removed.id, removed.remote_id))
        .collect();
    let told = |number| {
        (
            number,
            format!("id-{number}"),
            Some(format!("ses_{number}")),
        )
    };
    assert_eq!(gone, [told(2), told(4)].into());
    assert_eq!(numbers(&journal).await, [3, 1]);
    let figures = journal.until_figures(|figures| figures.removed == 2).await;
    assert!(figures.bytes > 0);
    while journal.probe(count("pending_deletion")).await > 0 {}
    assert_eq!(
        journal.probe(count("runs")).await,
        2,
        "its last event is one of its own"
    );
    assert_eq!(journal.probe(count("notes")).await, 1);
    assert!(removals.try_recv().is_err());
}

#[tokio::test]
async fn when_there_is_too_much_the_sessions_that_ended_first_go() {
    let mut setup = Setup::new();
    setup.config.max_bytes = 2 << 20;
    setup.tuning.checkpoint_pages = 64;
    let (journal, _) = setup.open().await;
    let mut removals = journal.take_removals();
    let running = Fake::begun(&journal, 1).await;
    running.say(&journal, 100, false);
    // 4 MiB in all, and those with high numbers ended first.
    for nth in 1..=20 {
        finished(&journal, 100 - nth, 1000, now() - 1000 + nth).await;
        running.say(&journal, 1, false);
    }
    let mut gone = Vec::new();
    let settled = async {
        loop {
            let left = numbers(&journal).await;
            while let Ok(removed) = removals.try_recv() {
                gone.push(removed.number);
            }
            let bytes = journal.figures().bytes;
            // Not much more goes than must.
            if left.len() + gone.len() == 21 && (1 << 20..=2 << 20).contains(&bytes) {
                break left;
            }
        }
    };
    let mut left = timeout(DEADLINE, settled).await.unwrap();
    assert!(gone.len() >= 9, "{gone:?}");
    let first_left = 99 - gone.len() as u64;
    assert_eq!(gone, (first_left + 1..=99).rev().collect::<Vec<_>>());
    assert_eq!(left.pop(), Some(1));
    assert_eq!(left, (80..=first_left).rev().collect::<Vec<_>>());
    let last = running.look(|state| state.last);
    running.until_written().await;
    assert_eq!(
        journal.read(1, 0, last, false).await,
        running.expected(0, last, false)
    );
    assert_eq!(running.look(|state| state.trimmed), 0);
}

#[tokio::test]
async fn when_only_running_sessions_are_left_the_largest_loses_its_beginning() {
    let mut setup = Setup::new();
    setup.config.max_bytes = 2 << 20;
    setup.tuning.checkpoint_pages = 64;
    let (journal, _) = setup.open().await;
    let small = Fake::begun(&journal, 1).await;
    small.say(&journal, 100, false);
    let large = Fake::begun(&journal, 2).await;
    for _ in 0..1000 {
        large.say(&journal, 20, false);
    }
    large.until_written().await;
    large.until(|state| state.trimmed > 1000).await;
    // It goes on until there is little enough, and not much further.
    let (stored, got) = timeout(DEADLINE, async {
        loop {
            let figures = journal
                .until_figures(|figures| (1 << 20..=2 << 20).contains(&figures.bytes))
                .await;
            assert_eq!(figures.removed, 0);
            let stored = journal.session("id-2").await.unwrap().unwrap();
            let got = journal.read(2, 0, 20_000, false).await;
            // The figure may be one of before the last group: then there was a step between the two.
            if got.gone == stored.oldest && got.gone == large.look(|state| state.trimmed) {
                break (stored, got);
            }
        }
    })
    .await
    .unwrap();
    assert_eq!(stored.last, 20_000);
    let kept = large.expected(stored.oldest - 1, 20_000, false);
    assert_eq!(got.text, kept.text);
    assert_eq!(
        journal.read(1, 0, 100, false).await,
        small.expected(0, 100, false)
    );
}

#[tokio::test]
async fn the_last_run_of_a_session_stays_whatever_its_size() {
    let mut setup = Setup::new();
    setup.config.max_bytes = 1;
    setup.tuning.checkpoint_pages = 16;
    let (journal, _) = setup.open().await;
    let fake = Fake::begun(&journal, 1).await;
    for _ in 0..50 {
        fake.say(&journal, 2, false);
        fake.until_written().await;
    }
    fake.until(|state| state.trimmed == 99).await;
    let got = journal.read(1, 0, 100, false).await;
    assert_eq!(
        (got.gone, &got.text),
        (99, &fake.expected(98, 100, false).text)
    );
    drop(journal);
    assert_eq!(setup.reopen().await.1.unfinished[0].0.last, 100);
}

#[tokio::test]
async fn room_that_is_free_is_given_back() {
    let mut setup = Setup::new();
    setup.tuning.checkpoint_pages = 64;
    let (journal, _) = setup.open().await;
    let _removals = journal.take_removals();
    for number in 1..=4 {
        finished(&journal, number, 20_000, now()).await;
    }
    let before = on_disk(&setup);
    assert!(before > 12 << 20, "{before}");
    journal.close().await;
    drop(journal);
    // The same database, in which all of them are too old now.
    setup.config.retention = Duration::ZERO;
    let (journal, _) = setup.reopen().await;
    let _removals = journal.take_removals();
    poll("a small file", || {
        Some(()).filter(|()| on_disk(&setup) < 3 << 20)
    })
    .await;
    assert!(journal.figures().bytes < 3 << 20);
}

#[tokio::test]
async fn while_nobody_cleans_up_after_removed_sessions_no_more_are_removed() {
    let setup = Setup::new();
    let (journal, _) = setup.open().await;
    let mut removals = journal.take_removals();
    let fakes: Vec<_> = (1..=100).map(Fake::new).collect();
    for fake in &fakes {
        fake.begin(&journal);
        fake.say(&journal, 1, false);
        fake.end(&journal, 1);
    }
    journal.until_figures(|figures| figures.removed == 64).await;
    while journal.probe(count("pending_deletion")).await > 0 {}
    assert_eq!(journal.probe(count("sessions")).await, 36);
    let mut gone = BTreeSet::new();
    while gone.len() < 100 {
        assert!(gone.insert(next(&mut removals).await.number));
    }
    // Whoever asks a second time gets nothing, and one who has left holds nobody up.
    assert!(journal.take_removals().recv().await.is_none());
    drop(removals);
    finished(&journal, 200, 1, 1).await;
    journal
        .until_figures(|figures| figures.removed == 101)
        .await;
}

#[tokio::test]
async fn a_running_session_does_not_pay_for_one_who_does_not_clean_up() {
    let mut setup = Setup::new();
    setup.config.max_bytes = 1;
    setup.tuning.checkpoint_pages = 16;
    let (journal, _) = setup.open().await;
    let running = Fake::begun(&journal, 1).await;
    let mut removals = journal.take_removals();
    for number in 2..=66 {
        finished(&journal, number, 1, now()).await;
    }
    journal.until_figures(|figures| figures.removed == 64).await;
    running.say(&journal, 1, false);
    running.until_written().await;
    // So much that retention works right after it.
    running.say(&journal, 2000, false);
    running.until_written().await;
    running.say(&journal, 1, false);
    running.until_written().await;
    while journal.probe(count("pending_deletion")).await > 0 {}
    assert_eq!(running.look(|state| state.trimmed), 0);
    next(&mut removals).await;
    running.until(|state| state.trimmed == 2002).await;
    assert_eq!(numbers(&journal).await, [1]);
}

#[tokio::test]
async fn a_removed_session_that_begins_another_turn_keeps_its_numbers() {
    let setup = Setup::new();
    let (journal, _) = setup.open().await;
    let mut removals = journal.take_removals();
    let fake = finished(&journal, 1, 29, 1).await;
    next(&mut removals).await;
    // A line about what is over brings nothing back.
    fake.change_row(&journal, |row| row.reported = 1);
    fake.until_written().await;
    assert_eq!(journal.session("id-1").await, Ok(None));
    fake.begin(&journal);
    fake.say(&journal, 10, false);
    fake.until_written().await;
    let stored = journal.session("id-1").await.unwrap().unwrap();
    assert_eq!((stored.oldest, stored.last), (1, 40));
    let got = journal.read(1, 0, 40, false).await;
    assert_eq!(got.lost, (1..=30).collect());
    assert_eq!(got.text, fake.expected(30, 40, false).text);
    drop(journal);
    assert_eq!(setup.reopen().await.1.unfinished[0].0.last, 40);
}

#[tokio::test]
async fn a_removed_session_whose_whole_turn_comes_at_once_is_back() {
    let setup = Setup::new();
    let (journal, _) = setup.open().await;
    let mut removals = journal.take_removals();
    let fake = finished(&journal, 1, 29, 1).await;
    next(&mut removals).await;
    let (go_tx, go_rx) = std::sync::mpsc::channel::<()>();
    let stuck = journal.probe(move |_| go_rx.recv().unwrap_err());
    tokio::join!(stuck, async {
        fake.begin(&journal);
        fake.end(&journal, now());
        drop(go_tx);
    });
    fake.until_written().await;
    let stored = journal.session("id-1").await.unwrap().unwrap();
    assert_eq!((stored.row.turn, stored.oldest, stored.last), (2, 1, 31));
}

#[tokio::test]
async fn who_was_removed_and_not_swept_is_told_again_after_a_restart() {
    let setup = Setup::new();
    let (journal, _) = setup.open().await;
    let fake = Fake::begun(&journal, 1).await;
    fake.say(&journal, 3000, false);
    fake.until_written().await;
    // As if the process had died between the removal and its rows.
    let copy = setup.copy();
    let conn = Connection::open(copy.path()).unwrap();
    conn.execute_batch(
        "DELETE FROM sessions; INSERT INTO pending_deletion VALUES (1, 'id-1', 'ses_1'), (5, NULL, NULL)",
    )
    .unwrap();
    drop(conn);
    let (journal, opened) = copy.open().await;
    assert_eq!(opened.unfinished.len(), 0);
    let mut removals = journal.take_removals();
    let removed = next(&mut removals).await;
    assert_eq!((removed.number, removed.id.as_str()), (1, "id-1"));
    while journal.probe(count("runs")).await > 0 {}
    while journal.probe(count("pending_deletion")).await > 0 {}
    assert!(removals.try_recv().is_err(), "the other one has no ids");
}

#[tokio::test]
async fn a_full_disk_has_room_again_once_old_sessions_are_gone() {
    let mut setup = Setup::new();
    setup.config.retention = Duration::from_hours(1_000_000);
    let (journal, _) = setup.open().await;
    finished(&journal, 1, 10_000, 1).await;
    let pages = |conn: &Connection| {
        let pages: u64 = conn
            .query_row("PRAGMA page_count", [], |row| row.get(0))
            .unwrap();
        pages
    };
    let pages = journal.probe(pages).await;
    journal.close().await;
    drop(journal);
    // The same database with another bound, and a disk that ends where the file ends now.
    setup.config.max_bytes = 1 << 20;
    let (journal, _) = setup.reopen().await;
    journal.probe(move |conn| set_most_pages(conn, pages)).await;
    let mut removals = journal.take_removals();
    let fake = Fake::begun(&journal, 2).await;
    fake.say(&journal, 2000, false);
    fake.until_written().await;
    assert_eq!(next(&mut removals).await.number, 1);
    journal.until_health(|health| *health == Health::Well).await;
}
