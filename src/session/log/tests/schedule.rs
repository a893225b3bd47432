//! Any schedule of append, read, give way and end of turn, against the simplest model there is: the
//! list of everything ever appended.

use proptest::collection::vec;
use proptest::prelude::*;

use super::*;

#[derive(Clone, Debug)]
enum Act {
    Append {
        size: usize,
        reasoning: bool,
    },
    EndTurn,
    BeginTurn,
    /// As if another log needed the room.
    GiveWay,
    Close,
    Join {
        back: u64,
        view: (bool, bool),
    },
    Read {
        reader: usize,
        steps: usize,
    },
    Leave {
        reader: usize,
    },
}

fn act() -> impl Strategy<Value = Act> {
    prop_oneof![
        12 => (0..400_usize, prop::bool::weighted(0.3)).prop_map(|(size, reasoning)| Act::Append { size, reasoning }),
        1 => Just(Act::EndTurn),
        1 => Just(Act::BeginTurn),
        1 => Just(Act::GiveWay),
        1 => prop::bool::weighted(0.05).prop_map(|close| if close { Act::Close } else { Act::BeginTurn }),
        2 => (0..40_u64, any::<(bool, bool)>()).prop_map(|(back, view)| Act::Join { back, view }),
        6 => (0..8_usize, 1..6_usize).prop_map(|(reader, steps)| Act::Read { reader, steps }),
        1 => (0..8_usize).prop_map(|reader| Act::Leave { reader }),
    ]
}

struct Reader {
    cursor: Cursor<crate::session::log::Reader>,
    view: View,
    /// The last event it has got, passed, or been told it missed.
    at: u64,
}

struct Model {
    log: EventLog,
    /// Event n at place n - 1: its frame and whether it is reasoning.
    history: Vec<(String, bool)>,
    readers: Vec<Reader>,
    idle: bool,
    closed: bool,
}

impl Model {
    fn new(limits: Limits) -> Self {
        Self {
            log: log_with(limits),
            history: vec![],
            readers: vec![],
            idle: false,
            closed: false,
        }
    }

    fn head(&self) -> u64 {
        self.history.len() as u64
    }

    fn act(&mut self, act: &Act) {
        match *act {
            Act::Append { size, reasoning } => self.append(size, reasoning),
            Act::EndTurn => {
                let id = self.log.end_turn("complete", "{}");
                self.note(id, "complete", "{}", false);
                self.idle = true;
            }
            Act::BeginTurn => {
                self.log.begin_turn();
                self.idle = false;
            }
            Act::GiveWay => {
                self.log.inner.buffer.change(Ring::evict_segment);
            }
            Act::Close => {
                self.log.close();
                self.closed = true;
            }
            Act::Join { back, view } => self.join(
                back,
                View {
                    follow: view.0,
                    reasoning: view.1,
                    ..View::default()
                },
            ),
            Act::Read { reader, steps } => self.read(reader, steps),
            Act::Leave { reader } => {
                if reader < self.readers.len() {
                    self.readers.swap_remove(reader);
                }
            }
        }
    }

    fn append(&mut self, size: usize, reasoning: bool) {
        let data = format!("\"{}\"", "é".repeat(size));
        let id = if reasoning {
            self.log.append_reasoning("output", &data)
        } else {
            self.log.append("output", &data)
        };
        self.note(id, "output", &data, reasoning);
    }

    fn note(&mut self, id: EventId, kind: &str, data: &str, reasoning: bool) {
        assert_eq!(id.seq, self.head() + 1, "ids have no holes");
        assert_eq!(self.log.last_event_id(), id);
        self.history.push((
            format!("event: {kind}\nid: {id}\ndata: {data}\n\n"),
            reasoning,
        ));
    }

    fn join(&mut self, back: u64, view: View) {
        let requested = self.head().saturating_sub(back);
        match Cursor::open(&self.log, &Requested::After(id(requested)), view) {
            Opening::UpToDate { last } => {
                assert!(self.idle && !view.follow && back == 0 || self.head() == 0);
                assert_eq!(last, id(self.head()));
            }
            Opening::Reading { cursor, gap } => {
                let at = gap.map_or(requested, |gap| {
                    assert_eq!(gap.reason, GapReason::Evicted);
                    self.check_gap(requested, &gap)
                });
                self.readers.push(Reader { cursor, view, at });
            }
        }
    }

    /// A gap is honest: it says exactly which events are lost, and lost they are.
    fn check_gap(&self, at: u64, gap: &Gap) -> u64 {
        let resume = gap.resume_after.seq;
        assert!(resume > at, "a gap loses something");
        assert_eq!(gap.missed, Some(resume - at));
        assert_eq!(&*gap.requested, id(at).to_string());
        assert_eq!(
            resume + 1,
            self.log.kept().0.oldest,
            "and no more than it must"
        );
        resume
    }

    fn read(&mut self, reader: usize, steps: usize) {
        if reader < self.readers.len() {
            let reader = self.readers.swap_remove(reader);
            self.readers.extend(self.follow(reader, steps));
        }
    }

    /// Lets a reader take some steps, each of them checked; none if it came to its end.
    fn follow(&self, mut reader: Reader, steps: usize) -> Option<Reader> {
        for _ in 0..steps {
            match try_next(&mut reader.cursor) {
                Some(Step::Frames(bytes)) => {
                    let last = reader.cursor.position().seq;
                    assert_eq!(
                        bytes,
                        self.shown(&reader, last),
                        "the next ones, all of them, once"
                    );
                    reader.at = last;
                }
                Some(Step::Gap(gap)) => {
                    assert_eq!(gap.reason, GapReason::Lagged);
                    // Before it was overtaken it may have passed events it is not shown.
                    let place = EventId::parse(&gap.requested).unwrap().seq;
                    assert!(place >= reader.at && self.shown(&reader, place).is_empty());
                    reader.at = self.check_gap(place, &gap);
                }
                Some(Step::End(end)) => {
                    let expected = if self.closed { End::Closed } else { End::Idle };
                    assert!(end == expected && (self.closed || self.idle && !reader.view.follow));
                    self.assert_seen_all(&reader);
                    return None;
                }
                None => {
                    assert!(
                        !self.closed && (!self.idle || reader.view.follow),
                        "it must not wait"
                    );
                    self.assert_seen_all(&reader);
                    break;
                }
            }
        }
        Some(reader)
    }

    /// The bytes this reader must get between its place and `last`.
    fn shown(&self, reader: &Reader, last: u64) -> Vec<u8> {
        (reader.at..last)
            .filter_map(|before| self.history.get(usize::try_from(before).unwrap()))
            .filter(|(_, reasoning)| reader.view.reasoning || !reasoning)
            .flat_map(|(frame, _)| frame.bytes())
            .collect()
    }

    fn assert_seen_all(&self, reader: &Reader) {
        assert_eq!(self.shown(reader, self.head()), b"", "nothing is held back");
    }
}

proptest! {
    #[test]
    fn any_schedule_gives_each_reader_an_ordered_run_or_a_gap(
        events in 8..40_usize,
        bytes in 500..20_000_usize,
        acts in vec(act(), 1..200),
    ) {
        let mut model = Model::new(Limits { events, bytes });
        for act in acts {
            model.act(&act);
        }
        while let Some(reader) = model.readers.pop() {
            model.follow(reader, usize::MAX);
        }
    }
}
