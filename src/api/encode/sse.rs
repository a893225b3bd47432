//! The parts of an event stream that are not events of the log. Pure: values in, bytes out.
//!
//! Events arrive as finished frames from the log. What is written here has no id, so it never moves a
//! cursor, except the id-only block: it has no data, so a client dispatches nothing, and still takes
//! the id.

use std::time::Duration;

use bytes::Bytes;
use serde::Serialize;

use crate::session::log::{EventId, Gap};

/// The first bytes of a stream, so that the client sees at once that it is open.
pub(crate) fn opening(retry: Duration, gap: Option<&Gap>) -> Bytes {
    let gap = gap.map(gap_text).unwrap_or_default();
    format!(": ok\nretry: {}\n\n{gap}", retry.as_millis()).into()
}

/// The hole, then the place to go on from. A client cut off in between still has its old cursor, comes
/// back with it, and is told again.
pub(crate) fn gap(gap: &Gap) -> Bytes {
    gap_text(gap).into()
}

/// A sign of life. With an id first, if the reader has passed events it was not shown.
pub(crate) fn heartbeat(passed: Option<EventId>) -> Bytes {
    const HEARTBEAT: &str = "event: heartbeat\ndata: {}\n\n";
    passed.map_or(Bytes::from_static(HEARTBEAT.as_bytes()), |id| {
        format!("{}{HEARTBEAT}", id_only(id)).into()
    })
}

/// When to reconnect, for a reader whose server is about to end.
pub(crate) fn retry(after: Duration) -> Bytes {
    format!("retry: {}\n\n", after.as_millis()).into()
}

/// The data of a `gap`, as JSON.
pub(super) fn gap_data(gap: &Gap) -> String {
    let data = GapData {
        reason: gap.reason.as_str(),
        requested: &gap.requested,
        resume_after: gap.resume_after.to_string(),
        missed: gap.missed,
    };
    // Text and numbers always become JSON.
    serde_json::to_string(&data).unwrap_or_default()
}

fn gap_text(gap: &Gap) -> String {
    let data = gap_data(gap);
    format!("event: gap\ndata: {data}\n\n{}", id_only(gap.resume_after))
}

fn id_only(id: EventId) -> String {
    format!("id: {id}\n\n")
}

#[derive(Serialize)]
struct GapData<'a> {
    reason: &'static str,
    requested: &'a str,
    resume_after: String,
    missed: Option<u64>,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::session::log::{Epoch, GapReason, SseReader};

    fn a_gap() -> Gap {
        Gap {
            reason: GapReason::Invalid,
            requested: "\"\r\nevent: error\n\ndata: {}".into(),
            resume_after: Epoch::parse("abcdefghij").unwrap().at(4),
            missed: None,
        }
    }

    #[test]
    fn a_stream_opens_with_a_comment_and_a_retry_and_dispatches_nothing() {
        let bytes = opening(Duration::from_millis(1234), None);
        assert_eq!(bytes, ": ok\nretry: 1234\n\n");
        let mut reader = SseReader::default();
        assert_eq!(reader.read(&bytes), []);
        assert_eq!(reader.retry_ms, Some(1234));
    }

    #[test]
    fn a_gap_is_dispatched_under_the_old_cursor_and_moves_it_afterwards() {
        let mut reader = SseReader::with_cursor("old");
        let events = reader.read(&gap(&a_gap()));
        assert_eq!(
            events.len(),
            1,
            "the cursor cannot forge an event, and the id-only block is none"
        );
        assert_eq!(
            (events[0].kind.as_str(), events[0].id.as_str()),
            ("gap", "old")
        );
        assert_eq!(reader.last_event_id, "abcdefghij-4");
        let data: serde_json::Value = serde_json::from_str(&events[0].data).unwrap();
        assert_eq!(
            data,
            serde_json::json!({
                "reason": "invalid",
                "requested": "\"\r\nevent: error\n\ndata: {}",
                "resume_after": "abcdefghij-4",
                "missed": null,
            })
        );
    }

    #[test]
    fn a_drop_anywhere_in_a_gap_keeps_the_old_cursor_or_has_told_the_gap() {
        let bytes = gap(&a_gap());
        for cut in 0..bytes.len() {
            let mut reader = SseReader::with_cursor("old");
            let told = !reader.read(&bytes[..cut]).is_empty();
            assert!(told || reader.last_event_id == "old", "cut at {cut}");
        }
    }

    #[test]
    fn a_heartbeat_has_no_id_and_moves_a_cursor_only_over_what_was_passed() {
        let mut reader = SseReader::with_cursor("old");
        assert_eq!(reader.read(&heartbeat(None))[0].kind, "heartbeat");
        assert_eq!(reader.last_event_id, "old");
        let passed = Epoch::parse("abcdefghij").unwrap().at(9);
        assert_eq!(reader.read(&heartbeat(Some(passed))).len(), 1);
        assert_eq!(reader.last_event_id, "abcdefghij-9");
    }
}
