//! Events as the frames of a WebSocket, ready for the wire. Pure: values in, bytes out.
//!
//! A server's frames are not masked, so they are the same bytes for every reader: a frame is made once and shared. Its text is
//! `{"id":…,"event":…,"data":…}`. What is no event of the log has the id null, so it never moves a cursor.

use std::io::Write as _;

use bytes::Bytes;

use super::sse;
use crate::session::log::{EventId, Gap};

/// One event of the log, as its frame for an event stream has it.
struct Event<'a> {
    id: &'a [u8],
    kind: &'a [u8],
    data: &'a [u8],
}

/// Where the frame of an event ends, in both encodings, counted from the start of the run it was read from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Mark {
    pub(crate) seq: u64,
    pub(crate) sse: usize,
    pub(crate) ws: usize,
}

/// A text frame that is whole in itself, from a server.
const TEXT: u8 = 0x81;

/// Turns frames of an event stream into frames of a WebSocket, until there are `enough` bytes. Each event is marked.
pub(crate) fn frames(sse: &[u8], enough: usize) -> (Vec<u8>, Vec<Mark>) {
    let (mut out, mut marks) = (Vec::with_capacity(sse.len().min(enough)), Vec::new());
    let mut taken = 0;
    while let Some((event, length)) = sse.get(taken..).and_then(first) {
        let parts: [&[u8]; 7] = [
            b"{\"id\":\"",
            event.id,
            b"\",\"event\":\"",
            event.kind,
            b"\",\"data\":",
            event.data,
            b"}",
        ];
        text(&mut out, &parts);
        taken += length;
        marks.push(Mark {
            seq: seq(event.id),
            sse: taken,
            ws: out.len(),
        });
        if out.len() >= enough {
            break;
        }
    }
    (out, marks)
}

/// The number of the first event of a run.
pub(crate) fn first_seq(sse: &[u8]) -> Option<u64> {
    first(sse).map(|(event, _)| seq(event.id))
}

/// A hole; the reader goes on from its `resume_after`.
pub(crate) fn gap(gap: &Gap) -> Bytes {
    message(&format!(
        r#"{{"id":null,"event":"gap","data":{}}}"#,
        sse::gap_data(gap)
    ))
}

/// The place of a reader that has passed events it is not shown.
pub(crate) fn heartbeat(passed: EventId) -> Bytes {
    message(&format!(
        r#"{{"id":"{passed}","event":"heartbeat","data":{{}}}}"#
    ))
}

/// One text as a frame.
pub(crate) fn message(json: &str) -> Bytes {
    let mut out = Vec::with_capacity(json.len() + 10);
    text(&mut out, &[json.as_bytes()]);
    out.into()
}

/// The first event of a run, and how many bytes its frame has. A frame is `event: k`, `id: e-s`, `data: {…}` and an empty line.
fn first(sse: &[u8]) -> Option<(Event<'_>, usize)> {
    let (kind, rest) = line(sse.strip_prefix(b"event: ")?)?;
    let (id, rest) = line(rest.strip_prefix(b"id: ")?)?;
    let (data, rest) = line(rest.strip_prefix(b"data: ")?)?;
    let rest = rest.strip_prefix(b"\n")?;
    Some((Event { id, kind, data }, sse.len() - rest.len()))
}

fn line(text: &[u8]) -> Option<(&[u8], &[u8])> {
    let end = memchr::memchr(b'\n', text)?;
    Some((text.get(..end)?, text.get(end + 1..)?))
}

fn seq(id: &[u8]) -> u64 {
    let id = std::str::from_utf8(id).ok().and_then(EventId::parse);
    id.map_or(0, |id| id.seq)
}

