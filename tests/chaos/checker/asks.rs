//! Everything that the agent asks comes to one end, in its turn, and to the end that its clients were told.

use std::collections::BTreeMap;

use super::turns::number;
use super::{Evidence, Faults};
use crate::answerer::reply_of;
use crate::trace::Frame;

/// States of a request that are its end.
const ENDS: [&str; 3] = ["answered", "rejected", "withdrawn"];

pub(super) fn check(evidence: &Evidence, replay: &[Frame], faults: &mut Faults) {
    let (mut open, mut ends) = (BTreeMap::new(), BTreeMap::new());
    let mut rejected = 0;
    for frame in replay {
        let request = frame.text("request_id");
        let state = frame.text("state");
        let is_ask = matches!(frame.kind.as_str(), "permission" | "question");
        if is_ask && state == "asked" && open.insert(request, number(frame)).is_some() {
            faults.add(
                "asks",
                format!("{request} is asked twice, at {:?}", frame.id),
            );
        }
        if is_ask && ENDS.contains(&state) {
            let turn = open.remove(request);
            let by_rule = frame.text("by") == "rule";
            if turn != Some(number(frame)) && !by_rule {
                faults.add(
                    "asks",
                    format!(
                        "{request} ends at {:?} and was asked in turn {turn:?}",
                        frame.id
                    ),
                );
            }
            if ends.insert(request, frame).is_some() {
                faults.add(
                    "asks",
                    format!("{request} has a second end: {:?}", frame.id),
                );
            }
            if reply_of(&frame.data).as_deref() == Some("reject") {
                rejected = number(frame);
            }
        }
        if frame.is_terminal() && !open.is_empty() {
            faults.add(
                "asks",
                format!("the turn ends at {:?} without an end of {open:?}", frame.id),
            );
            open.clear();
        }
        if frame.text("finish_reason") == "rejected" && rejected != number(frame) {
            faults.add(
                "asks",
                format!("nobody rejected anything before {:?}", frame.id),
            );
        }
    }
    given(evidence, &ends, faults);
}

/// What clients were told of their answers is what the stream says.
fn given(evidence: &Evidence, ends: &BTreeMap<&str, &Frame>, faults: &mut Faults) {
    // What was told may not have reached the disk.
    if evidence.allowed.lost {
        return;
    }
    for given in &evidence.given {
        let end = ends.get(given.request.as_str());
        let by = end.map_or("", |end| end.text("by"));
        let reply = end.and_then(|end| reply_of(&end.data));
        let cut =
            evidence.allowed.broken && end.is_some_and(|end| end.text("state") == "withdrawn");
        let is_told = match (given.status, &given.earlier) {
            (200, _) => by == "client" && reply.as_deref() == Some(given.reply) || cut,
            (409, earlier @ Some(_)) => reply == *earlier || cut,
            // It ended without an answer, or there is no such request any more.
            (409, None) => end.is_some_and(|end| end.text("state") == "withdrawn"),
            (0 | 503, _) => true,
            (404, _) => evidence.allowed.broken,
            _ => false,
        };
        if !is_told {
            let end = end.map(|end| &end.data);
            faults.add(
                "asks",
                format!("a client was told {given:?}, and the stream {end:?}"),
            );
        }
    }
}
