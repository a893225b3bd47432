use proptest::prelude::*;

use super::*;

/// A policy, the moment it is at, and the child that is ready.
struct Trial {
    policy: Policy,
    start: Instant,
    now: Instant,
    child: Generation,
}

const IDLE: Counts = Counts {
    turns: 0,
    waiting: 0,
};
const BUSY: Counts = Counts {
    turns: 1,
    waiting: 0,
};
const WAITED_FOR: Counts = Counts {
    turns: 0,
    waiting: 1,
};

const GENTLY: Verdict = Verdict::Recycle { at_once: false };
const AT_ONCE: Verdict = Verdict::Recycle { at_once: true };

impl Trial {
    fn new() -> Self {
        let now = Instant::now();
        Self {
            policy: Policy::default(),
            start: now,
            now,
            child: Generation::default().next(),
        }
    }

    fn look(&mut self, pressure: Pressure, load: Counts) -> Verdict {
        let sight = Observation {
            pressure,
            ready: Some(self.child),
            load,
        };
        self.policy.judge(self.now, sight)
    }

    /// The child that was told to go has gone, and the next one is ready.
    fn next_child(&mut self) {
        self.child = self.child.next();
    }

    fn after(&mut self, secs: u64) -> &mut Self {
        self.now += Duration::from_secs(secs);
        self
    }

    fn held_until(&mut self, verdict: Verdict) -> u64 {
        match verdict {
            Verdict::Hold { until } => (until - self.start).as_secs(),
            other => panic!("{other:?}"),
        }
    }
}

#[test]
fn who_goes_at_which_pressure() {
    use Pressure::{Critical, Extreme, High, Normal};
    let table = [
        (Normal, IDLE, Verdict::Leave),
        (Normal, BUSY, Verdict::Leave),
        (Normal, WAITED_FOR, Verdict::Leave),
        (High, IDLE, Verdict::Leave),
        (High, BUSY, Verdict::Leave),
        (High, WAITED_FOR, GENTLY),
        (Critical, IDLE, GENTLY),
        (Critical, WAITED_FOR, GENTLY),
        (Critical, BUSY, Verdict::Leave),
        (Extreme, IDLE, AT_ONCE),
        (Extreme, BUSY, AT_ONCE),
    ];
    for (pressure, load, expected) in table {
        assert_eq!(
            Trial::new().look(pressure, load),
            expected,
            "{pressure:?} {load:?}"
        );
    }
}

#[test]
fn a_busy_child_goes_when_its_last_turn_ends() {
    let mut trial = Trial::new();
    assert_eq!(trial.look(Pressure::Critical, BUSY), Verdict::Leave);
    assert_eq!(trial.look(Pressure::Critical, IDLE), GENTLY);
    assert_eq!(
        trial.look(Pressure::Extreme, IDLE),
        Verdict::Leave,
        "told once is enough"
    );
}

#[test]
fn a_child_that_is_not_ready_is_left_alone() {
    let mut policy = Policy::default();
    let sight = Observation {
        pressure: Pressure::Extreme,
        ready: None,
        load: BUSY,
    };
    assert_eq!(policy.judge(Instant::now(), sight), Verdict::Leave);
}

#[test]
fn if_it_helped_the_next_one_may_go_at_once() {
    let mut trial = Trial::new();
    assert_eq!(trial.look(Pressure::Critical, IDLE), GENTLY);
    trial.next_child();
    assert_eq!(trial.look(Pressure::Normal, IDLE), Verdict::Leave);
    assert_eq!(trial.after(5).look(Pressure::Extreme, BUSY), AT_ONCE);
}

#[test]
fn if_it_did_not_help_the_pause_is_a_minute_and_doubles() {
    let mut trial = Trial::new();
    assert_eq!(trial.look(Pressure::Extreme, BUSY), AT_ONCE);
    let mut allowed = 0;
    for minutes in [1, 2, 4, 8, 16, 16] {
        trial.next_child();
        allowed += minutes * 60;
        let held = trial.look(Pressure::Extreme, BUSY);
        assert_eq!(trial.held_until(held), allowed, "{minutes}");
        trial.now = trial.start + Duration::from_millis(allowed * 1000 - 1);
        assert!(matches!(
            trial.look(Pressure::Critical, IDLE),
            Verdict::Hold { .. }
        ));
        trial.now = trial.start + Duration::from_secs(allowed);
        assert_eq!(trial.look(Pressure::Extreme, BUSY), AT_ONCE);
    }
    // High is no relief; normal is.
    trial.next_child();
    assert!(matches!(
        trial.look(Pressure::High, WAITED_FOR),
        Verdict::Hold { .. }
    ));
    assert_eq!(trial.look(Pressure::Normal, BUSY), Verdict::Leave);
    assert_eq!(trial.after(1).look(Pressure::Critical, IDLE), GENTLY);
}

#[test]
fn help_that_does_not_last_is_bounded_too() {
    let mut trial = Trial::new();
    for _ in 0..BUDGET {
        assert_eq!(trial.look(Pressure::Critical, IDLE), GENTLY);
        trial.after(10).next_child();
        assert_eq!(trial.look(Pressure::Normal, IDLE), Verdict::Leave);
    }
    let held = trial.look(Pressure::Extreme, BUSY);
    assert_eq!(trial.held_until(held), WINDOW.as_secs());
    trial.now = trial.start + WINDOW;
    assert_eq!(trial.look(Pressure::Extreme, BUSY), AT_ONCE);
    trial.next_child();
    assert_eq!(trial.look(Pressure::Normal, BUSY), Verdict::Leave);
    let held = trial.look(Pressure::Extreme, BUSY);
    assert_eq!(
        trial.held_until(held),
        WINDOW.as_secs() + 10,
        "the window slides"
    );
}

proptest! {
    /// Whatever is seen: never the same child twice, never more than the budget within the window,
    /// never soon after one that did not help, never a busy child that need not go.
    #[test]
    fn whatever_is_seen_the_bounds_hold(
        looks in proptest::collection::vec((0_u8..4, 0_usize..3, 0_usize..3, 0_u64..90, any::<bool>()), 1..200),
    ) {
        let mut trial = Trial::new();
        let mut told: Vec<(Instant, Generation)> = Vec::new();
        let mut normal_since = true;
        for (pressure, turns, waiting, secs, replaced) in looks {
            trial.after(secs);
            if replaced && told.last().is_some_and(|(_, child)| *child == trial.child) {
                trial.next_child();
            }
            let pressure = [Pressure::Normal, Pressure::High, Pressure::Critical, Pressure::Extreme]
                [usize::from(pressure)];
            let fresh = told.last().is_none_or(|(_, child)| *child != trial.child);
            normal_since |= fresh && pressure == Pressure::Normal;
            let verdict = trial.look(pressure, Counts { turns, waiting });
            let Verdict::Recycle { at_once } = verdict else { continue };
            prop_assert!(fresh);
            prop_assert!(pressure > Pressure::Normal);
            prop_assert!(turns == 0 || pressure == Pressure::Extreme);
            prop_assert_eq!(at_once, pressure == Pressure::Extreme);
            if let Some((last, _)) = told.last() {
                prop_assert!(normal_since || trial.now - *last >= PAUSE);
            }
            told.push((trial.now, trial.child));
            normal_since = false;
            let recent = told.iter().filter(|(at, _)| trial.now - *at < WINDOW).count();
            prop_assert!(recent <= BUDGET);
        }
    }
}
