//! Pages: any part of any session, exactly.

use std::cell::Cell;
use std::time::Duration;

use bytes::Bytes;

use proptest::prelude::*;
use proptest::test_runner::{Config as Cases, TestRunner};

use super::support::{Fake, Got, Setup, Text, frame, row};
use crate::journal::*;

/// One thing a session does.
#[derive(Clone, Copy, Debug)]
enum Doing {
    Say {
        count: u64,
        hidden: bool,
    },
    Lose {
        count: u64,
    },
    /// What follows is another group.
    Wait,
}

fn doing() -> impl Strategy<Value = Doing> {
    prop_oneof![
        4 => (1..40_u64, prop::bool::weighted(0.3)).prop_map(|(count, hidden)| Doing::Say { count, hidden }),
        1 => (1..600_u64).prop_map(|count| Doing::Say { count, hidden: false }),
        1 => (1..9_u64).prop_map(|count| Doing::Lose { count }),
        2 => Just(Doing::Wait),
    ]
}

/// Every page of every session against what was published, with neighbours on both sides.
#[test]
fn any_page_is_exactly_what_was_published() {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    let setup = Setup::new();
    let (journal, _) = runtime.block_on(setup.open());
    let numbers = Cell::new(1);
    let strategy = (
        prop::collection::vec(doing(), 1..25),
        prop::collection::vec(
            (
                any::<prop::sample::Index>(),
                any::<prop::sample::Index>(),
                any::<bool>(),
            ),
            12,
        ),
    );
    let mut runner = TestRunner::new(Cases {
        cases: 64,
        failure_persistence: None,
        ..Cases::default()
    });
    runner
        .run(&strategy, |(doings, reads)| {
            let number = numbers.replace(numbers.get() + 3);
            runtime.block_on(async {
                let neighbours = [Fake::new(number), Fake::new(number + 2)];
                let fake = Fake::new(number + 1);
                for one in neighbours.iter().chain([&fake]) {
                    one.begin(&journal);
                    one.say(&journal, 3, false);
                }
                for doing in doings {
                    match doing {
                        Doing::Say { count, hidden } => fake.say(&journal, count, hidden),
                        Doing::Lose { count } => fake.lose(&journal, count),
                        Doing::Wait => fake.until_written().await,
                    }
                }
                fake.until_written().await;
                let last = fake.look(|state| state.last);
                for (after, upto, hidden) in reads {
                    let upto = upto.index(usize::try_from(last).unwrap() + 1) as u64;
                    let after = after.index(usize::try_from(upto).unwrap() + 1) as u64;
                    let got = journal.read(fake.number(), after, upto, hidden).await;
                    prop_assert_eq!(got, fake.expected(after, upto, hidden));
                }
                Ok(())
            })
        })
        .unwrap();
}

#[tokio::test]
async fn a_page_is_bounded_and_the_next_goes_on() {
    let setup = Setup::new();
    let (journal, _) = setup.open().await;
    let fake = Fake::begun(&journal, 1).await;
    fake.say(&journal, 6000, false);
    fake.until_written().await;
    let mut pages = 0;
    let (mut after, mut text) = (0, String::new());
    while after < 6000 {
        let pieces = journal.page(1, after, 6000, false).await.unwrap();
        let [Piece::Frames { bytes, last }] = pieces.as_slice() else {
            panic!("{} pieces", pieces.len());
        };
        assert!(
            bytes.len() < 256 * 1024 + 64 * 1024 + 1000,
            "{}",
            bytes.len()
        );
        text.push_str(str::from_utf8(bytes).unwrap());
        after = *last;
        pages += 1;
    }
    assert!(
        (4..9).contains(&pages),
        "{pages} pages of {} bytes",
        text.len()
    );
    assert_eq!(text, fake.expected(0, 6000, false).text.0);
}

#[tokio::test]
async fn hidden_events_are_passed_over_and_frames_round_them_joined() {
    let setup = Setup::new();
    let (journal, _) = setup.open().await;
    let fake = Fake::begun(&journal, 1).await;
    for (count, hidden) in [(2, true), (2, false), (3, true), (1, false), (2, true)] {
        fake.say(&journal, count, hidden);
        fake.until_written().await;
    }
    let shown = |seqs: &[u64]| -> Bytes {
        let frames: String = seqs.iter().map(|seq| frame("epoch12345", *seq)).collect();
        frames.into()
    };
    let page = async |after, upto, hidden| journal.page(1, after, upto, hidden).await.unwrap();
    let all = Piece::Frames {
        bytes: shown(&[3, 4, 8]),
        last: 10,
    };
    assert_eq!(page(0, 10, false).await, [all]);
    assert_eq!(page(0, 2, false).await, [Piece::Skipped { last: 2 }]);
    assert_eq!(page(4, 6, false).await, [Piece::Skipped { last: 6 }]);
    let some = Piece::Frames {
        bytes: shown(&[5, 6]),
        last: 6,
    };
    assert_eq!(page(4, 6, true).await, [some]);
    assert_eq!(page(6, 6, true).await, []);
}

