//! The order of all events: every event has one position, whatever happens in between.

use std::collections::BTreeMap;
use std::time::Duration;

use proptest::prelude::*;
use proptest::test_runner::{Config as Cases, TestRunner};

use super::support::{DEADLINE, Fake, Setup, now, poll, set_most_pages};
use crate::journal::*;

/// Which event is at which position: the session's number, and the event's.
type Events = BTreeMap<u64, (u64, u64)>;

fn query(after: u64, upto: u64) -> OrderQuery {
    OrderQuery {
        after,
        upto,
        hidden: true,
        sessions: Arc::default(),
    }
}

/// What a reader of the disk gets, and the positions it is told are lost or removed.
async fn read(journal: &Journal, query: OrderQuery) -> (Events, Vec<(u64, u64)>) {
    let (mut events, mut holes, mut at) = (Events::new(), Vec::new(), query.after);
    while at < query.upto {
        let query = OrderQuery {
            after: at,
            ..query.clone()
        };
        let pieces = journal.order_page(query).await.unwrap();
        assert!(!pieces.is_empty(), "a page moves on");
        for piece in pieces {
            let before = at;
            match piece {
                OrderPiece::Frames {
                    session_id,
                    entry,
                    bytes,
                } => {
                    assert_eq!(*session_id, format!("id-{}", entry.number));
                    let text = str::from_utf8(&bytes).unwrap();
                    for id in text.lines().filter_map(|line| line.strip_prefix("id: ")) {
                        let seq = id.split_once('-').unwrap().1.parse().unwrap();
                        assert!((entry.first..=entry.last).contains(&seq));
                        let twice = events.insert(entry.position_of(seq), (entry.number, seq));
                        assert_eq!(twice, None);
                    }
                    at = entry.end();
                }
                OrderPiece::Skipped { last } => at = last,
                OrderPiece::Lost { last, .. } => {
                    holes.push((at + 1, last));
                    at = last;
                }
                OrderPiece::Removed { oldest } => {
                    holes.push((at + 1, oldest - 1));
                    at = oldest - 1;
                }
            }
            assert!(at > before, "a piece moves on");
        }
    }
    (events, holes)
}

/// What a reader of memory gets after `at`.
fn in_memory(order: &Order, at: u64) -> Events {
    let mut events = Events::new();
    if at == order.head().position {
        return events;
    }
    let Recent::Entries(entries) = order.recent(at, usize::MAX) else {
        panic!("a test has few entries");
    };
    for entry in entries {
        for seq in entry.first..=entry.last {
            events.insert(entry.position_of(seq), (entry.number, seq));
        }
    }
    events
}

/// The events of each session are in their order, each once.
fn assert_in_order(events: &Events) -> BTreeMap<u64, Vec<u64>> {
    let mut sessions: BTreeMap<u64, Vec<u64>> = BTreeMap::new();
    for (number, seq) in events.values() {
        sessions.entry(*number).or_default().push(*seq);
    }
    for (number, seqs) in &sessions {
        assert!(
            seqs.is_sorted_by(|a, b| a < b),
            "session {number}: {seqs:?}"
        );
    }
    sessions
}

#[derive(Clone, Copy, Debug)]
enum Act {
    Say {
        who: usize,
        count: u64,
        hidden: bool,
    },
    /// Ends the turn, or begins the next one.
    Turn { who: usize },
    /// Everything is on disk.
    Settle,
    /// The disk has no more room, or has room again.
    Full(bool),
    /// The process is killed, and the next one goes on.
    Kill,
}

const SESSIONS: u64 = 4;

fn act() -> impl Strategy<Value = Act> {
    let who = 0..usize::try_from(SESSIONS).unwrap();
    prop_oneof![
        12 => (who.clone(), 1..30_u64, prop::bool::weighted(0.2))
            .prop_map(|(who, count, hidden)| Act::Say { who, count, hidden }),
        2 => who.prop_map(|who| Act::Turn { who }),
        2 => Just(Act::Settle),
        2 => any::<bool>().prop_map(Act::Full),
        2 => Just(Act::Kill),
    ]
}

