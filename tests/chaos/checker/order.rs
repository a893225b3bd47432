//! The stream of all events tells of a session what its own stream does.

use super::{Evidence, Faults};
use crate::trace::Frame;

/// Each event once, in the session's order, with the same data, at growing positions.
pub(super) fn order(evidence: &Evidence, replay: &[Frame], faults: &mut Faults) {
    let Some(ordered) = &evidence.ordered else {
        return;
    };
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
