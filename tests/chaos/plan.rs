//! What is done to a round, as a pure function of the seed and the round.

use std::time::Duration;

use serde_json::json;

use crate::dice::Dice;
use crate::llm::Turn;

/// What can go wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    KillSidecar,
    KillChild,
    KillBoth,
    /// The journal's disk is full for a while.
    FillDisk,
    /// The sidecar is killed while its disk is full, and comes back to a disk that is still full.
    KillWhenFull,
    /// Every client's connection is cut.
    Cut,
    FreezeSidecar,
    FreezeChild,
    /// SIGTERM, and a new sidecar when that one has left.
    Drain,
}

#[derive(Clone, Copy, Debug)]
pub(crate) struct Fault {
    /// Since the round began.
    pub(crate) at: Duration,
    pub(crate) kind: Kind,
    /// How long the disk is full or the process stands still.
    pub(crate) held: Duration,
}

/// One session of a round.
#[derive(Clone, Debug)]
pub(crate) struct Work {
    pub(crate) id: String,
    pub(crate) key: String,
    /// How often it is resumed at most, if it ends so that it can be.
    pub(crate) resumes: u32,
    /// When its client stops it.
    pub(crate) stop: Option<Duration>,
}

#[derive(Clone, Debug)]
pub(crate) struct Plan {
    pub(crate) faults: Vec<Fault>,
    pub(crate) work: Vec<Work>,
}

/// Every key of the test begins like this.
pub(crate) const KEY: &str = "chaos-key-";

/// Words of every answer of the model, and lines of every command.
pub(crate) const WORDS: u32 = 30;
pub(crate) const THOUGHTS: u32 = 6;
pub(crate) const LINES: u32 = 8;

/// Answers of the model that a session has at hand. Every fault may cost some.
const ANSWERS: u32 = 40;

/// In milliseconds: about when a turn that nothing disturbs ends.
const LATEST: u64 = 5_500;

// === impl Plan ===

impl Plan {
    pub(crate) fn of(seed: u64, round: u64, disk: bool) -> Self {
        let mut dice = Dice::new(seed, &[round]);
        let mut kinds = vec![
            (6, Kind::KillSidecar),
            (6, Kind::KillChild),
            (3, Kind::KillBoth),
            (4, Kind::Cut),
            (2, Kind::FreezeSidecar),
            (2, Kind::FreezeChild),
            (3, Kind::Drain),
        ];
        if disk {
            kinds.extend([(4, Kind::FillDisk), (2, Kind::KillWhenFull)]);
        }
        let mut faults: Vec<Fault> = (0..dice.within(1, 3))
            .map(|_| Fault {
                kind: dice.one_of(&kinds),
                at: Duration::from_millis(dice.within(0, LATEST)),
                held: Duration::from_millis(dice.within(200, 2_000)),
            })
            .collect();
        faults.sort_by_key(|fault| fault.at);
        let work = (0..dice.within(1, 2))
            .map(|n| Work {
                id: format!("round-{round}-{n}"),
                key: format!("{KEY}{:016x}", dice.next()),
                resumes: u32::try_from(dice.within(0, 2)).unwrap(),
                stop: dice
                    .percent(15)
                    .then(|| Duration::from_millis(dice.within(500, LATEST))),
            })
            .collect();
        Self { faults, work }
    }

    fn any(&self, kinds: &[Kind]) -> bool {
        self.faults.iter().any(|fault| kinds.contains(&fault.kind))
    }

    /// Whether a turn may be broken off.
    pub(crate) fn disturbs(&self) -> bool {
        self.any(&[
            Kind::KillSidecar,
            Kind::KillChild,
            Kind::KillBoth,
            Kind::KillWhenFull,
            Kind::Drain,
        ])
    }

    /// Whether streams may end without a terminal event: the sidecar leaves.
    pub(crate) fn drains(&self) -> bool {
        self.any(&[Kind::Drain])
    }

    pub(crate) fn fills(&self) -> bool {
        self.any(&[Kind::FillDisk, Kind::KillWhenFull])
    }

    /// Whether events may have been shown that never reached the disk: it was full, or had just been,
    /// when the sidecar was killed.
    pub(crate) fn loses(&self) -> bool {
        let full = |fault: &Fault| matches!(fault.kind, Kind::FillDisk | Kind::KillWhenFull);
        let from = self.faults.iter().position(full);
        from.is_some_and(|from| {
            self.faults[from..].iter().any(|fault| {
                matches!(
                    fault.kind,
                    Kind::KillSidecar | Kind::KillBoth | Kind::KillWhenFull
                )
            })
        })
    }
}

/// `[3.1] [3.2] …`: the words of answer 3.
fn words(answer: u32, count: u32) -> String {
    let words: Vec<String> = (1..=count).map(|n| format!("[{answer}.{n}]")).collect();
    words.join(" ")
}

/// What the model answers, call by call: text and a command, text and a file, text and the end, and so
/// on. A turn takes some seconds, and one that goes on after a fault gets what is left.
pub(crate) fn answers(file: &str) -> impl Iterator<Item = Turn> + use<'_> {
    (1..=ANSWERS).map(move |answer| {
        let mut turn = Turn::new();
        if answer % 3 == 1 {
            turn = turn.reasoning(&words(answer, THOUGHTS));
        }
        let turn = turn
            .stream(25, Duration::from_millis(40))
            .text(&words(answer, WORDS));
        match answer % 3 {
            1 => turn.tool("bash", command(answer)),
            2 => turn.tool(
                "write",
                json!({ "filePath": file, "content": format!("of-answer-{answer}\n") }),
            ),
            _ => turn,
        }
    })
}

/// Prints for a second or two, with a process beside it that a crash leaves behind.
fn command(answer: u32) -> serde_json::Value {
    let command = format!(
        "setsid sleep 1013 & beside=$!; for n in $(seq {LINES}); do echo \"[{answer}.$n]\"; sleep 0.15; done; \
         kill $beside # of-answer-{answer} "
    );
    json!({ "command": command, "description": format!("of-answer-{answer} ") })
}

#[test]
fn the_same_seed_gives_the_same_plan_and_another_seed_another() {
    let plans = |seed| -> Vec<String> {
        let plans = (0..20).map(|round| Plan::of(seed, round, true));
        plans.map(|plan| format!("{plan:?}")).collect()
    };
    assert_eq!(plans(7), plans(7));
    assert_ne!(plans(7), plans(8));
    let different: std::collections::HashSet<String> = plans(7).into_iter().collect();
    assert_eq!(different.len(), 20);
}

#[test]
fn a_hundred_rounds_have_every_fault_many_times() {
    for kind in [
        Kind::KillSidecar,
        Kind::KillChild,
        Kind::KillBoth,
        Kind::FillDisk,
        Kind::KillWhenFull,
        Kind::Cut,
        Kind::FreezeSidecar,
        Kind::FreezeChild,
        Kind::Drain,
    ] {
        let plans = (0..100).map(|round| Plan::of(1, round, true));
        let count = plans.filter(|plan| plan.any(&[kind])).count();
        assert!(count >= 4, "{kind:?} is in {count} rounds");
    }
}
