//! What a server writes to a WebSocket, in pieces of any size, as frames that can be compared with those of a stream.

use serde_json::Value;

use crate::support::ws::{CLOSE, PING, PONG, TEXT};
use crate::trace::Frame;

/// A message of the server.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Message {
    /// An event as its block in a stream would be; a gap is followed by the block with the id alone.
    Frame(Frame),
    Ping,
    Close(u16),
}

#[derive(Debug, Default)]
pub(crate) struct Messages {
    wire: Vec<u8>,
}

// === impl Messages ===

impl Messages {
    /// Takes bytes of the wire; gives the messages that are whole with them.
    pub(crate) fn feed(&mut self, bytes: &[u8]) -> Result<Vec<Message>, String> {
        self.wire.extend_from_slice(bytes);
        let mut found = Vec::new();
        while let Some((opcode, payload)) = self.next() {
            match opcode {
                TEXT => frames(&payload, &mut found)?,
                PING => found.push(Message::Ping),
                PONG => {}
                CLOSE => {
                    let code = payload.first_chunk().copied().unwrap_or_default();
                    found.push(Message::Close(u16::from_be_bytes(code)));
                }
                other => return Err(format!("a message with opcode {other}")),
            }
        }
        Ok(found)
    }

    /// The next frame of the protocol that is whole: a server sends whole messages, and does not mask.
    fn next(&mut self) -> Option<(u8, Vec<u8>)> {
        let [first, length, ..] = self.wire[..] else {
            return None;
        };
        let (from, length) = match length {
            126 => {
                let bytes = self.wire.get(2..4)?.try_into().ok()?;
                (4, usize::from(u16::from_be_bytes(bytes)))
            }
            127 => {
                let bytes = self.wire.get(2..10)?.try_into().ok()?;
                (10, usize::try_from(u64::from_be_bytes(bytes)).ok()?)
            }
            short => (2, usize::from(short)),
        };
        let payload = self.wire.get(from..from + length)?.to_vec();
        self.wire.drain(..from + length);
        Some((first & 0xf, payload))
    }
}

fn frames(payload: &[u8], found: &mut Vec<Message>) -> Result<(), String> {
    let text = std::str::from_utf8(payload).map_err(|error| error.to_string())?;
    let message: Value = serde_json::from_str(text).map_err(|error| format!("{error}: {text}"))?;
    let (id, kind) = (message["id"].as_str(), message["event"].as_str());
    // The very bytes of the data, as a stream has them.
    let data = text.split_once("\"data\":").map(|(_, behind)| behind);
    let data = data.and_then(|data| data.strip_suffix('}'));
    let (Some(kind), Some(data)) = (kind, data) else {
        return Err(format!("no message of the contract: {text}"));
    };
    let id_alone = |id: &str| format!("id: {id}\n\n");
    let blocks = match (kind, id) {
        ("heartbeat", None) => vec![],
        ("heartbeat", Some(id)) => vec![id_alone(id)],
        ("gap", _) => {
            let to = message["data"]["resume_after"].as_str().unwrap_or_default();
            vec![format!("event: gap\ndata: {data}\n\n"), id_alone(to)]
        }
        (kind, Some(id)) => vec![format!("event: {kind}\nid: {id}\ndata: {data}\n\n")],
        (kind, None) => return Err(format!("an event {kind} without an id: {text}")),
    };
    for block in blocks {
        found.extend(Frame::parse(block.as_bytes())?.map(Message::Frame));
    }
    Ok(())
}

#[test]
fn messages_in_single_bytes_are_the_same_messages() {
    let event = r#"{"id":"aaaaaaaaaa-1","event":"output","data":{"text":"{\"data\":1}"}}"#;
    let gap = r#"{"id":null,"event":"gap","data":{"resume_after":"aaaaaaaaaa-7"}}"#;
    let long = format!(
        r#"{{"id":"aaaaaaaaaa-2","event":"output","data":{{"text":"{}"}}}}"#,
        "x".repeat(300)
    );
    let mut wire = vec![0x80 | PING, 0];
    for text in [event, gap] {
        wire.extend([0x80 | TEXT, u8::try_from(text.len()).unwrap()]);
        wire.extend(text.as_bytes());
    }
    wire.extend([0x80 | TEXT, 126]);
    wire.extend(u16::try_from(long.len()).unwrap().to_be_bytes());
    wire.extend(long.as_bytes());
    wire.extend([0x80 | CLOSE, 2, 0x03, 0xe9]);
    let mut messages = Messages::default();
    let found: Vec<Message> = wire
        .iter()
        .flat_map(|byte| messages.feed(&[*byte]).unwrap())
        .collect();
    let frame = |block: &str| Message::Frame(Frame::parse(block.as_bytes()).unwrap().unwrap());
    assert_eq!(found[0], Message::Ping);
    assert_eq!(
        found[1],
        frame("event: output\nid: aaaaaaaaaa-1\ndata: {\"text\":\"{\\\"data\\\":1}\"}\n\n")
    );
    assert_eq!(
        found[2],
        frame("event: gap\ndata: {\"resume_after\":\"aaaaaaaaaa-7\"}\n\n")
    );
    assert_eq!(found[3], frame("id: aaaaaaaaaa-7\n\n"));
    assert!(matches!(&found[4], Message::Frame(frame) if frame.place() == Some(("aaaaaaaaaa", 2))));
    assert_eq!(found[5..], [Message::Close(1001)]);
}
