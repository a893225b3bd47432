//! An event as JSON, within its bound.

use serde::Serialize;

use super::shrink::{escaped_len, shrink, split};
use super::{Agent, Body, Event, MAX_DATA, Output};
use crate::clock::Timestamp;

/// The `data:` of an event: the fields of its type, then those that all have.
#[derive(Serialize)]
struct Data<'a> {
    #[serde(flatten)]
    body: &'a Body,
    #[serde(skip_serializing_if = "Option::is_none")]
    agent: Option<&'a Agent>,
    timestamp: Timestamp,
}

/// An event ready to get an id.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Encoded {
    pub(crate) kind: &'static str,
    /// One line of JSON, at most [`MAX_DATA`] bytes.
    pub(crate) data: String,
    pub(crate) terminal: bool,
    pub(crate) reasoning: bool,
}

/// What every event has besides its text: names, an agent, a timestamp.
const FRAME_ROOM: usize = 4 << 10;

// === impl Event ===

impl Event {
    /// The JSON of this event, in as many pieces as its text needs.
    pub(crate) fn encode(&self) -> Vec<Encoded> {
        self.encode_within(MAX_DATA)
    }

    pub(super) fn encode_within(&self, max: usize) -> Vec<Encoded> {
        if let Body::Output(output) = &self.body {
            let room = max.saturating_sub(FRAME_ROOM).max(16);
            if output.text.len() > room / 6 && escaped_len(&output.text) > room {
                return self.split_output(output, room, max);
            }
        }
        let mut data = self.to_json();
        if data.len() > max {
            data = shrink(&data, max);
        }
        vec![self.encoded(data)]
    }

    fn split_output(&self, output: &Output, room: usize, max: usize) -> Vec<Encoded> {
        let pieces = split(&output.text, room).into_iter().enumerate();
        let pieces = pieces.flat_map(|(index, text)| {
            let piece = Output {
                text: text.to_owned(),
                truncated: output.truncated && index == 0,
                call_id: output.call_id.clone(),
                ..*output
            };
            let body = Body::Output(piece);
            Self {
                at: self.at,
                agent: self.agent.clone(),
                body,
                note: None,
            }
            .encode_within(max)
        });
        pieces.collect()
    }

    fn encoded(&self, data: String) -> Encoded {
        Encoded {
            kind: self.kind(),
            data,
            terminal: self.is_terminal(),
            reasoning: self.is_reasoning(),
        }
    }

    fn to_json(&self) -> String {
        let text = match &self.body {
            Body::Output(output) => output.text.len(),
            _ => 0,
        };
        let mut out = Vec::with_capacity(text + 192);
        let data = Data {
            body: &self.body,
            agent: self.agent.as_deref(),
            timestamp: self.at,
        };
        // A map with string keys into memory: nothing here can fail.
        match serde_json::to_writer(&mut out, &data).map(|()| String::from_utf8(out)) {
            Ok(Ok(json)) => json,
            _ => "{}".to_owned(),
        }
    }
}
