//! All events as one stream: every reader gets each event once, and those of each session in their order.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::Poll;

use super::journal::{Life, complete, killed, replay, text};
use super::*;
use crate::clock::Timestamp;
use crate::event::{Body, Channel, Event, Output, Source as Whose};
use crate::session::all_events::{Filter, Source};
use crate::session::log::{End, Gap, GapReason, Parsed, Requested, SseReader, Step};

const DEADLINE: Duration = Duration::from_secs(20);

/// One event as a reader gets it.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Line {
    position: u64,
    session_id: String,
    /// The number of its id in the session's own stream.
    seq: u64,
    kind: String,
    /// Its data in the session's own stream.
    data: serde_json::Value,
}

/// Everything from `cursor` up to position `upto`.
async fn follow(source: &Source, cursor: &str, filter: Filter, upto: u64) -> (Vec<Line>, Vec<Gap>) {
    let (mut cursor, gap) = source.open(&Requested::parse(cursor.as_bytes()), filter);
    let (mut lines, mut gaps) = (Vec::new(), Vec::from_iter(gap));
    let reading = async {
        loop {
            let step = std::future::poll_fn(|cx| match cursor.poll_next(cx) {
                Poll::Ready(step) => Poll::Ready(Some(step)),
                // What it passes without showing it is no step.
                Poll::Pending if cursor.position().seq >= upto => Poll::Ready(None),
                Poll::Pending => Poll::Pending,
            });
            match step.await {
                Some(Step::Frames(bytes)) => lines.extend(lines_of(&bytes)),
                Some(Step::Gap(gap)) => gaps.push(gap),
                Some(Step::End(end)) => panic!("{end:?}"),
                None => break,
            }
        }
    };
    let read = tokio::time::timeout(DEADLINE, reading).await;
    read.unwrap_or_else(|_| panic!("it does not come to {upto}"));
    (lines, gaps)
}

fn lines_of(bytes: &[u8]) -> Vec<Line> {
    let events = SseReader::default().read(bytes);
    let line = |event: Parsed| {
        let mut data: serde_json::Value = serde_json::from_str(&event.data).unwrap();
        let object = data.as_object_mut().unwrap();
        let number = |id: &str| id.rsplit_once('-').unwrap().1.parse().unwrap();
        let own = object.remove("event_id").unwrap();
        let session_id = object.remove("session_id").unwrap();
        Line {
            position: number(&event.id),
            session_id: session_id.as_str().unwrap().to_owned(),
            seq: number(own.as_str().unwrap()),
            kind: event.kind,
            data,
        }
    };
    events.into_iter().map(line).collect()
}

fn head(source: &Source) -> u64 {
    let (cursor, _) = source.open(&Requested::Latest, Filter::default());
    cursor.position().seq
}

fn cursor_at(source: &Source, position: u64) -> String {
    let (cursor, _) = source.open(&Requested::Latest, Filter::default());
    cursor.position().epoch.at(position).to_string()
}

fn thought(turn_handle: &TurnHandle) {
    let output = Output {
        channel: Channel::Stdout,
        source: Whose::Reasoning,
        text: "hm".into(),
        call_id: None,
        truncated: false,
    };
    turn_handle.append(&Event::new(Timestamp::now(), Body::Output(output)));
}

/// Every position once, and each session's events once and in order.
fn assert_whole(lines: &[Line], positions: std::ops::RangeInclusive<u64>) {
    let got: Vec<u64> = lines.iter().map(|line| line.position).collect();
    assert_eq!(got, positions.collect::<Vec<_>>());
    let mut last: BTreeMap<&str, u64> = BTreeMap::new();
    for line in lines {
        let before = last.insert(&line.session_id, line.seq);
        assert_eq!(line.seq, before.unwrap_or(0) + 1, "{line:?}");
    }
}

