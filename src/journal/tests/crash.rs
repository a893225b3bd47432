//! What is left after the process, the machine or the file went: it always opens, and an id never names
//! two different events.

use std::path::PathBuf;

use proptest::prelude::*;
use proptest::test_runner::{Config as Cases, TestRunner};

use super::support::{BOOT, Fake, Setup, Text, files, frame, now};
use crate::journal::marker::Marker;
use crate::journal::*;

const EPOCH: &str = "epoch12345";

#[derive(Clone, Copy, Debug)]
enum Doing {
    Say {
        count: u64,
        hidden: bool,
    },
    /// Ends the turn, or begins the next one.
    Turn,
}

/// What one session had on disk after a commit.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Snapshot {
    number: u64,
    last: u64,
    turn: u32,
    is_finished: bool,
}

/// The disk after a commit.
#[derive(Clone, Debug)]
struct Moment {
    wal: u64,
    sessions: Vec<Snapshot>,
}

fn doing() -> impl Strategy<Value = (usize, Doing)> {
    let doing = prop_oneof![
        4 => (1..60_u64, any::<bool>()).prop_map(|(count, hidden)| Doing::Say { count, hidden }),
        1 => Just(Doing::Turn),
    ];
    (0..3_usize, doing)
}

fn wal(setup: &Setup) -> PathBuf {
    store::with_suffix(&setup.path(), "-wal")
}

fn snapshot(fakes: &[Arc<Fake>]) -> Vec<Snapshot> {
    let one = |fake: &Arc<Fake>| {
        fake.look(|state| Snapshot {
            number: state.row.number,
            last: state.last,
            turn: state.row.turn,
            is_finished: state.row.ended.is_some(),
        })
    };
    fakes.iter().map(one).collect()
}

/// The disk has these sessions, with all their events, and those that run with another epoch or not.
async fn assert_holds(setup: &Setup, boot: &str, expected: &[Snapshot], same_epochs: bool) {
    let (journal, opened) = setup.open_on(boot).await;
    assert_eq!(
        opened.unfinished.len(),
        expected.iter().filter(|one| !one.is_finished).count()
    );
    for one in expected {
        let id = format!("id-{}", one.number);
        let stored = journal.session(&id).await.unwrap().unwrap();
        let found = Snapshot {
            number: stored.row.number,
            last: stored.last,
            turn: stored.row.turn,
            is_finished: stored.row.ended.is_some(),
        };
        assert_eq!(found, *one);
        let is_same = stored.row.epoch == EPOCH;
        assert_eq!(is_same, same_epochs || one.is_finished, "{one:?}");
        let all: String = (1..=one.last)
            .map(|seq| frame(&stored.row.epoch, seq))
            .collect();
        let got = journal.read(one.number, 0, one.last, true).await;
        assert_eq!(got.text, Text(all));
    }
}

/// One step, and whether the power fails after it, where it cuts the WAL, and whether the rest is zeroes.
type Step = ((usize, Doing), bool, prop::sample::Index, bool);

/// A machine that goes takes any part of what was not synced. What is left is one of the moments before,
/// and the sessions that may have shown more have a new epoch.
#[test]
fn after_a_power_cut_there_is_a_prefix_and_running_sessions_have_new_epochs() {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    let step = (
        doing(),
        prop::bool::weighted(0.3),
        any::<prop::sample::Index>(),
        any::<bool>(),
    );
    let mut runner = TestRunner::new(Cases {
        cases: 8,
        failure_persistence: None,
        ..Cases::default()
    });
    runner
        .run(&prop::collection::vec(step, 30), |steps| {
            runtime.block_on(cut_the_power(steps));
            Ok(())
        })
        .unwrap();
}