/// One life after the other on copies of one directory.
struct Lives {
    setup: Arc<Setup>,
    journal: Journal,
    fakes: Vec<Arc<Fake>>,
    /// What readers were shown in this epoch.
    seen: Events,
    epoch: String,
    is_full: bool,
    /// Something that was shown was lost, and the epoch with it.
    has_lost: bool,
}

impl Lives {
    async fn begin() -> Self {
        let setup = Arc::new(Setup::in_memory());
        let (journal, _) = setup.open().await;
        let mut fakes = Vec::new();
        for number in 1..=SESSIONS {
            fakes.push(Fake::begun(&journal, number).await);
        }
        Self {
            epoch: journal.order().epoch().unwrap(),
            setup,
            journal,
            fakes,
            seen: Events::new(),
            is_full: false,
            has_lost: false,
        }
    }

    async fn act(&mut self, act: Act) {
        match act {
            Act::Say { who, count, hidden } => self.fakes[who].say(&self.journal, count, hidden),
            Act::Turn { who } => self.turn(who),
            Act::Settle if self.is_full => {}
            Act::Settle => self.settle().await,
            Act::Full(is_full) => self.set_full(is_full).await,
            Act::Kill => self.kill().await,
        }
        self.look();
    }

    fn turn(&self, who: usize) {
        let fake = &self.fakes[who];
        if fake.look(|state| state.row.ended.is_none()) {
            fake.end(&self.journal, now());
        } else {
            fake.begin(&self.journal);
        }
    }

    async fn settle(&self) {
        for fake in &self.fakes {
            fake.until_written().await;
        }
    }

    async fn set_full(&mut self, is_full: bool) {
        let pages = if is_full { 1 } else { 1 << 30 };
        self.journal
            .probe(move |conn| set_most_pages(conn, pages))
            .await;
        self.is_full = is_full;
    }

    /// Takes down what readers are shown.
    fn look(&mut self) {
        self.look_upto(self.journal.order().head().position);
    }

    fn look_upto(&mut self, head: u64) {
        let order = self.journal.order();
        let at = self.seen.keys().next_back().copied();
        let at = at.unwrap_or(order.oldest() - 1).max(order.oldest() - 1);
        if at < head && matches!(order.recent(at, 1), Recent::Entries(_)) {
            self.seen.extend(in_memory(order, at));
            self.seen.retain(|position, _| *position <= head);
        }
    }

    async fn kill(&mut self) {
        let setup = Arc::clone(&self.setup);
        let order = Arc::clone(self.journal.order());
        // On the writer's thread, so that nothing is written meanwhile.
        let (copy, head) = self
            .journal
            .probe(move |_| (setup.copy(), order.head().position))
            .await;
        self.look_upto(head);
        assert_eq!(self.seen.keys().next_back().copied().unwrap_or(head), head);
        let (journal, _) = copy.open().await;
        let order = journal.order();
        let epoch = order.epoch().unwrap();
        if epoch == self.epoch {
            assert_eq!(
                order.head().position,
                head,
                "what was shown, and nothing else"
            );
            let (events, _) = read(&journal, query(0, head)).await;
            assert_eq!(events, self.seen, "the same events under the same ids");
        } else {
            assert!(
                self.seen.len() > 1,
                "an epoch goes only with what was shown"
            );
            self.has_lost = true;
            self.seen = read(&journal, query(0, order.head().position)).await.0;
        }
        self.epoch = epoch;
        self.fakes.clear();
        for number in 1..=SESSIONS {
            let stored = journal.session(&format!("id-{number}")).await.unwrap();
            let stored = stored.unwrap();
            self.fakes.push(Fake::continued(stored.row, stored.last));
        }
        self.journal = journal;
        self.setup = Arc::new(copy);
        self.is_full = false;
    }

