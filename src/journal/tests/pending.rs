//! The queue by itself: what is taken, in which order, and how much.

use super::support::{Fake, Setup, frame};
use crate::journal::pending::{Group, Pending};
use crate::journal::queue::Queue;
use crate::journal::store::Store;
use crate::journal::writer_cache::WriterCache;
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
        let shared = Shared::new(&setup.config, &tuning);
        Self(Journal::new(Arc::new(shared)))
    }

    fn queue(&self) -> &Queue {
        &self.0.shared.queue
    }

    /// One run of so many events of about 200 bytes.
    fn say(&self, fake: &Arc<Fake>, count: u64) {
        fake.say(&self.0, count, false);
    }

    fn take(&self) -> Group {
        self.queue().take_group()
    }

    fn degrade(&self) {
        let stats = &self.0.shared.stats;
        self.queue().degrade_if(stats, "a test", || true);
    }

    fn recover(&self) -> bool {
        self.queue().recover(&self.0.shared.stats)
    }
}

/// Each session with its first and last event. Runs have no hole between them.
fn spans(group: &Group) -> Vec<(u64, u64, u64)> {
    let one = |pending: &Pending| {
        let runs = &pending.draft.runs;
        assert!(runs.is_sorted_by(|a, b| a.last + 1 == b.first), "{runs:?}");
        (pending.number, runs[0].first, pending.draft.last())
    };
    group.drafts.iter().map(one).collect()
}

#[test]
fn a_group_has_its_size_and_the_rest_stays_in_the_queue() {
    let bench = Bench::new(64 << 20);
    for number in 1..=3 {
        // 3 MiB, of the 4 that a group has.
        bench.say(&Fake::new(number), 15_000);
    }
    let group = bench.take();
    assert_eq!(spans(&group), [(1, 1, 15_000), (2, 1, 15_000)]);
    assert!(!group.is_all, "it stops after the second");
    bench.queue().commit();
    let group = bench.take();
    assert_eq!(spans(&group), [(3, 1, 15_000)]);
    assert!(group.is_all && bench.queue().is_empty());
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
    let group = bench.take();
    assert_eq!(spans(&group), [(1, 1, 15_000), (2, 1, 15_000)]);
    // What is at the disk takes room as well: 12 MiB are there, and 6 come.
    for number in 5..=6 {
        bench.say(&Fake::new(number), 15_000);
    }
    assert!(bench.queue().take_lost() > 0);
    let bytes = |group: &Group| -> usize { group.drafts.iter().map(Pending::frame_bytes).sum() };
    let at_disk = bytes(&group);
    bench.queue().commit();
    assert!(!group.is_all, "the rest is not written");
    let mut rest = 0;
    while !bench.queue().is_empty() {
        rest += bytes(&bench.take());
        bench.queue().commit();
    }
    assert!(at_disk + rest <= limit, "{at_disk} and {rest}");
    assert!(bench.recover());
}

#[test]
fn a_group_that_comes_back_lies_before_what_was_said_since() {
    let bench = Bench::new(64 << 20);
    let one = Fake::new(1);
    bench.say(&one, 10);
    let group = bench.take();
    bench.say(&one, 5);
    bench.queue().put_back(group.drafts);
    let group = bench.take();
    assert_eq!(spans(&group), [(1, 1, 15)]);
    let draft = &group.drafts[0].draft;
    assert_eq!(draft.after, 0, "of the first of them");
    let frames: String = (1..=15).map(|seq| frame("epoch12345", seq)).collect();
    assert_eq!(draft.runs[0].frames, frames.as_bytes());
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
    let group = bench.take();
    store.write(&group, false).unwrap();
    // A new connection knows nothing of it.
    store.memory = WriterCache::default();
    bench.degrade();
    bench.queue().put_back(group.drafts);
    bench.say(&one, 90);
    assert!(
        bench.queue().take_lost() >= 1000,
        "one hole in place of the rows"
    );
    store.write(&bench.take(), false).unwrap();
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
    bench.take();
    bench.degrade();
    bench.say(&one, 1);
    bench.queue().commit();
    assert!(one.look(|state| state.from_memory));
    assert!(two.is_written_now());
    assert!(!bench.recover(), "one has something");
    bench.take();
    bench.queue().commit();
    assert!(bench.recover());
    assert!(one.is_written_now());
}

#[test]
fn frames_make_room_for_rows_and_rows_fill_half_of_it_at_most() {
    let bench = Bench::new(1 << 20);
    bench.degrade();
    let mut fakes = Vec::new();
    for number in 1..=20 {
        assert!(!bench.queue().is_full(), "{number}");
        let fake = Fake::new(number);
        fake.begin(&bench.0);
        fake.change_row(&bench.0, |row| row.details = "x".repeat(50_000));
        bench.say(&fake, 1000);
        fakes.push(fake);
        if bench.queue().is_full() {
            break;
        }
    }
    assert_eq!(fakes.len(), 11, "11 rows are more than half a MiB");
    let group = bench.take().drafts;
    let (mut frames, mut rows) = (0, 0);
    for pending in &group {
        frames += pending.frame_bytes();
        rows += pending.draft.row.as_ref().unwrap().details.len();
        assert_eq!(pending.draft.runs.last().unwrap().last, 1000);
    }
    assert_eq!(rows, 11 * 50_000);
    assert!(frames > 0 && frames + rows < 1 << 20, "{frames} and {rows}");
    assert!(bench.queue().take_lost() > 5000);
    assert!(bench.queue().is_full(), "what is at the disk may come back");
    bench.queue().put_back(group);
    assert!(bench.queue().is_full());
    bench.take();
    bench.queue().commit();
    assert!(!bench.queue().is_full());
}
