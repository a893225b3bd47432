//! A turn's events stand together, and the last of them is its one end.

use std::collections::BTreeSet;

use super::{Evidence, Faults};
use crate::trace::Frame;

/// Codes of an `error` that a fault of ours may end a turn with.
const ENDS: [&str; 4] = [
    "interrupted",
    "shutting_down",
    "engine_lost",
    // A prompt that waited, and whose turn came while a new child took longer than `ENGINE_WAIT`.
    "engine_unavailable",
];

/// The number of the turn that an event belongs to.
pub(super) fn number(frame: &Frame) -> u64 {
    frame.data["turn"].as_u64().unwrap_or_default()
}

pub(super) fn check(evidence: &Evidence, replay: &[Frame], faults: &mut Faults) {
    // What becomes of a prompt that waits is told in the middle of other turns.
    let own = replay.iter().filter(|frame| frame.kind != "prompt");
    let own: Vec<&Frame> = own.collect();
    if own.is_empty() {
        faults.add("turns", "the replay has none");
    }
    let mut seen = BTreeSet::new();
    for turn in own.chunk_by(|one, next| number(one) == number(next)) {
        if !seen.insert(number(turn[0])) {
            let (turn, id) = (number(turn[0]), &turn[0].id);
            faults.add("turns", format!("turn {turn} goes on at {id:?}"));
        }
        one(evidence, turn, faults);
    }
}

fn one(evidence: &Evidence, turn: &[&Frame], faults: &mut Faults) {
    let (first, last) = (turn[0], turn[turn.len() - 1]);
    let number = number(first);
    let shown = |frame: &Frame| String::from_utf8_lossy(&frame.raw).into_owned();
    let ends = turn.iter().filter(|frame| frame.is_terminal()).count();
    if ends != 1 || !last.is_terminal() {
        let last = shown(last);
        faults.add(
            "turns",
            format!("turn {number} has {ends} ends, and last {last:?}"),
        );
    }
    // A turn that never began, because the sidecar died, has nothing but its end.
    let begins = first.kind == "status" && first.data["status"] == "running";
    let broken = first.is_terminal() && (evidence.allowed.broken || evidence.allowed.cancelled);
    if !begins && !broken {
        let first = shown(first);
        faults.add("turns", format!("turn {number} begins with {first:?}"));
    }
    let mut progress = 0;
    for frame in turn {
        let now = frame.data["progress"].as_u64().unwrap_or(progress);
        if now < progress {
            faults.add(
                "progress",
                format!("{:?} goes back from {progress} to {now}", frame.id),
            );
        }
        progress = now;
    }
    let fits = match last.kind.as_str() {
        "complete" => true,
        "status" => evidence.allowed.cancelled,
        _ => evidence.allowed.broken && ENDS.contains(&last.text("code")),
    };
    if last.is_terminal() && !fits {
        faults.add("ends", format!("nothing explains {:?}", shown(last)));
    }
}

/// The numbers of turns that ended, and of those that ended well.
pub(super) fn ended(replay: &[Frame]) -> (Vec<u64>, Vec<u64>) {
    let ends = replay.iter().filter(|frame| frame.is_terminal());
    let is_well =
        |frame: &&Frame| frame.kind == "complete" && frame.text("finish_reason") != "rejected";
    let well = ends.clone().filter(is_well);
    (ends.map(number).collect(), well.map(number).collect())
}

/// Whether a session is idle behind event `at`: its last turn has ended, and no prompt could begin.
pub(super) fn is_idle(replay: &[Frame], at: usize) -> bool {
    let before = &replay[..=at];
    let last = before.iter().rfind(|frame| frame.kind != "prompt");
    let of = |state: &str| -> BTreeSet<u64> {
        let told = before.iter().filter(|frame| frame.kind == "prompt");
        told.filter(|frame| frame.text("state") == state)
            .map(number)
            .collect()
    };
    let queued = of("queued");
    let (held, withdrawn) = (of("held"), of("withdrawn"));
    let began = |turn: u64| {
        let mut own = before.iter().filter(|frame| frame.kind != "prompt");
        own.any(|frame| number(frame) == turn)
    };
    // A turn that was neither told of nor queued is beginning; until it runs, the session is idle for its readers.
    let newest = before.iter().map(number).filter(|turn| began(*turn)).max();
    let is_behind = |turn: u64| {
        let mut earlier = newest.map_or(1, |newest| newest + 1)..turn;
        earlier.any(|turn| !queued.contains(&turn))
    };
    let waits = |turn: &&u64| {
        let ended = held.contains(turn) || withdrawn.contains(turn) || began(**turn);
        !ended && !is_behind(**turn)
    };
    last.is_some_and(Frame::is_terminal) && queued.iter().find(waits).is_none()
}