    async fn end(&mut self) {
        self.set_full(false).await;
        self.settle().await;
        let journal = &self.journal;
        let head = journal.order().head().position;
        poll("the order on disk", || {
            Some(()).filter(|()| journal.order().written() == head)
        })
        .await;
        self.look();
        let (events, holes) = read(&self.journal, query(0, head)).await;
        let sessions = assert_in_order(&events);
        for (position, event) in &self.seen {
            assert_eq!(events.get(position), Some(event), "at {position}");
        }
        if !self.has_lost {
            assert_eq!(holes, [], "nothing is missing");
            for fake in &self.fakes {
                let last = fake.look(|state| state.last);
                let seqs = sessions.get(&fake.number()).cloned().unwrap_or_default();
                assert_eq!(seqs, (1..=last).collect::<Vec<_>>());
            }
        }
    }
}

#[test]
fn whatever_happens_every_event_has_one_position_and_every_session_its_order() {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    let mut runner = TestRunner::new(Cases {
        cases: 24,
        failure_persistence: None,
        ..Cases::default()
    });
    runner
        .run(&prop::collection::vec(act(), 1..60), |acts| {
            runtime.block_on(async {
                let mut lives = Lives::begin().await;
                for act in acts {
                    lives.act(act).await;
                }
                lives.end().await;
            });
            Ok(())
        })
        .unwrap();
}

/// Two sessions that speak in turn, so that no two events of one follow each other.
async fn talk(journal: &Journal, rounds: u64) -> [Arc<Fake>; 2] {
    let fakes = [Fake::begun(journal, 1).await, Fake::begun(journal, 2).await];
    for _ in 0..rounds {
        for fake in &fakes {
            fake.say(journal, 1, false);
            fake.until_written().await;
        }
    }
    fakes
}

#[tokio::test]
async fn a_cursor_may_stand_in_the_middle_of_a_run_and_a_filter_leaves_out_what_is_not_wanted() {
    let setup = Setup::new();
    let (journal, _) = setup.open().await;
    let one = Fake::begun(&journal, 1).await;
    let two = Fake::begun(&journal, 2).await;
    one.say(&journal, 10, false);
    one.until_written().await;
    two.say(&journal, 5, true);
    two.say(&journal, 5, false);
    two.until_written().await;
    let (all, _) = read(&journal, query(0, 20)).await;
    for after in 0..20 {
        for upto in after..=20 {
            let (events, holes) = read(&journal, query(after, upto)).await;
            let mut expected = all.clone();
            expected.retain(|position, _| (after + 1..=upto).contains(position));
            assert_eq!((events, holes), (expected, vec![]));
        }
    }
    let second = OrderQuery {
        hidden: false,
        sessions: Arc::new(["id-2".to_owned()].into()),
        ..query(0, 20)
    };
    let (events, holes) = read(&journal, second).await;
    let expected = (16..=20).map(|position| (position, (2, position - 10)));
    assert_eq!((events, holes), (expected.collect(), vec![]));
}

#[tokio::test]
async fn when_a_session_is_removed_the_order_begins_after_its_last_event() {
    let mut setup = Setup::new();
    setup.config.retention = Duration::from_mins(1);
    let (journal, _) = setup.open().await;
    let fakes = talk(&journal, 300).await;
    let old = now() - 120_000;
    fakes[0].end(&journal, old);
    fakes[0].until_written().await;
    // 601 events, and the last of them is that of the end.
    let order = Arc::clone(journal.order());
    poll("retention", || Some(()).filter(|()| order.oldest() == 602)).await;
    fakes[1].say(&journal, 3, false);
    fakes[1].until_written().await;
    let (events, holes) = read(&journal, query(0, 604)).await;
    assert_eq!(events.keys().copied().collect::<Vec<_>>(), [602, 603, 604]);
    assert_eq!(holes, [(1, 601)]);
    let rows = |conn: &Connection| {
        conn.query_row("SELECT count(*) FROM event_order", [], |row| {
            row.get::<_, u64>(0)
        })
        .unwrap()
    };
    let deleted = async { while journal.probe(rows).await > 2 {} };
    tokio::time::timeout(DEADLINE, deleted).await.unwrap();
    let epoch = order.epoch();
    drop(journal);
    let (journal, _) = setup.reopen().await;
    let order = journal.order();
    assert_eq!((order.oldest(), order.head().position), (602, 604));
    assert_eq!(order.epoch(), epoch);
}

