//! Frames of a session's stream as frames of the stream of all. Pure.

use super::filter::Filter;
use crate::journal::Entry;
use crate::session::log::{Epoch, EventId, frame};

/// Where frames go.
#[derive(Debug)]
pub(super) struct Place<'a> {
    /// That of the order.
    pub(super) epoch: Epoch,
    /// The positions of the events.
    pub(super) entry: Entry,
    pub(super) session_id: &'a str,
}

/// Appends those frames that the filter wants. Returns how many, and the position of the last of them.
///
/// A session's id is harmless within JSON, and an event's id is made of letters, digits and a dash.
pub(super) fn append(
    out: &mut Vec<u8>,
    frames: &[u8],
    place: &Place<'_>,
    filter: &Filter,
) -> (u64, Option<u64>) {
    let (mut count, mut last) = (0, None);
    for (kind, id, data) in frame::each(frames) {
        let Some(object) = data.strip_prefix(b"{") else {
            continue;
        };
        let Some(event) = EventId::parse(id).filter(|_| filter.wants_kind(kind)) else {
            continue;
        };
        let position = place.epoch.at(place.entry.position_of(event.seq));
        let comma = if object.starts_with(b"}") { "" } else { "," };
        out.extend_from_slice(
            format!(
                "event: {kind}\nid: {position}\ndata: {{\"session_id\":\"{}\",\"event_id\":\"{id}\"{comma}",
                place.session_id
            )
            .as_bytes(),
        );
        out.extend_from_slice(object);
        out.extend_from_slice(b"\n\n");
        count += 1;
        last = Some(position.seq);
    }
    (count, last)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn put(frames: &str, filter: &Filter) -> String {
        let place = Place {
            epoch: Epoch::parse("zzzzzzzzzz").unwrap(),
            entry: Entry {
                position: 100,
                number: 1,
                first: 7,
                last: 9,
            },
            session_id: "a-1",
        };
        let mut out = Vec::new();
        append(&mut out, frames.as_bytes(), &place, filter);
        String::from_utf8(out).unwrap()
    }

    fn frame(kind: &str, seq: u64, data: &str) -> String {
        format!("event: {kind}\nid: abcdefghij-{seq}\ndata: {data}\n\n")
    }

    #[test]
    fn a_frame_gets_the_id_of_its_position_and_says_whose_it_is() {
        let frames = frame("output", 7, r#"{"text":"\nid: x"}"#) + &frame("status", 9, "{}");
        assert_eq!(
            put(&frames, &Filter::default()),
            "event: output\nid: zzzzzzzzzz-100\n\
             data: {\"session_id\":\"a-1\",\"event_id\":\"abcdefghij-7\",\"text\":\"\\nid: x\"}\n\n\
             event: status\nid: zzzzzzzzzz-102\n\
             data: {\"session_id\":\"a-1\",\"event_id\":\"abcdefghij-9\"}\n\n"
        );
    }

    #[test]
    fn types_that_are_not_wanted_are_left_out() {
        let filter = Filter {
            kinds: ["status".to_owned()].into(),
            ..Filter::default()
        };
        let frames = frame("output", 7, "{}") + &frame("status", 8, "{}");
        let shown = put(&frames, &filter);
        assert!(shown.starts_with("event: status\nid: zzzzzzzzzz-101\n"));
        assert_eq!(shown.matches("event: ").count(), 1);
    }

    #[test]
    fn what_is_no_frame_is_left_out() {
        for odd in [
            "",
            "\n\n",
            "event: x\n\n",
            "event: x\nid: 1\ndata: {}\n\n",
            "x",
        ] {
            assert_eq!(put(odd, &Filter::default()), "", "{odd:?}");
        }
    }
}
