//! Cursors: every place, every row of the table, every way to end.

use std::time::Duration;

use tokio::time::timeout;

use super::*;

const FOLLOW: View = View {
    follow: true,
    reasoning: false,
    transport: Transport::Stream,
};
const REASONING: View = View {
    follow: false,
    reasoning: true,
    transport: Transport::Stream,
};

fn filled(events: u64) -> EventLog {
    let log = log();
    for _ in 0..events {
        log.append("k", "{}");
    }
    log
}

/// 16 events with a bound of 8: 1..=8 are gone.
fn overflowed() -> EventLog {
    let log = log_with(Limits {
        events: 8,
        bytes: 8 << 20,
    });
    for _ in 0..16 {
        log.append("k", "{}");
    }
    log
}

#[test]
fn every_cursor_from_0_to_the_head_replays_exactly_what_follows_it() {
    const HEAD: u64 = 350; // three full segments of 100, and one that still grows
    let log = log_with(Limits {
        events: 800,
        bytes: 8 << 20,
    });
    for _ in 0..HEAD {
        log.append("k", "{}");
    }
    for requested in 0..=HEAD {
        let (mut cursor, gap) = open(&log, &id(requested).to_string(), View::default());
        let (seqs, after) = drain(&mut cursor);
        assert_eq!(gap, None);
        assert!(after.is_none(), "the turn goes on");
        assert!(
            seqs.iter().copied().eq(requested + 1..=HEAD),
            "from {requested}"
        );
    }
}

#[test]
fn a_replay_goes_on_live_without_a_seam() {
    let log = filled(3);
    let (mut cursor, _) = open(&log, "earliest", View::default());
    assert_eq!(drain(&mut cursor).0, [1, 2, 3]);
    log.append("k", "{}");
    log.append("k", "{}");
    assert_eq!(drain(&mut cursor).0, [4, 5]);
}

#[test]
fn latest_starts_with_the_next_event() {
    let log = filled(3);
    let (mut cursor, gap) = open(&log, "latest", View::default());
    assert_eq!((drain(&mut cursor).0, gap), (vec![], None));
    log.append("k", "{}");
    assert_eq!(drain(&mut cursor).0, [4]);
}

#[test]
fn an_evicted_cursor_gets_the_gap_and_then_everything_kept() {
    let log = overflowed();
    let (mut cursor, gap) = open(&log, "abcdefghij-2", View::default());
    let expected = Gap {
        reason: GapReason::Evicted,
        requested: "abcdefghij-2".into(),
        resume_after: id(8),
        missed: Some(6),
    };
    assert_eq!(gap, Some(expected));
    assert!(drain(&mut cursor).0.into_iter().eq(9..=16));
}

#[test]
fn the_place_just_before_the_oldest_kept_is_no_gap() {
    let (mut cursor, gap) = open(&overflowed(), "abcdefghij-8", View::default());
    assert_eq!(gap, None);
    assert!(drain(&mut cursor).0.into_iter().eq(9..=16));
}

#[test]
fn a_cursor_of_another_log_a_cursor_ahead_and_garbage_get_a_gap_and_everything_kept() {
    for (requested, reason) in [
        ("zzzzzzzzzz-12", GapReason::EpochChanged),
        ("abcdefghij-17", GapReason::Ahead),
        ("12", GapReason::Invalid),
    ] {
        let (mut cursor, gap) = open(&overflowed(), requested, View::default());
        let expected = Gap {
            reason,
            requested: requested.into(),
            resume_after: id(8),
            missed: None,
        };
        assert_eq!(gap, Some(expected));
        assert!(drain(&mut cursor).0.into_iter().eq(9..=16), "{requested}");
    }
}