#[tokio::test]
async fn when_the_beginning_of_a_running_session_goes_so_does_that_of_the_order() {
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
    assert_eq!(journal.order().oldest(), 99);
    let (events, holes) = read(&journal, query(0, 100)).await;
    assert_eq!(events, [(99, (1, 99)), (100, (1, 100))].into());
    assert_eq!(holes, [(1, 98)]);
}

/// Positions that were shown are not given again, though the database that had them is gone.
#[tokio::test]
async fn a_database_that_is_moved_aside_takes_what_it_had_and_positions_go_on() {
    let setup = Setup::new();
    let (journal, _) = setup.open().await;
    let fakes = talk(&journal, 20).await;
    let epoch = journal.order().epoch();
    journal
        .shared
        .queue
        .report_damage(journal.shared.readers.generation());
    fakes[0].say(&journal, 10, false);
    fakes[0].until_written().await;
    let order = journal.order();
    poll("a new database", || {
        Some(()).filter(|()| order.oldest() > 1 && order.head().position == 50)
    })
    .await;
    let (events, _) = read(&journal, query(order.oldest() - 1, 50)).await;
    let last: Vec<_> = (41..=50)
        .map(|position| (position, (1, position - 20)))
        .collect();
    assert!(
        last.iter()
            .all(|(position, event)| events.get(position) == Some(event)),
        "{events:?}"
    );
    drop(journal);
    let (journal, _) = setup.reopen().await;
    assert_eq!(journal.order().epoch(), epoch);
    assert_eq!(journal.order().head().position, 50);
}

#[tokio::test]
async fn more_than_memory_can_list_is_a_hole_in_the_order_and_not_in_the_sessions() {
    let setup = Setup::new();
    let (journal, _) = setup.open().await;
    let fakes = [
        Fake::begun(&journal, 1).await,
        Fake::begun(&journal, 2).await,
    ];
    journal.probe(|conn| set_most_pages(conn, 1)).await;
    fakes[0].say(&journal, 500, false);
    fakes[0].until(|state| state.from_memory).await;
    for _ in 0..35_000 {
        for fake in &fakes {
            fake.say(&journal, 1, false);
        }
    }
    assert_eq!(journal.order().head().position, 70_500);
    journal.probe(|conn| set_most_pages(conn, 1 << 30)).await;
    for fake in &fakes {
        fake.until_written().await;
    }
    let (events, holes) = read(&journal, query(0, 70_500)).await;
    assert_in_order(&events);
    assert_eq!(holes, [(1, 70_500 - 65_536)]);
    assert_eq!(events.len(), 65_536);
    let got = journal.read(1, 0, 35_500, false).await;
    assert_eq!(got, fakes[0].expected(0, 35_500, false));
}

#[tokio::test]
async fn after_a_power_cut_the_order_has_a_new_epoch_unless_it_was_closed() {
    let setup = Setup::new();
    let (journal, _) = setup.open().await;
    talk(&journal, 5).await;
    let epoch = journal.order().epoch();
    let cut = setup.copy();
    let (after, _) = cut.open_on("boot-2").await;
    assert_ne!(after.order().epoch(), epoch);
    let (events, holes) = read(&after, query(0, 10)).await;
    assert_eq!((events.len(), holes), (10, vec![]), "what is left is there");
    journal.close().await;
    let (closed, _) = setup.copy().open_on("boot-2").await;
    assert_eq!(closed.order().epoch(), epoch);
}
