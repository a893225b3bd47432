//! The pending list by itself: what is taken, in which order, and how much.

use super::support::{Fake, Setup};
use crate::journal::memory::Memory;
use crate::journal::pending::Pending;
use crate::journal::store::Store;
use crate::journal::*;

/// A journal without its threads.
struct Bench(Journal);

impl Bench {
    fn new(limit: usize) -> Self {
        let setup = Setup::new();
        let tuning = Tuning {
            kept_bytes: limit,
            ..setup.tuning
        };
        let shared = Arc::new(Shared::new(&setup.config, &tuning));
        Self(Journal {
            _owner: Arc::new(Owner(Arc::clone(&shared))),
            shared,
        })
    }

    fn pending(&self) -> &PendingList {
        &self.0.shared.pending
    }

    /// One run of so many events of about 200 bytes.
    fn say(&self, fake: &Arc<Fake>, count: u64) {
        fake.say(&self.0, count, false);
    }

    fn gather(&self) -> bool {
        self.pending().gather(&self.0.shared.queue)
    }

    fn degrade(&self) {
        self.pending().degrade(&self.0.shared.stats, "a test");
    }

    fn recover(&self) -> bool {
        self.pending().recover(&self.0.shared.stats)
    }
}

fn firsts(group: &[Pending]) -> Vec<(u64, u64)> {
    let one = |pending: &Pending| {
        let runs = &pending.draft.runs;
        runs.iter()
            .map(|run| (pending.source.number(), run.first))
            .collect::<Vec<_>>()
    };
    group.iter().flat_map(one).collect()
}

#[test]
fn a_group_has_its_size_and_the_rest_stays_in_the_queue() {
    let bench = Bench::new(64 << 20);
    for number in 1..=3 {
        // 3 MiB, of the 4 that a group has.
        bench.say(&Fake::new(number), 15_000);
    }
    assert!(!bench.gather(), "it stops after the second");
    assert_eq!(firsts(&bench.pending().depart()), [(1, 1), (2, 1)]);
    assert!(bench.gather());
    assert_eq!(firsts(&bench.pending().depart()), [(3, 1)]);
    assert!(bench.gather() && bench.pending().is_empty());
}

#[test]
fn what_waited_for_the_disk_goes_to_it_in_groups_too() {
    let limit = 16 << 20;
    let bench = Bench::new(limit);
    bench.degrade();
    for number in 1..=4 {
        // 3 MiB.
        bench.say(&Fake::new(number), 15_000);
    }
    assert!(bench.gather());
    let group = bench.pending().depart();
    assert_eq!(firsts(&group), [(1, 1), (2, 1)]);
    // What is at the disk takes room as well: 12 MiB are there, and 6 come.
    for number in 5..=6 {
        bench.say(&Fake::new(number), 15_000);
    }
    assert!(bench.gather());
    assert!(bench.pending().take_lost() > 0);
    let at_disk: usize = group.iter().map(Pending::frame_bytes).sum();
    bench.pending().arrived();
    assert!(!bench.recover(), "the rest is not written");
    let mut rest = 0;
    while !bench.pending().is_empty() {
        rest += bench
            .pending()
            .depart()
            .iter()
            .map(Pending::frame_bytes)
            .sum::<usize>();
        bench.pending().arrived();
    }
    assert!(at_disk + rest <= limit, "{at_disk} and {rest}");
    assert!(bench.recover());
}

#[test]
fn a_group_that_comes_back_lies_before_what_was_said_since() {
    let bench = Bench::new(64 << 20);
    let one = Fake::new(1);
    bench.say(&one, 10);
    assert!(bench.gather());
    let group = bench.pending().depart();
    bench.say(&one, 5);
    assert!(bench.gather());
    bench.pending().came_back(group);
    let group = bench.pending().depart();
    assert_eq!(firsts(&group), [(1, 1), (1, 11)]);
    assert_eq!(group[0].draft.after, 0, "of the first of them");
}

/// A commit that fails when it is done: what is then written under the same numbers replaces all of it.
#[test]
fn a_group_that_is_on_disk_and_comes_back_is_there_once() {
    let bench = Bench::new(20_000);
    let dir = tempfile::tempdir().unwrap();
    let mut store = Store::open(dir.path(), 1000).unwrap();
    let one = Fake::new(1);
    one.begin(&bench.0);
    // Several rows.
    bench.say(&one, 1000);
    bench.say(&one, 10);
    assert!(bench.gather());
    let group = bench.pending().depart();
    store.write(&group, false).unwrap();
    // A new connection knows nothing of it.
    store.memory = Memory::default();
    bench.degrade();
    bench.pending().came_back(group);
    bench.say(&one, 90);
    assert!(bench.gather());
    assert!(
        bench.pending().take_lost() >= 1000,
        "one hole in place of the rows"
    );
    store.write(&bench.pending().depart(), false).unwrap();
    assert_eq!(queries::span(&store.conn, 1), Ok((1, 1100)));
    let page = queries::page(&store.conn, 1, 0, 1100, false).unwrap();
    let lost = |piece: &Piece| matches!(piece, Piece::Lost { last } if *last >= 1000);
    assert!(lost(&page[0]), "{page:?}");
}

#[test]
fn who_said_more_while_its_group_was_written_in_a_hang_is_not_all_on_disk() {
    let bench = Bench::new(64 << 20);
    let (one, two) = (Fake::new(1), Fake::new(2));
    bench.say(&one, 10);
    bench.say(&two, 10);
    assert!(bench.gather());
    bench.pending().depart();
    bench.degrade();
    bench.say(&one, 1);
    assert!(bench.gather());
    bench.pending().arrived();
    assert!(one.look(|state| state.from_memory));
    assert!(two.is_written_now());
    assert!(!bench.recover(), "one has something");
    bench.pending().depart();
    bench.pending().arrived();
    assert!(bench.recover());
    assert!(one.is_written_now());
}

#[test]
fn frames_make_room_for_rows_and_when_rows_take_half_of_it_the_desk_is_full() {
    let bench = Bench::new(1 << 20);
    bench.degrade();
    let mut fakes = Vec::new();
    for number in 1..=20 {
        assert!(!bench.pending().is_full(), "{number}");
        let fake = Fake::new(number);
        fake.begin(&bench.0);
        fake.change_row(&bench.0, |row| row.facts = "x".repeat(50_000));
        bench.say(&fake, 1000);
        assert!(bench.gather());
        fakes.push(fake);
        if bench.pending().is_full() {
            break;
        }
    }
    assert_eq!(fakes.len(), 11, "11 rows are more than half a MiB");
    let group = bench.pending().depart();
    let (mut frames, mut rows) = (0, 0);
    for pending in &group {
        frames += pending.frame_bytes();
        rows += pending.draft.row.as_ref().unwrap().facts.len();
        assert_eq!(pending.draft.runs.last().unwrap().last, 1000);
    }
    assert_eq!(rows, 11 * 50_000);
    assert!(frames > 0 && frames + rows < 1 << 20, "{frames} and {rows}");
    assert!(bench.pending().take_lost() > 5000);
    assert!(
        bench.pending().is_full(),
        "what is at the disk may come back"
    );
    bench.pending().came_back(group);
    assert!(bench.pending().is_full());
    bench.pending().depart();
    bench.pending().arrived();
    assert!(!bench.pending().is_full());
}