async fn cut_the_power(steps: Vec<Step>) {
    let mut setup = Setup::in_memory();
    // The database itself stays as it was at the start: all that matters is in the WAL.
    setup.tuning.checkpoint_pages = 1 << 20;
    let (journal, _) = setup.open().await;
    let mut fakes = Vec::new();
    for number in 1..=3 {
        fakes.push(Fake::begun(&journal, number).await);
    }
    let (mut moments, mut synced) = (Vec::new(), 0);
    for ((who, doing), fails, cut, zeroes) in steps {
        let fake = &fakes[who];
        match doing {
            Doing::Say { count, hidden } => fake.say(&journal, count, hidden),
            Doing::Turn if fake.look(|state| state.row.ended.is_none()) => {
                fake.end(&journal, now());
            }
            Doing::Turn => fake.begin(&journal),
        }
        fake.until_written().await;
        let figures = journal.figures();
        if figures.synced > synced {
            // The disk has this for certain, and all before it.
            moments.clear();
            synced = figures.synced;
        }
        let length = std::fs::metadata(wal(&setup)).unwrap().len();
        moments.push(Moment {
            wal: length,
            sessions: snapshot(&fakes),
        });
        if !fails {
            continue;
        }
        let copy = setup.copy();
        let least = moments[0].wal;
        let kept = least + cut.index(usize::try_from(length - least).unwrap() + 1) as u64;
        let file = std::fs::OpenOptions::new()
            .write(true)
            .open(wal(&copy))
            .unwrap();
        file.set_len(kept).unwrap();
        if zeroes {
            file.set_len(length).unwrap();
        }
        let left = moments.iter().rfind(|moment| moment.wal <= kept).unwrap();
        assert_holds(&copy, "boot-2", &left.sessions, false).await;
        // Opened again after that, nothing changes any more: epochs were made anew once.
        let (journal, opened) = copy.open_on("boot-2").await;
        let epochs = |opened: &Opened| -> Vec<String> {
            let rows = opened
                .unfinished
                .iter()
                .map(|(stored, _)| stored.row.epoch.clone());
            rows.collect()
        };
        let before = epochs(&opened);
        drop(journal);
        assert_eq!(epochs(&copy.open_on("boot-2").await.1), before);
    }
}

/// A process that goes takes nothing with it that was committed.
#[tokio::test]
async fn after_the_end_of_the_process_everything_is_as_it_was() {
    for checkpoint_pages in [16, 1 << 20] {
        let mut setup = Setup::new();
        setup.tuning.checkpoint_pages = checkpoint_pages;
        let (journal, _) = setup.open().await;
        let fakes = [
            Fake::begun(&journal, 1).await,
            Fake::begun(&journal, 2).await,
        ];
        for round in 0..20 {
            fakes[0].say(&journal, 1 + round, round % 2 == 0);
            fakes[1].say(&journal, 30, false);
            if round % 5 == 3 {
                fakes[1].end(&journal, now());
            } else if round % 5 == 4 {
                fakes[1].begin(&journal);
            }
            for fake in &fakes {
                fake.until_written().await;
            }
            assert_holds(&setup.copy(), BOOT, &snapshot(&fakes), true).await;
        }
        // With another boot id the same bytes are there; only the epochs are others.
        assert_holds(&setup.copy(), "boot-2", &snapshot(&fakes), false).await;
        // A machine that does not tell its boot id is never the same one.
        assert_holds(&setup.copy(), "", &snapshot(&fakes), false).await;
        let nameless = setup.copy();
        drop(nameless.open_on("").await);
        assert_holds(&nameless, "", &snapshot(&fakes), false).await;
        // In good order: the machine does not matter.
        journal.close().await;
        assert_holds(&setup.copy(), "boot-2", &snapshot(&fakes), true).await;
    }
}

#[tokio::test]
async fn while_the_marker_stands_every_session_has_a_new_epoch() {
    let setup = Setup::new();
    let (journal, _) = setup.open().await;
    let fakes = [
        Fake::begun(&journal, 1).await,
        Fake::begun(&journal, 2).await,
    ];
    for fake in &fakes {
        fake.say(&journal, 30, false);
        fake.end(&journal, now());
        fake.until_written().await;
    }
    let copy = setup.copy();
    Marker::open(&copy.config.dir).unwrap().set(true).unwrap();
    let (journal, _) = copy.open().await;
    let mut epochs = std::collections::BTreeSet::from([EPOCH.to_owned()]);
    for stored in journal.sessions(None, None, 9).await.unwrap() {
        let epoch = stored.row.epoch;
        assert!(
            epoch.len() == 10
                && epoch
                    .bytes()
                    .all(|byte| byte.is_ascii_digit() || byte.is_ascii_lowercase())
        );
        let all: String = (1..=31).map(|seq| frame(&epoch, seq)).collect();
        assert_eq!(
            journal.read(stored.row.number, 0, 31, false).await.text,
            Text(all)
        );
        epochs.insert(epoch);
    }
    assert_eq!(epochs.len(), 3, "each has its own");
    drop(journal);
    // Once is enough.
    let (journal, _) = copy.open().await;
    for stored in journal.sessions(None, None, 9).await.unwrap() {
        assert!(epochs.contains(&stored.row.epoch));
    }
}

