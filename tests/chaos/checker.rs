//! Compares what clients saw with what is kept. Pure: evidence in, sentences about faults out.
//!
//! The truth is the replay of the whole log with the model's thoughts. Every client must have seen exactly
//! the events of it that it is shown, in order, each once, whatever happened to its connections.

mod chain;
mod order;
mod words;

use std::collections::{BTreeMap, HashMap, HashSet};

use crate::trace::{Frame, Trace};

/// Everything that is known about one session at the end of a round.
#[derive(Clone, Debug, Default)]
pub(crate) struct Evidence {
    pub(crate) traces: Vec<Trace>,
    /// A replay from the first event, with the thoughts. Nothing if the session does not exist any more.
    pub(crate) replay: Option<Vec<Frame>>,
    /// The same from the database.
    pub(crate) journal: Option<Vec<Frame>>,
    /// Its events in the stream of all, and the gaps there.
    pub(crate) ordered: Option<Vec<Frame>>,
    /// The turns it says it had.
    pub(crate) turns: u64,
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
    /// The client stopped it.
    pub(crate) stopped: bool,
}

/// Codes of an `error` that a fault of ours may end a turn with.
const ENDS: [&str; 3] = ["interrupted", "shutting_down", "engine_lost"];

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
            turns(evidence, replay, &mut faults);
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
    let seen = evidence.traces.iter().flat_map(|trace| {
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

/// Every turn has one end, and it is its last event.
fn turns(evidence: &Evidence, replay: &[Frame], faults: &mut Faults) {
    let ends: Vec<usize> = (0..replay.len())
        .filter(|at| replay[*at].is_terminal())
        .collect();
    if ends.last().map(|last| last + 1) != Some(replay.len()) {
        let last = replay
            .last()
            .map(|frame| String::from_utf8_lossy(&frame.raw));
        faults.add("turns", format!("the last event is no end: {last:?}"));
    }
    if u64::try_from(ends.len()) != Ok(evidence.turns) {
        let places: Vec<usize> = ends.iter().map(|end| end + 1).collect();
        faults.add(
            "turns",
            format!("{} turns have the ends {places:?}", evidence.turns),
        );
    }
    let mut starts = vec![0];
    starts.extend(
        ends.iter()
            .map(|end| end + 1)
            .filter(|start| *start < replay.len()),
    );
    for start in starts {
        let Some(first) = replay.get(start) else {
            continue;
        };
        // A turn that never began, because the sidecar died, has nothing but its end.
        let begins = first.kind == "status" && first.data["status"] == "running";
        let broken = first.is_terminal() && evidence.allowed.broken;
        if !begins && !broken {
            faults.add(
                "turns",
                format!(
                    "a turn begins with {:?}",
                    String::from_utf8_lossy(&first.raw)
                ),
            );
        }
        let mut progress = 0;
        for frame in &replay[start..] {
            let now = frame.data["progress"].as_u64().unwrap_or(progress);
            if now < progress {
                faults.add(
                    "progress",
                    format!("{:?} goes back from {progress} to {now}", frame.id),
                );
            }
            progress = now;
            if frame.is_terminal() {
                break;
            }
        }
    }
    for end in ends.iter().map(|end| &replay[*end]) {
        let fits = match end.kind.as_str() {
            "complete" => true,
            "status" => evidence.allowed.stopped,
            _ => evidence.allowed.broken && ENDS.contains(&end.text("code")),
        };
        if !fits {
            faults.add(
                "ends",
                format!("nothing explains {:?}", String::from_utf8_lossy(&end.raw)),
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
