//! Chaos: the real binary and the real OpenCode, killed, frozen, cut off and without disk at random moments,
//! while clients follow. What they saw is compared with what is kept.
//!
//! `CHAOS_ROUNDS` says how many rounds, `CHAOS_SEED` which; the plan of a round is a pure function of the seed
//! and its number, so a fault that was found can be looked for again (the machine's own timing differs).

#![expect(
    clippy::unwrap_used,
    clippy::print_stdout,
    clippy::disallowed_methods,
    reason = "a test fails by panicking, says what it does, and is told how long to do it"
)]

#[path = "../support/llm.rs"]
#[allow(
    dead_code,
    clippy::allow_attributes,
    reason = "each test binary uses its part of this"
)]
mod llm;
#[path = "../support/mod.rs"]
mod support;

mod answerer;
mod checker;
mod client;
mod dice;
mod evidence;
mod follower;
mod model;
mod owner;
mod plan;
mod private;
mod prompter;
mod round;
mod soak;
mod socket;
mod trace;
mod world;

use round::Remembered;
use world::World;

/// What a person or `make` asks for.
fn number(name: &str) -> Option<u64> {
    let text = std::env::var(name).ok().filter(|text| !text.is_empty())?;
    let number = text.parse();
    Some(
        number.unwrap_or_else(|error| {
            panic!("{name}={text:?} is not accepted: {error}; give a number")
        }),
    )
}

fn random() -> u64 {
    let mut bytes = [0; 8];
    getrandom::fill(&mut bytes).unwrap();
    u64::from_le_bytes(bytes) >> 16
}

#[test]
fn whatever_is_killed_nothing_is_lost_doubled_or_left_behind() {
    let name = "whatever_is_killed_nothing_is_lost_doubled_or_left_behind";
    if private::ran_with_mounts_of_its_own(name) {
        return;
    }
    let seed = number("CHAOS_SEED").unwrap_or_else(random);
    let first = number("CHAOS_FIRST").unwrap_or(0);
    let rounds = number("CHAOS_ROUNDS").unwrap_or(3);
    println!("CHAOS_SEED={seed} CHAOS_ROUNDS={rounds}");
    let mut world = World::start(seed);
    if !world.has_disk() {
        support::skipped("no file system can be mounted, so none is filled");
    }
    let mut faults = Vec::new();
    let mut kept: Vec<Remembered> = Vec::new();
    for round in first..first + rounds {
        let plan = plan::Plan::of(seed, round, world.has_disk());
        let (found, remembered) = round::run(&mut world, seed, round);
        if plan.loses() {
            // Every log may have another epoch since, and what was written last may be gone.
            kept.clear();
        }
        if plan.fills() {
            // A disk without room gives up what has ended.
            kept.retain(|old| round::replay(&world, &old.id).is_some());
        }
        kept.extend(remembered);
        for fault in &found {
            println!("  CHAOS_SEED={seed} CHAOS_FIRST={round}: {fault}");
        }
        faults.extend(
            found
                .into_iter()
                .map(|fault| format!("CHAOS_FIRST={round} {fault}")),
        );
    }
    for old in &kept {
        let now = round::replay(&world, &old.id);
        let now = now.unwrap_or_default();
        let (is, was) = (now.len(), old.replay.len());
        // Each restart says of a prompt that waits for a key that it does.
        let is_held =
            |frame: &trace::Frame| frame.kind == "prompt" && frame.text("state") == "held";
        let more = now.get(was..).unwrap_or_default();
        if !now.starts_with(&old.replay) || !more.iter().all(is_held) {
            let mut pairs = now.iter().zip(&old.replay);
            let other = pairs.find(|(now, old)| now != old).map(|(now, _)| now);
            let other = other.or(now.get(was));
            faults.push(format!(
                "later: {} is not what it was when it ended: {is} events and not {was}, and {other:?}",
                old.id
            ));
        }
    }
    let events: usize = kept.iter().map(|old| old.replay.len()).sum();
    println!(
        "{} sessions with {events} events were there to the end",
        kept.len()
    );
    assert!(
        faults.is_empty(),
        "CHAOS_SEED={seed} found:\n{}",
        faults.join("\n")
    );
}

/// A test that is killed unmounts nothing.
#[test]
fn the_journals_disk_is_mounted_for_the_test_alone() {
    let name = "the_journals_disk_is_mounted_for_the_test_alone";
    if private::ran_with_mounts_of_its_own(name) {
        return;
    }
    let Some(disk) = world::Disk::mount() else {
        return support::skipped("no file system can be mounted");
    };
    let place = disk.path().to_string_lossy().into_owned();
    let mounts = |of: &str| std::fs::read_to_string(format!("/proc/{of}/mounts")).unwrap();
    assert!(mounts("self").contains(&place));
    let outside = rustix::process::getppid()
        .unwrap()
        .as_raw_nonzero()
        .to_string();
    assert!(
        !mounts(&outside).contains(&place),
        "the test's parent sees it"
    );
}
