//! What is done to a round, as a pure function of the seed and the round.

use std::time::Duration;

use crate::dice::Dice;

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
    /// What its client says after the first prompt.
    pub(crate) prompts: Vec<Planned>,
    /// What is done when prompts are held after a restart.
    pub(crate) held: Held,
    /// How many clients answer what the agent asks; nothing: it need not ask.
    pub(crate) answerers: u64,
}

/// A further prompt of a session.
#[derive(Clone, Debug)]
pub(crate) struct Planned {
    /// Its words have it. That of the first prompt is 0.
    pub(crate) name: u32,
    /// Since the round began.
    pub(crate) at: Duration,
    pub(crate) on_busy: OnBusy,
    /// Calls of the model that it takes.
    pub(crate) steps: u32,
    /// After so long its client hangs up without having read an answer, and posts it again.
    pub(crate) hangs_up: Option<Duration>,
    /// Its client posts it again after the answer.
    pub(crate) again: bool,
    /// Its client withdraws it if it waits.
    pub(crate) withdrawn: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum OnBusy {
    Queue,
    Steer,
    Interrupt,
}

/// What becomes of prompts that are held.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Held {
    /// A resume brings a key.
    Resume,
    /// Another prompt brings a key.
    Prompt,
    /// Nothing.
    Leave,
}

#[derive(Clone, Debug)]
pub(crate) struct Plan {
    pub(crate) faults: Vec<Fault>,
    pub(crate) work: Vec<Work>,
}

/// Every key of the test begins like this.
pub(crate) const KEY: &str = "chaos-key-";

/// In milliseconds: about when a turn that nothing disturbs ends.
const LATEST: u64 = 4_500;

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
                prompts: (1..=dice.within(0, 4))
                    .map(|name| Planned::of(u32::try_from(name).unwrap(), &mut dice))
                    .collect(),
                held: dice.one_of(&[(4, Held::Resume), (4, Held::Prompt), (1, Held::Leave)]),
                answerers: dice.one_of(&[(6, 0), (3, 1), (1, 2)]),
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

// === impl Work ===

impl Work {
    /// Whether a turn of it may be cancelled.
    pub(crate) fn cancels(&self) -> bool {
        let interrupts = |prompt: &Planned| prompt.on_busy == OnBusy::Interrupt;
        self.stop.is_some() || self.prompts.iter().any(interrupts)
    }

    /// The prompt that is to bring a key for those that are held.
    pub(crate) fn release(&self) -> Planned {
        Planned {
            name: u32::try_from(self.prompts.len()).unwrap() + 1,
            at: Duration::ZERO,
            on_busy: OnBusy::Queue,
            steps: 1,
            hangs_up: None,
            again: false,
            withdrawn: false,
        }
    }
}

// === impl Planned ===

impl Planned {
    fn of(name: u32, dice: &mut Dice) -> Self {
        let on_busy = dice.one_of(&[
            (5, OnBusy::Queue),
            (4, OnBusy::Steer),
            (1, OnBusy::Interrupt),
        ]);
        Self {
            name,
            at: Duration::from_millis(dice.within(200, LATEST)),
            on_busy,
            steps: u32::try_from(dice.within(1, 2)).unwrap(),
            hangs_up: dice
                .percent(25)
                .then(|| Duration::from_millis(dice.within(0, 60))),
            again: dice.percent(20),
            withdrawn: dice.percent(15),
        }
    }
}

// === impl OnBusy ===

impl OnBusy {
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Queue => "queue",
            Self::Steer => "steer",
            Self::Interrupt => "interrupt",
        }
    }
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

#[test]
fn a_hundred_rounds_have_prompts_of_every_kind() {
    let plans = (0..100).map(|round| Plan::of(1, round, true));
    let work: Vec<Work> = plans.flat_map(|plan| plan.work).collect();
    let prompts = || work.iter().flat_map(|work| &work.prompts);
    for on_busy in [OnBusy::Queue, OnBusy::Steer, OnBusy::Interrupt] {
        let count = prompts().filter(|prompt| prompt.on_busy == on_busy).count();
        assert!(count >= 20, "{on_busy:?} is planned {count} times");
    }
    assert!(prompts().filter(|prompt| prompt.hangs_up.is_some()).count() >= 20);
    assert!(prompts().filter(|prompt| prompt.withdrawn).count() >= 20);
}
