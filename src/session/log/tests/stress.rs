//! 100 000 events while 50 readers join, leave and stall, on real threads.

use std::time::Duration;

use tokio::time::timeout;
use tokio_util::task::TaskTracker;

use super::*;

const EVENTS: u64 = 100_000;
const READERS: u64 = 50;
/// Far longer than the test takes, and short enough to fail with a name.
const DEADLINE: Duration = Duration::from_secs(50);

/// What one reader went through.
#[derive(Debug, Default)]
struct Story {
    frames: u64,
    missed: u64,
    gaps: u64,
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_hundred_thousand_events_reach_fifty_unsteady_readers_in_order_or_with_a_gap() {
    let log = log();
    let tracker = TaskTracker::new();
    let readers: Vec<_> = (0..READERS)
        .map(|nth| tracker.spawn(unsteady_reader(log.clone(), nth)))
        .collect();
    let writer = std::thread::spawn({
        let log = log.clone();
        move || {
            for _ in 1..EVENTS {
                log.append("output", r#"{"type":"stdout","text":"Grüße, 世界 🌍"}"#);
            }
            log.end_turn("complete", "{}")
        }
    });
    let mut gaps = 0;
    for reader in readers {
        let story = timeout(DEADLINE, reader)
            .await
            .expect("no reader hangs")
            .unwrap();
        assert_eq!(
            story.frames + story.missed,
            EVENTS,
            "each event was seen or named as missed: {story:?}"
        );
        gaps += story.gaps;
    }
    assert_eq!(writer.join().unwrap(), id(EVENTS));
    assert!(
        gaps > 0,
        "the stalled readers were overtaken, or this tests nothing"
    );
}

/// Reads to the end. Every so often it leaves and comes back with its last id, or stalls until the log
/// has gone far ahead.
async fn unsteady_reader(log: EventLog, nth: u64) -> Story {
    let mut story = Story::default();
    let mut last = id(0);
    let mut sits = 0;
    loop {
        let opening = Cursor::open(&log, &Requested::After(last), View::default());
        let Opening::Reading { mut cursor, gap } = opening else {
            return story;
        };
        if let Some(gap) = gap {
            last = story.note_gap(last, &gap);
        }
        sits += 1;
        for _ in 0..=(nth * 7 + sits * 13) % 40 {
            match cursor.next().await {
                Step::Frames(bytes) => last = story.note_frames(last, &bytes, cursor.position()),
                Step::Gap(gap) => last = story.note_gap(last, &gap),
                Step::End(End::Idle) => return story,
                Step::End(end) => panic!("nobody closed it: {end:?}"),
            }
        }
        if (nth + sits).is_multiple_of(5) {
            stall(&log, last.seq + 6000).await;
        }
    }
}

/// Reads nothing until the log is at `seq`, or has ended.
async fn stall(log: &EventLog, seq: u64) {
    let mut head = log.inner.watermark.subscribe();
    head.wait_for(|head| head.seq >= seq || head.idle)
        .await
        .unwrap();
}

impl Story {
    fn note_frames(&mut self, at: EventId, bytes: &[u8], end: EventId) -> EventId {
        let events = SseReader::default().read(bytes);
        for (event, seq) in events.iter().zip(at.seq + 1..) {
            assert_eq!(
                event.id,
                id(seq).to_string(),
                "in order, none twice, none left out"
            );
        }
        let count = u64::try_from(events.len()).unwrap();
        assert_eq!(at.seq + count, end.seq);
        self.frames += count;
        end
    }

    fn note_gap(&mut self, at: EventId, gap: &Gap) -> EventId {
        assert_eq!(&*gap.requested, at.to_string());
        assert_eq!(gap.missed, Some(gap.resume_after.seq - at.seq));
        self.missed += gap.resume_after.seq - at.seq;
        self.gaps += 1;
        gap.resume_after
    }
}