/// A way to damage a database file.
type Damage = (&'static str, Box<dyn Fn(&mut Vec<u8>)>);

fn damages() -> Vec<Damage> {
    vec![
        (
            "no database at all",
            Box::new(|bytes| *bytes = b"hello".repeat(1000)),
        ),
        ("a header of zeroes", Box::new(|bytes| bytes[..100].fill(0))),
        (
            "every page but the first",
            Box::new(|bytes| bytes[4096..].fill(0xa5)),
        ),
        ("cut short", Box::new(|bytes| bytes.truncate(3 * 4096))),
        (
            "a schema of noise",
            Box::new(|bytes| bytes[200..4096].fill(0xff)),
        ),
    ]
}

#[tokio::test]
async fn a_damaged_database_is_moved_aside_and_a_new_one_begins() {
    let setup = Setup::new();
    let (journal, _) = setup.open().await;
    let fake = Fake::begun(&journal, 7).await;
    fake.say(&journal, 1000, false);
    fake.until_written().await;
    journal.close().await;
    for (how, damage) in damages() {
        let copy = setup.copy();
        let mut bytes = std::fs::read(copy.path()).unwrap();
        damage(&mut bytes);
        std::fs::write(copy.path(), &bytes).unwrap();
        let (journal, opened) = copy.open().await;
        assert_eq!(
            (opened.unfinished.len(), opened.last_number),
            (0, 0),
            "{how}"
        );
        let fake = Fake::begun(&journal, 1).await;
        fake.say(&journal, 3, false);
        fake.until_written().await;
        let names = files(&copy.config.dir);
        let aside = names
            .iter()
            .find(|name| name.starts_with("sessions.db.corrupt-"));
        let aside = copy
            .config
            .dir
            .join(aside.unwrap_or_else(|| panic!("{how}: {names:?}")));
        assert_eq!(std::fs::read(aside).unwrap().len(), bytes.len(), "{how}");
    }
}

#[tokio::test]
async fn a_damaged_wal_costs_what_was_in_it_and_nothing_else() {
    let setup = Setup::new();
    let (journal, _) = setup.open().await;
    let fake = Fake::begun(&journal, 1).await;
    fake.say(&journal, 10, false);
    fake.until_written().await;
    journal
        .probe(|conn| {
            conn.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(()))
                .unwrap();
        })
        .await;
    let before = snapshot(&[Arc::clone(&fake)]);
    fake.say(&journal, 10, false);
    fake.until_written().await;
    let copy = setup.copy();
    let mut bytes = std::fs::read(wal(&copy)).unwrap();
    bytes[..2000].fill(0x5a);
    std::fs::write(wal(&copy), &bytes).unwrap();
    assert_holds(&copy, "boot-2", &before, false).await;
}

#[tokio::test]
async fn at_most_three_databases_are_kept_and_the_newest_stay() {
    assert_eq!(aside_of(1 << 20, [5000; 5]).await, [3, 4, 5]);
}

#[tokio::test]
async fn databases_that_are_kept_take_no_more_than_one_may_but_the_newest_stays() {
    assert_eq!(aside_of(12_000, [5000; 5]).await, [4, 5]);
    assert_eq!(
        aside_of(12_000, [5000, 5000, 5000, 5000, 50_000]).await,
        [5]
    );
}

/// Spoiled databases of these sizes, one after the other: those that are left.
async fn aside_of(max_bytes: u64, sizes: [usize; 5]) -> Vec<u8> {
    let mut setup = Setup::new();
    setup.config.max_bytes = max_bytes;
    for (nth, size) in (1..).zip(sizes) {
        std::fs::create_dir_all(&setup.config.dir).unwrap();
        std::fs::write(setup.path(), vec![nth; size]).unwrap();
        let (journal, _) = setup.open().await;
        journal.close().await;
        drop(journal);
    }
    let names = files(&setup.config.dir);
    let aside: Vec<_> = names
        .iter()
        .filter(|name| name.contains(".corrupt-"))
        .collect();
    let first = |name| std::fs::read(setup.config.dir.join(name)).unwrap()[0];
    aside.into_iter().map(first).collect()
}

#[tokio::test]
async fn a_database_of_a_newer_version_is_kept_aside_whole() {
    let setup = Setup::new();
    let (journal, _) = setup.open().await;
    Fake::begun(&journal, 1).await;
    journal
        .probe(|conn| conn.pragma_update(None, "user_version", 99).unwrap())
        .await;
    journal.close().await;
    drop(journal);
    let before = std::fs::read(setup.path()).unwrap();
    let (_journal, opened) = setup.reopen().await;
    assert_eq!(opened.last_number, 0);
    let names = files(&setup.config.dir);
    let newer = names
        .iter()
        .find(|name| name.starts_with("sessions.db.newer-"))
        .unwrap();
    assert_eq!(std::fs::read(setup.config.dir.join(newer)).unwrap(), before);
}
