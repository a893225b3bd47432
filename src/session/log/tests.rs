//! What the log promises, at its public face.

mod reading;
mod schedule;
mod stress;

use std::task::{Context, Waker};

use super::*;

pub(crate) use self::parse::{Parsed, SseReader};

mod parse;

/// An empty log with the epoch `abcdefghij`.
pub(crate) fn log_with(limits: Limits) -> EventLog {
    EventLog::new(
        Epoch::parse("abcdefghij").unwrap(),
        limits,
        &Budget::default(),
    )
}

fn log() -> EventLog {
    log_with(Limits::default())
}

fn id(seq: u64) -> EventId {
    Epoch::parse("abcdefghij").unwrap().at(seq)
}

fn open(log: &EventLog, requested: &str, view: View) -> (Cursor, Option<Gap>) {
    match Cursor::open(log, &Requested::parse(requested.as_bytes()), view) {
        Opening::Reading { cursor, gap } => (cursor, gap),
        Opening::UpToDate { last } => panic!("up to date at {last}"),
    }
}

/// The next step, if there is one without waiting.
fn try_next(cursor: &mut Cursor) -> Option<Step> {
    match cursor.poll_next(&mut Context::from_waker(Waker::noop())) {
        std::task::Poll::Ready(step) => Some(step),
        std::task::Poll::Pending => None,
    }
}

/// The numbers of all frames there are to read now, and what came instead of another one.
fn drain(cursor: &mut Cursor) -> (Vec<u64>, Option<Step>) {
    let mut seqs = Vec::new();
    loop {
        match try_next(cursor) {
            Some(Step::Frames { bytes, last }) => {
                let mut reader = SseReader::default();
                let parsed = reader.read(&bytes);
                assert_eq!(reader.last_event_id, last.to_string());
                seqs.extend(
                    parsed
                        .iter()
                        .map(|event| EventId::parse(&event.id).unwrap().seq),
                );
            }
            other => return (seqs, other),
        }
    }
}

/// The disk answers again: what it has by then is less than what was shown.
#[test]
fn an_end_that_was_shown_stays_shown_while_the_disk_follows() {
    let log = log();
    log.shared.inner.lock().flush_state = FlushState::after(0);
    let shared: &dyn Source = &*log.shared;
    log.append("thinking", "{}");
    shared.take();
    assert_eq!(log.last_event_id(), id(0));
    shared.failed();
    let end = log.end_turn("done", "{}");
    assert_eq!(log.end_id(), Some(end));
    shared.committed();
    assert_eq!(log.end_id(), Some(end));
    let (mut cursor, _) = open(&log, "", View::default());
    let (seqs, stop) = drain(&mut cursor);
    assert_eq!(seqs, [1, 2]);
    assert!(matches!(stop, Some(Step::End(End::Idle))), "{stop:?}");
    log.begin_turn();
    assert_eq!(log.end_id(), None);
}