#[tokio::test]
async fn without_a_journal_all_events_are_one_stream_and_any_place_in_it_is_a_cursor() {
    let (registry, mut turns_rx) = small();
    let (one, first) = create(&registry, &mut turns_rx, "one").await;
    let (_, second) = create(&registry, &mut turns_rx, "two").await;
    for nth in 0..50 {
        text(&first, &format!("{nth}"));
        if nth % 3 == 0 {
            text(&second, "x");
            thought(&second);
        }
    }
    let source = registry.all_events().await.unwrap();
    let everything = Filter {
        reasoning: true,
        ..Filter::default()
    };
    let (lines, gaps) = follow(&source, "", everything.clone(), 84).await;
    assert_eq!(gaps, []);
    assert_whole(&lines, 1..=84);
    for at in 0..84_u64 {
        let cursor = cursor_at(&source, at);
        let (rest, gaps) = follow(&source, &cursor, everything.clone(), 84).await;
        assert_eq!(
            (rest.as_slice(), gaps),
            (&lines[usize::try_from(at).unwrap()..], vec![])
        );
    }
    // The same data as in the session's own stream.
    complete(first).await;
    let own = SseReader::default().read(&replay(&one, "").await);
    let own: Vec<serde_json::Value> = own
        .iter()
        .map(|event| serde_json::from_str(&event.data).unwrap())
        .collect();
    let only = Filter {
        sessions: Arc::new(["one".to_owned()].into()),
        ..Filter::default()
    };
    let (lines, _) = follow(&source, "", only, 85).await;
    assert_eq!(
        lines.iter().map(|line| &line.data).collect::<Vec<_>>(),
        own.iter().collect::<Vec<_>>()
    );
}

#[tokio::test]
async fn a_reader_gets_only_what_it_wants_and_is_told_how_far_it_has_come() {
    let (registry, mut turns_rx) = small();
    let (_, first) = create(&registry, &mut turns_rx, "one").await;
    let (_, second) = create(&registry, &mut turns_rx, "two").await;
    text(&first, "a");
    text(&second, "b");
    thought(&second);
    complete(second).await;
    text(&first, "c");
    let source = registry.all_events().await.unwrap();
    let ends = Filter {
        kinds: ["complete".to_owned()].into(),
        ..Filter::default()
    };
    let (lines, _) = follow(&source, "", ends.clone(), 5).await;
    let kinds: Vec<_> = lines
        .iter()
        .map(|line| (line.position, line.kind.as_str()))
        .collect();
    assert_eq!(kinds, [(4, "complete")]);
    let (mut cursor, _) = source.open(&Requested::Earliest, ends);
    assert!(matches!(cursor.next().await, Step::Frames(_)));
    let waiting = tokio::time::timeout(Duration::from_millis(20), cursor.next()).await;
    assert!(waiting.is_err());
    assert_eq!(cursor.skipped_to().unwrap().seq, 5);
    assert_eq!(cursor.skipped_to(), None);
    // It ends with the process, and not with a turn.
    registry.close_all_events();
    assert!(matches!(cursor.next().await, Step::End(End::Closed)));
}

#[tokio::test]
async fn a_cursor_that_means_nothing_here_is_told_so() {
    let (registry, mut turns_rx) = small();
    let (_, turn_handle) = create(&registry, &mut turns_rx, "one").await;
    text(&turn_handle, "a");
    let source = registry.all_events().await.unwrap();
    let ahead = cursor_at(&source, 7);
    for (cursor, reason) in [
        ("zzzzzzzzzz-1", GapReason::EpochChanged),
        ("what", GapReason::Invalid),
        (ahead.as_str(), GapReason::Ahead),
    ] {
        let (lines, gaps) = follow(&source, cursor, Filter::default(), 1).await;
        assert_eq!(gaps.len(), 1);
        assert_eq!((gaps[0].reason, gaps[0].resume_after.seq), (reason, 0));
        assert_whole(&lines, 1..=1);
    }
}

