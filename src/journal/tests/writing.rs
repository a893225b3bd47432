//! Groups, their order, what is told to whom, and the end.

use std::os::unix::fs::PermissionsExt as _;

use super::support;
use super::support::{BOOT, DEADLINE, Fake, Setup, files, now, row};
use crate::journal::*;
use tokio::time::timeout;

#[tokio::test]
async fn what_was_written_is_found_after_a_restart() {
    let setup = Setup::new();
    let (journal, opened) = setup.open().await;
    assert_eq!((opened.unfinished.len(), opened.last_number), (0, 0));
    let one = Fake::begun(&journal, 1).await;
    let two = Fake::begun(&journal, 2).await;
    for count in 1..=20 {
        one.say(&journal, count, count % 3 == 0);
        two.say(&journal, 1, false);
        two.note(&journal, "part", count);
    }
    one.end(&journal, now());
    one.until_written().await;
    two.until_written().await;
    journal.close().await;
    drop(journal);

    let (journal, opened) = setup.open_on("another").await;
    assert_eq!(opened.last_number, 2);
    let (stored, notes) = &opened.unfinished[0];
    assert_eq!(stored.row, two.look(|state| state.row.clone()));
    assert_eq!((stored.oldest, stored.last), (1, 20));
    assert_eq!(notes, &[("part".to_owned(), 20)]);
    assert_eq!(opened.unfinished.len(), 1);
    let stored = journal.session("id-1").await.unwrap().unwrap();
    assert_eq!(stored.row, one.look(|state| state.row.clone()));
    assert_eq!((stored.oldest, stored.last), (1, 211));
    for hidden in [false, true] {
        let got = journal.read(1, 0, 211, hidden).await;
        assert_eq!(got, one.expected(0, 211, hidden));
    }
}

#[tokio::test]
async fn what_comes_while_a_group_is_written_is_one_group() {
    let setup = Setup::new();
    let (journal, _) = setup.open().await;
    let fakes = [
        Fake::begun(&journal, 1).await,
        Fake::begun(&journal, 2).await,
    ];
    let before = journal.figures();
    let (go_tx, go_rx) = std::sync::mpsc::channel::<()>();
    let (at_tx, at_rx) = tokio::sync::oneshot::channel();
    let stuck = journal.probe(move |_| {
        at_tx.send(()).ok();
        go_rx.recv().unwrap_err();
    });
    let ((), ()) = tokio::join!(stuck, async {
        at_rx.await.unwrap();
        for _ in 0..50 {
            for fake in &fakes {
                fake.say(&journal, 3, false);
            }
        }
        drop(go_tx);
    });
    for fake in &fakes {
        fake.until_written().await;
    }
    let after = journal.figures();
    assert_eq!(after.commits - before.commits, 1, "{after:?}");
    assert_eq!(after.events - before.events, 300);
    assert_eq!(after.failures, 0);
    let got = journal.read(2, 0, 150, false).await;
    assert_eq!(got, fakes[1].expected(0, 150, false));
}

#[tokio::test]
async fn only_what_may_not_be_lost_waits_for_the_disk_itself() {
    let setup = Setup::new();
    let (journal, _) = setup.open().await;
    let fake = Fake::begun(&journal, 1).await;
    let synced = |expected| {
        let figures = journal.figures();
        assert_eq!(figures.synced, expected, "{figures:?}");
    };
    synced(1);
    fake.say(&journal, 1, false);
    fake.until_written().await;
    fake.end(&journal, now());
    fake.until_written().await;
    synced(1);
    // Backend told: a line about a session that is over.
    fake.change_row(&journal, |row| row.reported = 1);
    fake.until_written().await;
    synced(1);
    // An event after the end: after a power cut nothing else would say that it is missing.
    fake.say(&journal, 1, false);
    fake.until_written().await;
    synced(2);
    // A turn that begins, though nobody asked for it to be durable.
    fake.change_row(&journal, |row| row.ended = None);
    fake.until_written().await;
    synced(3);
    fake.say(&journal, 1, false);
    fake.until_written().await;
    synced(3);
}

#[tokio::test]
async fn a_later_draft_of_a_turn_replaces_its_notes_one_by_one_and_a_new_turn_all_of_them() {
    let setup = Setup::new();
    let (journal, _) = setup.open().await;
    let fake = Fake::begun(&journal, 1).await;
    for (part, value) in [("a", 1), ("b", 2), ("a", 3)] {
        fake.note(&journal, part, value);
        fake.until_written().await;
    }
    let notes = journal.notes(1).await.unwrap();
    assert_eq!(notes, [("a".to_owned(), 3), ("b".to_owned(), 2)]);
    fake.begin(&journal);
    fake.note(&journal, "c", 4);
    fake.until_written().await;
    assert_eq!(journal.notes(1).await.unwrap(), [("c".to_owned(), 4)]);
}

#[tokio::test]
async fn the_largest_number_is_remembered_though_its_session_is_gone() {
    let setup = Setup::new();
    let (journal, _) = setup.open().await;
    let mut removals = journal.take_removals();
    for number in [9, 10] {
        // Too old at once.
        Fake::begun(&journal, number).await.end(&journal, 1);
    }
    for _ in 0..2 {
        timeout(DEADLINE, removals.recv()).await.unwrap().unwrap();
    }
    assert!(journal.sessions(None, None, 9).await.unwrap().is_empty());
    journal.close().await;
    drop(journal);
    assert_eq!(setup.reopen().await.1.last_number, 10);
}