#[tokio::test]
async fn a_page_of_hidden_runs_only_is_bounded_too() {
    let setup = Setup::new();
    let (journal, _) = setup.open().await;
    Fake::begun(&journal, 1).await;
    // As if each of 5000 groups had had one hidden event.
    let insert = |conn: &Connection| {
        let tx = conn.unchecked_transaction().unwrap();
        for seq in 1..=5000 {
            tx.execute(
                "INSERT INTO runs (place, last, hidden, frames) VALUES (?1, ?2, 1, x'00')",
                [schema::place(1, seq), i64::try_from(seq).unwrap()],
            )
            .unwrap();
        }
        tx.commit().unwrap();
    };
    journal.probe(insert).await;
    let pieces = journal.page(1, 0, 5000, false).await.unwrap();
    assert_eq!(pieces, [Piece::Skipped { last: 4096 }]);
    assert_eq!(journal.read(1, 0, 5000, false).await.text.0, "");
}

#[tokio::test]
async fn what_is_not_there_is_named() {
    let setup = Setup::new();
    let (journal, _) = setup.open().await;
    let fake = Fake::begun(&journal, 1).await;
    fake.lose(&journal, 3);
    fake.until_written().await;
    fake.lose(&journal, 2);
    fake.say(&journal, 1, false);
    fake.until_written().await;
    let page = async |number, after, upto| journal.page(number, after, upto, false).await.unwrap();
    assert_eq!(page(1, 1, 4).await, [Piece::Lost { last: 4 }]);
    // More than there is, a session without events, and none at all.
    assert_eq!(page(1, 6, 9).await, [Piece::Lost { last: 9 }]);
    Fake::begun(&journal, 2).await;
    assert_eq!(page(2, 0, 9).await, [Piece::Lost { last: 9 }]);
    assert_eq!(page(3, 0, 9).await, [Piece::Removed { oldest: 10 }]);
    // A hole nobody wrote down, and a beginning that is gone.
    fake.say(&journal, 1, false);
    fake.until_written().await;
    fake.say(&journal, 1, false);
    fake.until_written().await;
    let delete = |first| {
        move |conn: &Connection| {
            conn.execute(
                "DELETE FROM runs WHERE place = ?1",
                [schema::place(1, first)],
            )
            .unwrap()
        }
    };
    assert_eq!(journal.probe(delete(7)).await, 1);
    let got = journal.read(1, 5, 8, false).await;
    assert_eq!(got.lost, [7].into());
    assert_eq!(
        got.text.0,
        [frame("epoch12345", 6), frame("epoch12345", 8)].concat()
    );
    assert_eq!(
        journal.probe(delete(1)).await + journal.probe(delete(4)).await,
        2
    );
    assert_eq!(page(1, 0, 3).await, [Piece::Removed { oldest: 6 }]);
    assert_eq!(journal.read(1, 0, 6, false).await.gone, 6);
}

#[tokio::test]
async fn frames_of_an_earlier_epoch_are_given_with_the_session_s() {
    let setup = Setup::new();
    let (journal, _) = setup.open().await;
    let fake = Fake::begun(&journal, 1).await;
    fake.say(&journal, 30, false);
    fake.until_written().await;
    fake.change_row(&journal, |row| row.epoch = "zyxwv98765".into());
    fake.say(&journal, 30, false);
    fake.until_written().await;
    assert_eq!(
        journal.read(1, 5, 55, false).await,
        Got {
            text: Text((6..=55).map(|seq| frame("zyxwv98765", seq)).collect()),
            last: 55,
            ..Got::default()
        }
    );
}

#[tokio::test]
async fn a_look_up_that_takes_too_long_is_cut_off_and_its_place_is_free_again() {
    let setup = Setup::new();
    let (journal, _) = setup.open().await;
    let fake = Fake::continued(row(1), 0);
    fake.begin(&journal);
    fake.until_written().await;
    let endless = || {
        let readers = Arc::clone(&journal.shared.readers);
        async move {
            let query = |conn: &Connection| {
                conn.query_row(
                    "WITH RECURSIVE more (n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM more)
                     SELECT count(*) FROM more",
                    [],
                    |row| row.get::<_, u64>(0),
                )
            };
            readers.query_within(Duration::from_millis(50), query).await
        }
    };
    for _ in 0..8 {
        assert_eq!(endless().await, Err(JournalError::Slow));
    }
    assert!(journal.session("id-1").await.unwrap().is_some());
}
