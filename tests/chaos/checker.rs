//! Compares what clients saw with what is kept. Pure: evidence in, sentences about faults out.
//!
//! The truth is the replay of the whole log with the model's thoughts. Every client must have seen exactly
//! the events of it that it is shown, in order, each once, whatever happened to its connections.

mod asks;
mod chain;
mod order;
mod prompts;
mod turns;
mod words;

use std::collections::{BTreeMap, HashMap, HashSet};

use crate::answerer::Given;
use crate::model::Call;
use crate::prompter::Told;
use crate::trace::{Frame, Trace};

/// Everything that is known about one session at the end of a round.
#[derive(Clone, Debug, Default)]
pub(crate) struct Evidence {
    /// Of the session.
    pub(crate) id: String,
    pub(crate) traces: Vec<Trace>,
    /// A replay from the first event, with the thoughts. Nothing if the session does not exist any more.
    pub(crate) replay: Option<Vec<Frame>>,
    /// The same from the database.
    pub(crate) journal: Option<Vec<Frame>>,
    /// Its events in the stream of all, and the gaps there.
    pub(crate) ordered: Option<Vec<Frame>>,
    /// What a client saw in the stream of all, of other sessions too.
    pub(crate) all: Option<Trace>,
    /// The calls of the model, in order.
    pub(crate) calls: Vec<Call>,
    /// What the clients know of their prompts.
    pub(crate) told: Vec<Told>,
    /// What they answered when the agent asked.
    pub(crate) given: Vec<Given>,
    /// Turns that a resume began; and whether there may be one more of which no client heard.
    pub(crate) resumed: Vec<u64>,
    pub(crate) unsure: bool,
    /// Turns of prompts that wait for a key at the end.
    pub(crate) held: Vec<u64>,
    pub(crate) allowed: Allowed,
    /// How many words each answer of the model has.
    pub(crate) words: u32,
    pub(crate) thoughts: u32,
    pub(crate) lines: u32,
    pub(crate) key: String,
}

/// What the faults of the round may have done.
#[derive(Clone, Copy, Debug, Default)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "independent facts, each named where it is read"
)]
pub(crate) struct Allowed {
    /// Turns may be broken off, and so may answers of the model.
    pub(crate) broken: bool,
    /// Streams may end without a terminal event.
    pub(crate) sent_home: bool,
    /// Events may be lost that were shown: the log has another epoch then.
    pub(crate) lost: bool,
    /// A client cancelled turns: by a stop, or by a prompt that came first.
    pub(crate) cancelled: bool,
    /// A client stopped it, which withdraws the prompts that wait.
    pub(crate) withdrawn: bool,
}

/// One sentence for each fault, with the rule's name first.
pub(crate) fn check(evidence: &Evidence) -> Vec<String> {
    let mut faults = Faults(Vec::new());
    same_bytes(evidence, &mut faults);
    for trace in &evidence.traces {
        chain::chain(evidence, trace, &mut faults);
    }
    no_key(evidence, &mut faults);
    match (&evidence.replay, &evidence.journal) {
        (Some(replay), Some(journal)) => {
            contiguous(replay, &mut faults);
            let ids = |frames: &[Frame]| -> Vec<Option<String>> {
                frames.iter().map(|frame| frame.id.clone()).collect()
            };
            if ids(replay) != ids(journal) {
                faults.add(
                    "journal",
                    format!(
                        "the replay has {} events and the database {}",
                        replay.len(),
                        journal.len()
                    ),
                );
            }
            order::order(evidence, replay, &mut faults);
            turns::check(evidence, replay, &mut faults);
            prompts::check(evidence, replay, &mut faults);
            asks::check(evidence, replay, &mut faults);
            tools(replay, &mut faults);
            words::check(evidence, replay, &mut faults);
        }
        (None, None) if evidence.allowed.lost => {}
        (replay, journal) => faults.add(
            "journal",
            format!(
                "the session is gone: replayed {}, in the database {}",
                replay.is_some(),
                journal.is_some()
            ),
        ),
    }
    faults.0
}