fn text(out: &mut Vec<u8>, parts: &[&[u8]]) {
    let length: usize = parts.iter().map(|part| part.len()).sum();
    out.push(TEXT);
    match (u8::try_from(length), u16::try_from(length)) {
        (Ok(short @ ..126), _) => out.push(short),
        (_, Ok(medium)) => {
            out.push(126);
            out.extend_from_slice(&medium.to_be_bytes());
        }
        _ => {
            out.push(127);
            out.extend_from_slice(&(length as u64).to_be_bytes());
        }
    }
    for part in parts {
        // A Vec takes everything.
        out.write_all(part).ok();
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};
    use tungstenite::Message;
    use tungstenite::protocol::{Role, WebSocketContext};

    use super::*;
    use crate::session::log::{
        Cursor, Epoch, GapReason, Limits, Opening, Requested, Step, View, log_with,
    };

    /// What a client that nobody here wrote reads.
    fn read(wire: &[u8]) -> Vec<Value> {
        let mut socket = std::io::Cursor::new(wire.to_vec());
        let mut client = WebSocketContext::new(Role::Client, None);
        std::iter::from_fn(|| match client.read(&mut socket) {
            Ok(Message::Text(text)) => Some(serde_json::from_str(&text).unwrap()),
            Ok(other) => panic!("{other:?}"),
            Err(_) => None,
        })
        .collect()
    }

    #[test]
    fn frames_of_every_length_are_read_as_they_were_appended() {
        let log = log_with(Limits::default());
        let texts: Vec<String> = [0, 1, 60, 200, 70_000]
            .map(|length| "ü🌍\"".repeat(length))
            .into();
        for text in &texts {
            log.append("output", &json!({ "text": text }).to_string());
        }
        let mut run = Vec::new();
        let Opening::Reading { mut cursor, .. } =
            Cursor::open(&log, &Requested::Earliest, View::default())
        else {
            panic!("there are events");
        };
        while let Some(Step::Frames(bytes)) = futures_util::FutureExt::now_or_never(cursor.next()) {
            run.extend_from_slice(&bytes);
        }
        let (wire, marks) = frames(&run, usize::MAX);
        let seen = read(&wire);
        assert_eq!(seen.len(), texts.len());
        for ((event, text), seq) in seen.iter().zip(&texts).zip(1..) {
            let expected = json!({
                "id": format!("abcdefghij-{seq}"),
                "event": "output",
                "data": { "text": text },
            });
            assert_eq!(*event, expected);
        }
        assert_eq!(
            marks.last().map(|mark| (mark.seq, mark.sse, mark.ws)),
            Some((5, run.len(), wire.len()))
        );
        for (mark, seq) in marks.iter().zip(1..) {
            assert_eq!(mark.seq, seq);
            assert_eq!(first_seq(&run[mark.sse..]), (seq < 5).then_some(seq + 1));
        }
        let (some, marks) = frames(&run, 1);
        assert_eq!(
            (read(&some).len(), marks.len()),
            (1, 1),
            "no more than enough"
        );
    }

    #[test]
    fn what_is_no_event_of_the_log_has_no_id() {
        let epoch = Epoch::parse("abcdefghij").unwrap();
        let hole = Gap {
            reason: GapReason::Invalid,
            requested: "\"}\n".into(),
            resume_after: epoch.at(4),
            missed: None,
        };
        let data = json!({"reason": "invalid", "requested": "\"}\n", "resume_after": "abcdefghij-4", "missed": null});
        assert_eq!(
            read(&gap(&hole)),
            [json!({"id": null, "event": "gap", "data": data})]
        );
        assert_eq!(
            read(&heartbeat(epoch.at(7))),
            [json!({"id": "abcdefghij-7", "event": "heartbeat", "data": {}})]
        );
    }

    #[test]
    fn what_is_no_frame_is_left_alone() {
        for odd in [&b""[..], b"event: output", b"id: a\n\n", b": ok\n\n"] {
            assert_eq!(frames(odd, 10), (Vec::new(), Vec::new()));
            assert_eq!(first_seq(odd), None);
        }
    }
}