#[test]
fn a_reader_that_is_overtaken_is_told_what_it_missed_and_goes_on() {
    let log = log_with(Limits {
        events: 8,
        bytes: 8 << 20,
    });
    log.append("k", "{}");
    let (mut cursor, _) = open(&log, "earliest", View::default());
    assert_eq!(drain(&mut cursor).0, [1]);
    for _ in 0..15 {
        log.append("k", "{}");
    }
    let (seqs, step) = drain(&mut cursor);
    let Some(Step::Gap(gap)) = step else {
        panic!("{step:?}")
    };
    let expected = Gap {
        reason: GapReason::Lagged,
        requested: "abcdefghij-1".into(),
        resume_after: id(8),
        missed: Some(7),
    };
    assert_eq!((seqs, gap), (vec![], expected));
    assert!(drain(&mut cursor).0.into_iter().eq(9..=16));
}

#[test]
fn an_idle_session_has_nothing_for_a_reader_of_its_last_event() {
    let log = filled(2);
    log.end_turn("complete", "{}");
    for requested in ["abcdefghij-3", "latest"] {
        let opening = Cursor::open(
            &log,
            &Requested::parse(requested.as_bytes()),
            View::default(),
        );
        assert!(
            matches!(opening, Opening::UpToDate { last } if last == id(3)),
            "{requested}"
        );
    }
}

#[test]
fn an_idle_session_is_replayed_to_its_end_for_any_other_cursor() {
    let log = filled(2);
    log.end_turn("complete", "{}");
    for (requested, first) in [
        ("", 1),
        ("abcdefghij-1", 2),
        ("abcdefghij-2", 3),
        ("abcdefghij-9", 1),
        ("?", 1),
    ] {
        let (mut cursor, _) = open(&log, requested, View::default());
        let (seqs, end) = drain(&mut cursor);
        assert!(seqs.into_iter().eq(first..=3), "{requested}");
        assert!(matches!(end, Some(Step::End(End::Idle))));
    }
}

#[test]
fn an_idle_session_that_kept_nothing_still_tells_the_gap() {
    let budget = MemoryBudget::new(0);
    let log = log_under(Limits::default(), &budget);
    log.end_turn("complete", "{}");
    let next = log_under(Limits::default(), &budget);
    next.append("k", "{}"); // takes the room
    let (mut cursor, gap) = open(&log, "abcdefghij-0", View::default());
    assert_eq!(
        gap.map(|gap| (gap.reason, gap.missed)),
        Some((GapReason::Evicted, Some(1)))
    );
    let (seqs, end) = drain(&mut cursor);
    assert!(matches!((seqs.len(), end), (0, Some(Step::End(End::Idle)))));
}

#[test]
fn a_replay_passes_earlier_ends_of_turn_and_closes_at_the_last() {
    let log = filled(1);
    log.end_turn("complete", "{}");
    log.begin_turn();
    let (mut cursor, _) = open(&log, "earliest", View::default());
    let (seqs, after) = drain(&mut cursor);
    assert!(seqs == [1, 2] && after.is_none(), "a turn runs");
    log.append("k", "{}");
    log.end_turn("complete", "{}");
    let (seqs, end) = drain(&mut cursor);
    assert_eq!(seqs, [3, 4]);
    assert!(matches!(end, Some(Step::End(End::Idle))));
}

#[test]
fn a_follower_stays_across_turns_until_the_log_is_closed() {
    let log = filled(1);
    log.end_turn("complete", "{}");
    let (mut cursor, _) = open(&log, "abcdefghij-2", FOLLOW);
    assert!(drain(&mut cursor).1.is_none());
    log.begin_turn();
    log.end_turn("complete", "{}");
    let (seqs, after) = drain(&mut cursor);
    assert!(seqs == [3] && after.is_none());
    log.close();
    assert!(matches!(drain(&mut cursor).1, Some(Step::End(End::Closed))));
}

#[test]
fn a_closed_log_is_read_to_its_end_and_is_not_taken_for_a_finished_one() {
    let log = filled(2);
    log.close();
    for (requested, expected) in [("earliest", vec![1, 2]), ("latest", vec![])] {
        let (mut cursor, _) = open(&log, requested, View::default());
        let (seqs, end) = drain(&mut cursor);
        assert_eq!(seqs, expected);
        assert!(matches!(end, Some(Step::End(End::Closed))));
    }
}

