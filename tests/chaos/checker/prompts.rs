//! No prompt that was accepted is forgotten, and none is run twice.

use std::collections::{BTreeMap, BTreeSet};

use super::turns::{ended, number};
use super::words::heard;
use super::{Evidence, Faults};
use crate::prompter::Told;
use crate::trace::Frame;

/// The number of the first turn, which begins with the session.
const FIRST: u64 = 1;

pub(super) fn check(evidence: &Evidence, replay: &[Frame], faults: &mut Faults) {
    for told in &evidence.told {
        if let Some(problem) = &told.problem {
            faults.add("prompts", problem);
        }
    }
    // What is lost may be accepted once more, and a number be given once more.
    if evidence.allowed.lost {
        return;
    }
    for told in &evidence.told {
        acceptance(evidence, replay, told, faults);
        runs(evidence, replay, told, faults);
    }
    numbers(evidence, replay, faults);
    for call in &evidence.calls {
        let mut seen = BTreeSet::new();
        let twice = call.prompts.iter().find(|name| !seen.insert(**name));
        if let Some(name) = twice {
            let (number, all) = (call.number, &call.prompts);
            faults.add(
                "twice",
                format!("the agent has prompt {name} twice in call {number}: {all:?}"),
            );
        }
    }
}

/// What the stream tells of prompts of turn `turn`.
fn notes<'a>(replay: &'a [Frame], turn: u64, state: &str) -> Vec<&'a Frame> {
    let notes = replay.iter().filter(|frame| frame.kind == "prompt");
    notes
        .filter(|frame| number(frame) == turn && frame.text("state") == state)
        .collect()
}

/// An accepted prompt comes to one end: that of its turn, or it is withdrawn, or it is held.
fn acceptance(evidence: &Evidence, replay: &[Frame], told: &Told, faults: &mut Faults) {
    let name = told.name;
    let Some(turn) = told.turn() else {
        return;
    };
    if is_lost(replay, name) {
        if !evidence.allowed.broken {
            faults.add(
                "forgotten",
                format!("prompt {name} was lost, and nothing explains it"),
            );
        }
        return;
    }
    let mut others = told.accepted.iter();
    if others.any(|(other, _)| *other != turn) || told.is_steered() && !told.all_steered() {
        let all = &told.accepted;
        faults.add("repeat", format!("prompt {name} was accepted as {all:?}"));
    }
    let (ended, _) = ended(replay);
    let ends = ended.iter().filter(|ended| **ended == turn).count();
    if told.is_steered() {
        steered(replay, (name, turn), ends, faults);
        return;
    }
    let withdrawn = notes(replay, turn, "withdrawn").len();
    let held = evidence.held.iter().filter(|held| **held == turn).count();
    if ends + withdrawn + held != 1 {
        faults.add(
            "forgotten",
            format!("prompt {name} of turn {turn} has {ends} ends, is withdrawn {withdrawn} times and held {held} times"),
        );
    }
    if withdrawn > 0 && !(told.withdrawing || evidence.allowed.withdrawn)
        || told.withdrawn && withdrawn == 0
    {
        let said = told.withdrawn;
        faults.add(
            "withdrawn",
            format!(
                "prompt {name} was withdrawn {withdrawn} times, and its client was told {said}"
            ),
        );
    }
    let queued = told
        .accepted
        .first()
        .is_some_and(|(_, status)| status == "queued");
    if queued && notes(replay, turn, "queued").len() != 1 {
        faults.add(
            "forgotten",
            format!("the stream does not tell that prompt {name} of turn {turn} was queued"),
        );
    }
}

/// The stream says that the agent does not have it after all, so that its client may say it again.
fn is_lost(replay: &[Frame], name: u32) -> bool {
    let own = format!("(prompt {name})");
    let mut notes = replay.iter().filter(|frame| frame.kind == "prompt");
    notes.any(|note| note.text("state") == "lost" && note.text("text").contains(&own))
}

/// The stream says once, before the end of the turn, that the prompt is part of it.
fn steered(replay: &[Frame], (name, turn): (u32, u64), ends: usize, faults: &mut Faults) {
    let own = format!("(prompt {name})");
    let end = replay
        .iter()
        .position(|frame| frame.is_terminal() && number(frame) == turn);
    let before = notes(&replay[..end.unwrap_or(replay.len())], turn, "steered");
    let all = notes(replay, turn, "steered");
    let count = |notes: &[&Frame]| {
        let own = notes.iter().filter(|note| note.text("text").contains(&own));
        own.count()
    };
    if (count(&before), count(&all), ends) != (1, 1, 1) {
        faults.add(
            "forgotten",
            format!(
                "prompt {name} was to be part of turn {turn}, which has {ends} ends and {all:?}"
            ),
        );
    }
}