#[derive(Debug)]
struct Faults(Vec<String>);

// === impl Faults ===

impl Faults {
    /// A rule broken a hundred times is told a few times.
    fn add(&mut self, rule: &str, sentence: impl std::fmt::Display) {
        let said = self
            .0
            .iter()
            .filter(|fault| fault.starts_with(rule))
            .count();
        if said < 5 {
            self.0.push(format!("{rule}: {sentence}"));
        }
    }
}

fn all_frames(evidence: &Evidence) -> impl Iterator<Item = (&str, &Frame)> {
    let traces = evidence.traces.iter().chain(&evidence.all);
    let seen = traces.flat_map(|trace| {
        let frames = trace
            .connections
            .iter()
            .flat_map(|connection| &connection.frames);
        frames.map(|frame| (trace.name.as_str(), frame))
    });
    let kept = [
        ("the replay", &evidence.replay),
        ("the database", &evidence.journal),
        ("the stream of all", &evidence.ordered),
    ];
    seen.chain(kept.into_iter().flat_map(|(name, frames)| {
        let frames = frames.as_deref().unwrap_or_default();
        frames.iter().map(move |frame| (name, frame))
    }))
}

fn same_bytes(evidence: &Evidence, faults: &mut Faults) {
    let mut known: HashMap<&str, (&str, &[u8])> = HashMap::new();
    for (name, frame) in all_frames(evidence) {
        let (Some(id), false) = (&frame.id, frame.kind.is_empty()) else {
            continue;
        };
        let (first, raw) = known.entry(id).or_insert((name, &frame.raw));
        if *raw != frame.raw {
            faults.add(
                "bytes",
                format!(
                    "{first} has {:?} and {name} has {:?}",
                    String::from_utf8_lossy(raw),
                    String::from_utf8_lossy(&frame.raw)
                ),
            );
        }
    }
}

fn no_key(evidence: &Evidence, faults: &mut Faults) {
    for (name, frame) in all_frames(evidence) {
        if String::from_utf8_lossy(&frame.raw).contains(&evidence.key) {
            faults.add("key", format!("{name} was shown the key in {:?}", frame.id));
        }
    }
}

/// The truth itself: from 1 on, without a hole, in one epoch.
fn contiguous(replay: &[Frame], faults: &mut Faults) {
    let epoch = replay
        .first()
        .and_then(Frame::place)
        .map(|(epoch, _)| epoch);
    for (frame, number) in replay.iter().zip(1..) {
        if frame.kind == "gap" {
            return faults.add("hole", format!("the replay has a gap: {}", frame.data));
        }
        if frame.place() != epoch.map(|epoch| (epoch, number)) {
            return faults.add(
                "hole",
                format!("event {number} of the replay is {:?}", frame.id),
            );
        }
    }
}

/// Every call has one result, behind it and in the same turn.
fn tools(replay: &[Frame], faults: &mut Faults) {
    let (mut open, mut all) = (HashSet::new(), HashSet::new());
    for frame in replay {
        let call = frame.text("call_id");
        match frame.kind.as_str() {
            "tool_call" if !(all.insert(call) && open.insert(call)) => {
                faults.add(
                    "tools",
                    format!("the call {call} is told twice, at {:?}", frame.id),
                );
            }
            "tool_result" if !open.remove(call) => {
                faults.add(
                    "tools",
                    format!("a result of {call} without a call, at {:?}", frame.id),
                );
            }
            "output" if frame.data["source"] == "tool" && !open.contains(call) => {
                faults.add(
                    "tools",
                    format!("{call} prints and does not run, at {:?}", frame.id),
                );
            }
            _ => {}
        }
        if frame.is_terminal() && !open.is_empty() {
            faults.add(
                "tools",
                format!(
                    "the turn ends at {:?} without results of {open:?}",
                    frame.id
                ),
            );
            open.clear();
        }
    }
}

/// Text by the answer or the call it belongs to.
type Texts<'a> = BTreeMap<&'a str, String>;

#[cfg(test)]
mod tests;