/// Without a disk what the rings had to let go of is gone, and whoever asks for it is told how much.
#[tokio::test]
async fn without_a_journal_evicted_events_are_a_gap_and_earliest_begins_after_them() {
    let (registry, mut turns_rx) = small();
    let (_, first) = create(&registry, &mut turns_rx, "one").await;
    let (_, second) = create(&registry, &mut turns_rx, "two").await;
    let source = registry.all_events().await.unwrap();
    let (mut slow, _) = source.open(&Requested::Earliest, Filter::default());
    text(&second, "kept");
    for nth in 0..10_000 {
        text(&first, &format!("{nth}"));
    }
    // The second session's first event is kept, so the order begins with it.
    let (lines, gaps) = follow(&source, "", Filter::default(), 10_001).await;
    assert_eq!(
        (lines[0].position, lines[0].session_id.as_str()),
        (1, "two")
    );
    assert_eq!(gaps.len(), 1, "{gaps:?}");
    assert_eq!(gaps[0].reason, GapReason::Lagged);
    assert_eq!(gaps[0].resume_after.seq + 1, lines[1].position);
    assert_eq!(gaps[0].missed, Some(lines[1].position - 2));
    assert!(lines.len() > 3000);
    assert!(matches!(slow.next().await, Step::Frames(_)));
    assert!(matches!(slow.next().await, Step::Gap(_)));
    // When it is gone too, what is kept begins later, and that is no gap for who asks for the earliest.
    for _ in 0..5000 {
        text(&second, "more");
    }
    let upto = head(&source);
    let (lines, gaps) = follow(&source, "", Filter::default(), upto).await;
    assert!(
        lines[0].position > 1000
            && gaps
                .iter()
                .all(|gap| gap.resume_after.seq > lines[0].position)
    );
    let (_, gaps) = follow(&source, &cursor_at(&source, 0), Filter::default(), upto).await;
    assert_eq!(gaps[0].reason, GapReason::Evicted);
    assert_eq!(gaps[0].missed, Some(lines[0].position - 1));
}

#[tokio::test]
async fn after_a_kill_the_same_cursor_goes_on_and_the_same_ids_are_the_same_events() {
    let dir = tempfile::tempdir().unwrap();
    let mut life = Life::begin(&dir).await;
    let (one, first) = life.create(request("one")).await;
    let (_, second) = life.create(request("two")).await;
    for nth in 0..200 {
        text(&first, &format!("{nth}"));
        text(&second, "y");
        thought(&second);
    }
    complete(first).await;
    complete(second).await;
    let source = life.registry.all_events().await.unwrap();
    let everything = Filter {
        reasoning: true,
        ..Filter::default()
    };
    let last = 2 + 600 + 2;
    let (before, gaps) = follow(&source, "", everything.clone(), last).await;
    assert_eq!(gaps, []);
    assert_whole(&before, 1..=last);
    let cursor = cursor_at(&source, 300);
    let left = killed(&dir);
    drop((life, one, source));

    let mut life = Life::begin(&left).await;
    let source = life.registry.all_events().await.unwrap();
    assert_eq!(head(&source), last);
    let (again, gaps) = follow(&source, "", everything.clone(), last).await;
    assert_eq!((again.as_slice(), gaps), (before.as_slice(), vec![]));
    // One that goes on over the restart.
    let (_, third) = life.create(request("three")).await;
    text(&third, "z");
    third.session.log.shown_past(1).await;
    let (rest, gaps) = follow(&source, &cursor, everything, last + 2).await;
    assert_eq!(gaps, []);
    assert_eq!(rest[..304], before[300..]);
    assert_eq!(rest[304].session_id, "three");
    assert_eq!(rest.last().unwrap().position, last + 2);
}

