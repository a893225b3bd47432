//! The stream of all events tells of a session what its own stream does.

use super::{Evidence, Faults};
use crate::trace::{Frame, Trace};

pub(super) fn order(evidence: &Evidence, replay: &[Frame], faults: &mut Faults) {
    if let Some(ordered) = &evidence.ordered {
        let ordered: Vec<&Frame> = ordered.iter().collect();
        once(evidence, &ordered, replay, faults);
    }
    if let Some(trace) = &evidence.all {
        let seen = followed(evidence, trace, faults);
        // Behind a gap of a log that was lost other events have these positions.
        let is_lost = seen.iter().any(|frame| frame.kind == "gap");
        if !is_lost {
            once(evidence, &seen, replay, faults);
        }
    }
}

/// A client's connections: each goes on where the one before was cut. Gives what it saw of the session.
fn followed<'a>(evidence: &Evidence, trace: &'a Trace, faults: &mut Faults) -> Vec<&'a Frame> {
    let name = &trace.name;
    if let Some(stuck) = &trace.stuck {
        faults.add("stuck", format!("{name}: {stuck}"));
    }
    let (mut seen, mut cursor) = (Vec::new(), None);
    for connection in &trace.connections {
        if connection.asked.as_deref() != cursor {
            let asked = &connection.asked;
            faults.add(
                "cursor",
                format!("{name} asked for {asked:?} and had {cursor:?}"),
            );
        }
        if !matches!(connection.status, 200 | 503) {
            faults.add("status", format!("{name} got {}", connection.status));
        }
        for frame in &connection.frames {
            cursor = frame.id.as_deref().or(cursor);
            if frame.kind == "gap" && !evidence.allowed.lost {
                faults.add("gap", format!("{name} was told {}", frame.data));
            }
            if frame.kind == "gap" || frame.text("session_id") == evidence.id {
                seen.push(frame);
            }
        }
    }
    seen
}

/// Each event once, in the session's order, with the same data, at growing positions.
fn once(evidence: &Evidence, ordered: &[&Frame], replay: &[Frame], faults: &mut Faults) {
    let mut own = replay.iter();
    let mut last = 0;
    for frame in ordered.iter().filter(|frame| frame.kind != "gap") {
        let id = frame.text("event_id");
        let position = frame.place().map_or(0, |(_, position)| position);
        if position <= last {
            faults.add("order", format!("{id} is at {position}, after {last}"));
        }
        last = position;
        let mut data = frame.data.clone();
        if let Some(fields) = data.as_object_mut() {
            fields.retain(|field, _| !matches!(field.as_str(), "session_id" | "event_id"));
        }
        let same = |own: &Frame| own.kind == frame.kind && own.data == data;
        match own.find(|own| own.id.as_deref() == Some(id)) {
            Some(found) if same(found) => {}
            Some(_) => faults.add("order", format!("{id} is another event in /events")),
            None => return faults.add("order", format!("{id} comes twice, or out of turn")),
        }
    }
    let told = ordered.iter().filter(|frame| frame.kind != "gap").count();
    let missing = replay.len().saturating_sub(told);
    let is_told = ordered.iter().any(|frame| frame.kind == "gap");
    if missing > 0 && !(is_told && evidence.allowed.lost) {
        faults.add("order", format!("{missing} events are not in /events"));
    }
}