#[test]
fn reasoning_is_for_those_who_ask_and_ids_stay_the_same() {
    let log = filled(1);
    log.append_reasoning("k", "{}");
    log.append("k", "{}");
    let (mut all, _) = open(&log, "", REASONING);
    let (mut most, _) = open(&log, "", View::default());
    assert_eq!(drain(&mut all).0, [1, 2, 3]);
    assert_eq!(drain(&mut most).0, [1, 3]);
}

#[test]
fn a_reader_can_be_told_the_place_it_passed_in_silence() {
    let log = filled(1);
    let (mut cursor, _) = open(&log, "", View::default());
    assert_eq!(drain(&mut cursor).0, [1]);
    assert_eq!(cursor.skipped_to(), None, "it has the id of what it got");
    log.append_reasoning("k", "{}");
    assert_eq!(drain(&mut cursor).0, [0; 0]);
    assert_eq!(cursor.skipped_to(), Some(id(2)));
    assert_eq!(cursor.skipped_to(), None, "once");
}

#[tokio::test]
async fn a_waiting_reader_wakes_for_an_event_an_end_and_a_close() {
    let log = filled(0);
    let (mut cursor, _) = open(&log, "", FOLLOW);
    for act in [0, 1, 2] {
        let reading = timeout(Duration::from_secs(10), cursor.next());
        let (step, ()) = tokio::join!(reading, async {
            match act {
                0 => drop(log.append("k", "{}")),
                1 => drop(log.end_turn("complete", "{}")),
                _ => log.close(),
            }
        });
        match (act, step.expect("woken")) {
            (0, Step::Frames(_)) => assert_eq!(cursor.position(), id(1)),
            (1, Step::Frames(_)) => assert_eq!(cursor.position(), id(2)),
            (2, Step::End(End::Closed)) => {}
            (_, step) => panic!("{act}: {step:?}"),
        }
    }
}

#[tokio::test]
async fn dropping_a_wait_loses_nothing() {
    let log = filled(0);
    let (mut cursor, _) = open(&log, "", View::default());
    for _ in 0..3 {
        assert!(futures_util::FutureExt::now_or_never(cursor.next()).is_none());
    }
    log.append("k", "{}");
    assert!(matches!(cursor.next().await, Step::Frames(_)));
    assert_eq!(cursor.position(), id(1));
}

#[test]
fn under_pressure_the_largest_finished_log_gives_way_first_and_running_ones_last() {
    let budget = MemoryBudget::new(300_000);
    let fill = |events: usize| {
        let log = log_under(Limits::default(), &budget);
        for _ in 0..events {
            log.append("k", &"x".repeat(1000));
        }
        log
    };
    let (running, small, large) = (fill(80), fill(20), fill(120));
    small.end_turn("complete", "{}");
    large.end_turn("complete", "{}");
    let before = [running.bytes(), small.bytes(), large.bytes()];
    let newcomer = fill(100);
    assert!(budget.used() <= 300_000);
    assert!(large.bytes() < before[2], "the largest finished one gave");
    assert_eq!(
        [running.bytes(), small.bytes()],
        before[..2],
        "nobody else had to"
    );
    let _more = fill(200);
    assert!(budget.used() <= 300_000);
    assert_eq!(
        (large.bytes(), small.bytes()),
        (0, 0),
        "then every finished one gave all"
    );
    assert!(newcomer.bytes() > 0 && running.bytes() > 0);
}

#[test]
fn a_log_that_goes_gives_its_memory_back() {
    let budget = MemoryBudget::default();
    let log = log_under(Limits::default(), &budget);
    for _ in 0..2000 {
        log.append("k", "{}");
    }
    log.end_turn("complete", "{}");
    assert_eq!(budget.used(), log.bytes());
    let (cursor, _) = open(&log, "", View::default());
    drop(log);
    assert!(budget.used() > 0, "a reader still holds it");
    drop(cursor);
    assert_eq!(budget.used(), 0);
}