#[tokio::test]
async fn sessions_that_left_memory_and_what_the_rings_let_go_of_are_read_from_the_disk() {
    let dir = tempfile::tempdir().unwrap();
    let mut life = Life::begin(&dir).await;
    let (_, first) = life.create(request("one")).await;
    text(&first, "a");
    complete(first).await;
    let (session, second) = life.create(request("two")).await;
    let words = "w".repeat(1000);
    for _ in 0..20_000 {
        text(&second, &words);
    }
    complete(second).await;
    session.log.end_shown().await;
    drop(session);
    life.registry
        .unload(std::time::Instant::now() + Duration::from_hours(1));
    assert_eq!(life.registry.in_memory().len(), 0);
    let source = life.registry.all_events().await.unwrap();
    let (lines, gaps) = follow(&source, "", Filter::default(), 20_005).await;
    assert_eq!(gaps, []);
    assert_whole(&lines, 1..=20_005);
    let only = Filter {
        sessions: Arc::new(["one".to_owned()].into()),
        ..Filter::default()
    };
    let (lines, gaps) = follow(&source, "", only, 20_005).await;
    assert_eq!((lines.len(), gaps), (3, vec![]));
}

/// Readers that join, are cut and come back while many sessions speak at once.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn readers_that_are_cut_anywhere_get_everything_once_while_sessions_speak() {
    const SESSIONS: usize = 8;
    const EVENTS: usize = 400;
    const LAST: u64 = (SESSIONS * (EVENTS + 2)) as u64;
    let dir = tempfile::tempdir().unwrap();
    let mut life = Life::begin(&dir).await;
    let source = life.registry.all_events().await.unwrap();
    let mut speakers = Vec::new();
    for nth in 0..SESSIONS {
        speakers.push(life.create(request(&format!("s{nth}"))).await.1);
    }
    let tasks = TaskTracker::new();
    let cuts = Arc::new(AtomicUsize::new(0));
    let readers: Vec<_> = (0..6_usize)
        .map(|reader| {
            let (source, cuts) = (source.clone(), Arc::clone(&cuts));
            tasks.spawn(async move {
                let (mut lines, mut at, mut pieces) = (Vec::new(), String::new(), reader);
                while lines.len() < usize::try_from(LAST).unwrap() {
                    let asked = Requested::parse(at.as_bytes());
                    let (mut cursor, gap) = source.open(&asked, Filter::default());
                    assert_eq!(gap, None);
                    // Cut after a few pieces, in the middle of what came last.
                    pieces = pieces * 7 % 11 + 1;
                    for _ in 0..pieces {
                        if lines.len() == usize::try_from(LAST).unwrap() {
                            break;
                        }
                        let Step::Frames(bytes) = cursor.next().await else {
                            panic!("no gap, no end");
                        };
                        let mut got = lines_of(&bytes);
                        got.truncate(got.len().div_ceil(2).max(1));
                        let last = got.last().unwrap().position;
                        let is_cut = last < cursor.position().seq;
                        at = cursor.position().epoch.at(last).to_string();
                        lines.extend(got);
                        if is_cut {
                            cuts.fetch_add(1, Ordering::Relaxed);
                            break;
                        }
                    }
                }
                lines
            })
        })
        .collect();
    let speaking: Vec<_> = speakers
        .into_iter()
        .map(|turn_handle| {
            tasks.spawn(async move {
                for nth in 0..EVENTS {
                    text(&turn_handle, &format!("{nth}"));
                    if nth % 16 == 0 {
                        tokio::task::yield_now().await;
                    }
                }
                complete(turn_handle).await;
            })
        })
        .collect();
    for speaker in speaking {
        tokio::time::timeout(DEADLINE, speaker)
            .await
            .unwrap()
            .unwrap();
    }
    let mut all: Vec<Vec<Line>> = Vec::new();
    for reader in readers {
        all.push(
            tokio::time::timeout(DEADLINE, reader)
                .await
                .unwrap()
                .unwrap(),
        );
    }
    assert_whole(&all[0], 1..=LAST);
    assert!(all.iter().all(|lines| *lines == all[0]), "all agree");
    assert!(
        cuts.load(Ordering::Relaxed) > 0,
        "some were cut in the middle"
    );
}
