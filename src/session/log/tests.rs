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
    log_under(limits, &MemoryBudget::default())
}

fn log_under(limits: Limits, budget: &MemoryBudget) -> EventLog {
    let epoch = Epoch::parse("abcdefghij").unwrap();
    let order = Order::in_memory(Epoch::random().to_string());
    let storage = Storage::Memory(Arc::new(order));
    EventLog::new(StoredRange::empty(0, epoch), limits, budget, storage)
}

impl EventLog {
    pub(crate) fn append(&self, kind: &'static str, data: &str) -> EventId {
        self.append_one(kind, data, false, false)
    }

    pub(crate) fn append_reasoning(&self, kind: &'static str, data: &str) -> EventId {
        self.append_one(kind, data, true, false)
    }

    pub(crate) fn end_turn(&self, kind: &'static str, data: &str) -> EventId {
        self.append_one(kind, data, false, true)
    }

    fn append_one(
        &self,
        kind: &'static str,
        data: &str,
        reasoning: bool,
        terminal: bool,
    ) -> EventId {
        let piece = Encoded {
            kind,
            data: data.to_owned(),
            terminal,
            reasoning,
        };
        self.add(Addition {
            ends: piece.terminal,
            ..Addition::of(vec![piece])
        });
        self.inner
            .epoch
            .at(self.inner.buffer.read(|ring| ring.last()))
    }
}

fn log() -> EventLog {
    log_with(Limits::default())
}

fn id(seq: u64) -> EventId {
    Epoch::parse("abcdefghij").unwrap().at(seq)
}

fn open(log: &EventLog, requested: &str, view: View) -> (Cursor<Reader>, Option<Gap>) {
    match Cursor::open(log, &Requested::parse(requested.as_bytes()), view) {
        Opening::Reading { cursor, gap } => (cursor, gap),
        Opening::UpToDate { last } => panic!("up to date at {last}"),
    }
}

/// The next step, if there is one without waiting.
fn try_next(cursor: &mut Cursor<Reader>) -> Option<Step> {
    match cursor.poll_next(&mut Context::from_waker(Waker::noop())) {
        std::task::Poll::Ready(step) => Some(step),
        std::task::Poll::Pending => None,
    }
}

/// The numbers of all frames there are to read now, and what came instead of another one.
fn drain(cursor: &mut Cursor<Reader>) -> (Vec<u64>, Option<Step>) {
    let mut seqs = Vec::new();
    loop {
        match try_next(cursor) {
            Some(Step::Frames(bytes)) => {
                let mut reader = SseReader::default();
                let parsed = reader.read(&bytes);
                assert_eq!(reader.last_event_id, cursor.position().to_string());
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
    // As the log does it for a journal: an event is shown when the journal says so.
    let append = |ends| {
        log.inner.buffer.change(|ring| {
            let last = ring.push("output", "{}", false).0;
            log.inner.watermark.append(Appended { last, ends });
            id(last)
        })
    };
    append(false);
    assert_eq!(log.last_event_id(), id(0));
    log.inner.watermark.show_appended();
    assert_eq!(log.last_event_id(), id(1));
    let end = append(true);
    assert_eq!(log.end_id(), None);
    log.inner.watermark.show_appended();
    assert_eq!(log.end_id(), Some(end));
    log.inner.watermark.commit(1);
    assert_eq!(log.end_id(), Some(end));
    let (mut cursor, _) = open(&log, "", View::default());
    let (seqs, stop) = drain(&mut cursor);
    assert_eq!(seqs, [1, 2]);
    assert!(matches!(stop, Some(Step::End(End::Idle))), "{stop:?}");
    log.begin_turn();
    assert_eq!(log.end_id(), None);
}