/// A prompt is answered in its own turn only, and if that is complete it was answered.
fn runs(evidence: &Evidence, replay: &[Frame], told: &Told, faults: &mut Faults) {
    let name = told.name;
    let places = places(replay);
    let answers = evidence
        .calls
        .iter()
        .filter(|call| call.newest == Some(name));
    let answered: BTreeSet<u64> = answers
        .filter_map(|call| places.get(&call.number).copied())
        .collect();
    let reached = evidence
        .calls
        .iter()
        .any(|call| call.prompts.contains(&name));
    let turn = told.turn();
    // A turn that goes on with one that was broken off may have to say the words that had not come through.
    let next = turn.and_then(|turn| resumed(evidence, replay, turn));
    let is_own = |answered: &u64| {
        Some(*answered) == turn || next.is_some_and(|end| number(end) == *answered)
    };
    if !answered.iter().all(is_own) {
        faults.add(
            "twice",
            format!("prompt {name} of turn {turn:?} is answered in the turns {answered:?}"),
        );
    }
    let Some(turn) = turn else {
        let is_cancelled = told.refused.as_deref() == Some("conflict");
        if is_cancelled && !evidence.allowed.cancelled {
            faults.add(
                "prompts",
                format!("prompt {name} was cancelled, and nobody cancelled anything"),
            );
        }
        // A stop may come when its words are on their way; they stay in the conversation then.
        if reached && !is_cancelled {
            let code = &told.refused;
            faults.add(
                "twice",
                format!("prompt {name} was refused ({code:?}), and the agent has it"),
            );
        }
        return;
    };
    // An agent that was refused something stops, and what it was told last stays in the conversation.
    let (_, complete) = ended(replay);
    let is_complete = complete.contains(&turn) && !is_lost(replay, name);
    // One that comes together with another one is not answered by itself, and neither is one whose turn had to go on after
    // a fault.
    let is_run = evidence
        .calls
        .iter()
        .any(|call| call.prompts.contains(&name) && places.get(&call.number) == Some(&turn));
    if is_complete && !is_run {
        faults.add(
            "forgotten",
            format!("turn {turn} is complete without an answer to prompt {name}"),
        );
    }
    if !told.is_steered() && !reached && next.is_some_and(|end| end.kind == "complete") {
        faults.add(
            "forgotten",
            format!("turn {turn} was resumed and completed, and the agent never had prompt {name}"),
        );
    }
    let never = !told.is_steered()
        && (evidence.held.contains(&turn) || !notes(replay, turn, "withdrawn").is_empty());
    if never && reached {
        faults.add(
            "twice",
            format!("prompt {name} of turn {turn} was not to be run, and the agent has it"),
        );
    }
}

/// The end of the turn that a resume began to go on with turn `turn`, which was broken off.
fn resumed<'a>(evidence: &Evidence, replay: &'a [Frame], turn: u64) -> Option<&'a Frame> {
    let mut ends = replay.iter().filter(|frame| frame.is_terminal());
    let broken = ends.find(|end| number(end) == turn)?;
    let next = ends.next().filter(|_| broken.kind == "error")?;
    evidence.resumed.contains(&number(next)).then_some(next)
}

/// Every turn was asked for, once; and who was accepted later has the larger number.
fn numbers(evidence: &Evidence, replay: &[Frame], faults: &mut Faults) {
    let own = evidence.told.iter().filter(|told| !told.is_steered());
    let own: Vec<(&Told, u64)> = own.filter_map(|told| Some((told, told.turn()?))).collect();
    let mut asked = BTreeSet::from([FIRST]);
    let all = own.iter().map(|(_, turn)| turn).chain(&evidence.resumed);
    for turn in all {
        if !asked.insert(*turn) {
            faults.add("numbers", format!("two prompts have turn {turn}"));
        }
    }
    let (ended, _) = ended(replay);
    let unknown: Vec<&u64> = ended.iter().filter(|turn| !asked.contains(turn)).collect();
    if unknown.len() > usize::from(evidence.unsure) {
        faults.add("numbers", format!("nobody asked for the turns {unknown:?}"));
    }
    if let Some(turn) = evidence.resumed.iter().find(|turn| !ended.contains(turn)) {
        faults.add(
            "forgotten",
            format!("turn {turn}, which was resumed, has no end"),
        );
    }
    for (early, first) in &own {
        let mut later = own.iter().filter(|(late, _)| late.posted > early.answered);
        if let Some((late, second)) = later.find(|(_, second)| second < first) {
            let (early, late) = (early.name, late.name);
            faults.add(
                "numbers",
                format!(
                    "prompt {early} has turn {first}, and prompt {late}, which came later, {second}"
                ),
            );
        }
    }
}

/// In which turn each answer of the model was told.
fn places(replay: &[Frame]) -> BTreeMap<u32, u64> {
    let mut said: BTreeMap<u64, String> = BTreeMap::new();
    for frame in replay {
        if frame.kind == "output" && frame.text("source") == "assistant" {
            let text = said.entry(number(frame)).or_default();
            text.push_str(frame.text("text"));
        }
    }
    let answers = said.iter().flat_map(|(turn, text)| {
        let answers = heard(text).unwrap_or_default();
        answers.into_iter().map(|(answer, _)| (answer, *turn))
    });
    answers.collect()
}