#[tokio::test]
async fn closing_writes_what_there_is_and_leaves_one_database_file() {
    let setup = Setup::new();
    let (journal, _) = setup.open().await;
    let fake = Fake::begun(&journal, 1).await;
    fake.say(&journal, 500, false);
    timeout(DEADLINE, journal.close()).await.unwrap();
    assert!(fake.look(support::State::is_written));
    let left: Vec<_> = files(&setup.config.dir).into_iter().collect();
    assert_eq!(left, ["degraded", "sessions.db"]);
    // Nothing works any more, and nothing hangs.
    fake.say(&journal, 1, false);
    journal.close().await;
    assert_eq!(journal.session("id-1").await, Err(JournalError::Closed));
    drop(journal);
    let opened = setup.reopen().await.1;
    assert_eq!(opened.unfinished[0].0.last, 500);
}

#[tokio::test]
async fn one_who_closes_before_it_is_open_does_not_wait_for_it() {
    let setup = Setup::new();
    let (holder, _) = setup.open().await;
    let second = Journal::start_tuned(setup.config.clone(), BOOT.into(), &setup.tuning).unwrap();
    let health = second
        .until_health(|health| matches!(health, Health::Degraded(_)))
        .await;
    let Health::Degraded(reason) = health else {
        panic!("{health:?}");
    };
    assert!(reason.contains("another process has it open"), "{reason}");
    timeout(DEADLINE, second.close()).await.unwrap();
    assert_eq!(second.opened().await.last_number, 0);
    drop(holder);
}

#[tokio::test]
async fn a_second_one_waits_until_the_first_has_let_go_of_the_database() {
    let setup = Setup::new();
    let (first, _) = setup.open().await;
    Fake::begun(&first, 1).await;
    let second = Journal::start_tuned(setup.config.clone(), BOOT.into(), &setup.tuning).unwrap();
    second
        .until_health(|health| matches!(health, Health::Degraded(_)))
        .await;
    drop(first);
    let opened = timeout(DEADLINE, second.opened()).await.unwrap();
    assert_eq!(opened.unfinished.len(), 1);
    second.until_health(|health| *health == Health::Well).await;
}

#[tokio::test]
async fn nobody_else_may_read_it() {
    let setup = Setup::new();
    std::fs::create_dir(&setup.config.dir).unwrap();
    let (journal, _) = setup.open().await;
    Fake::begun(&journal, 1).await;
    let mode = |path: &std::path::Path| std::fs::metadata(path).unwrap().permissions().mode();
    assert_eq!(mode(&setup.config.dir) & 0o777, 0o700);
    let names = files(&setup.config.dir);
    // No index that could be mapped.
    assert_eq!(names.len(), 3, "{names:?}");
    for name in names {
        assert_eq!(mode(&setup.config.dir.join(&name)) & 0o777, 0o600, "{name}");
    }
}

#[tokio::test]
async fn look_ups_find_by_id_key_state_and_number() {
    let setup = Setup::new();
    let (journal, _) = setup.open().await;
    let start = now();
    for number in 1..=9 {
        let fake = Fake::new(number);
        fake.begin(&journal);
        fake.say(&journal, number, false);
        if number % 3 == 0 {
            // The one that was made first ended last.
            fake.end(&journal, start - number);
        }
        fake.until_written().await;
    }
    let numbers = |found: Vec<Stored>| -> Vec<u64> {
        for stored in &found {
            let ended = u64::from(stored.row.ended.is_some());
            assert_eq!((stored.oldest, stored.last), (1, stored.row.number + ended));
        }
        found.into_iter().map(|stored| stored.row.number).collect()
    };
    let sessions =
        async |before, state, limit| numbers(journal.sessions(before, state, limit).await.unwrap());
    assert_eq!(sessions(None, None, 3).await, [9, 8, 7]);
    assert_eq!(sessions(Some(7), None, 3).await, [6, 5, 4]);
    assert_eq!(sessions(None, Some("completed"), 9).await, [9, 6, 3]);
    assert_eq!(sessions(Some(9), Some("completed"), 1).await, [6]);
    assert_eq!(sessions(Some(1), None, 9).await, [0; 0]);
    assert_eq!(sessions(Some(u64::MAX), None, usize::MAX).await.len(), 9);
    assert_eq!(numbers(journal.unreported(9).await.unwrap()), [9, 6, 3]);
    assert_eq!(numbers(journal.unreported(1).await.unwrap()), [9]);
    let by_key = journal.session_by_key("key-4").await.unwrap().unwrap();
    assert_eq!(by_key.row.number, 4);
    assert_eq!(journal.session_by_key("key-5").await, Ok(None));
    assert_eq!(journal.session("id-10").await, Ok(None));
    // An id that is used again is that of the newest.
    let again = Fake::continued(
        Row {
            id: "id-4".into(),
            ..row(10)
        },
        0,
    );
    again.begin(&journal);
    again.until_written().await;
    let newest = journal.session("id-4").await.unwrap().unwrap();
    assert_eq!(newest.row.number, 10);
    assert_eq!((newest.oldest, newest.last), (1, 0));
}

#[tokio::test]
async fn many_sessions_at_once_each_keep_their_order() {
    let setup = Setup::new();
    let (journal, _) = setup.open().await;
    let fakes: Vec<_> = (1..=40).map(Fake::new).collect();
    for fake in &fakes {
        fake.begin(&journal);
    }
    let threads: Vec<_> = fakes
        .iter()
        .map(|fake| {
            let (fake, journal) = (Arc::clone(fake), journal.clone());
            thread::spawn(move || {
                for round in 0..25 {
                    fake.say(&journal, 1 + round % 4, round % 5 == 0);
                }
            })
        })
        .collect();
    for thread in threads {
        thread.join().unwrap();
    }
    for fake in &fakes {
        fake.until_written().await;
        let last = fake.look(|state| state.last);
        let got = journal.read(fake.number(), 0, last, true).await;
        assert_eq!(got, fake.expected(0, last, true));
    }
}
