//! An event as JSON, within its bound.

use serde::Serialize;

use super::body::{Agent, Body, Event, Output};
use super::shrink::{escaped_len, shrink, split};
use crate::clock::Timestamp;

/// The most bytes of JSON one event may have.
pub(crate) const MAX_DATA: usize = 256 << 10;

/// The `data:` of an event: the fields of its type, then those that all have.
#[derive(Serialize)]
struct Data<'a> {
    #[serde(flatten)]
    body: &'a Body,
    #[serde(skip_serializing_if = "Option::is_none")]
    agent: Option<&'a Agent>,
    turn: u32,
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

/// Bytes kept free for what every event has besides its text: names, an agent, a timestamp.
const OVERHEAD: usize = 4 << 10;

// === impl Event ===

impl Event {
    /// The JSON of this event of the turn with this number, in as many pieces as its text needs.
    pub(crate) fn encode(&self, turn: u32) -> Vec<Encoded> {
        self.encode_within(turn, MAX_DATA)
    }

    fn encode_within(&self, turn: u32, max: usize) -> Vec<Encoded> {
        if let Body::Output(output) = &self.body {
            let limit = max.saturating_sub(OVERHEAD).max(16);
            if output.text.len() > limit / 6 && escaped_len(&output.text) > limit {
                return self.split_output(output, turn, (limit, max));
            }
        }
        let mut data = self.to_json(turn);
        if data.len() > max {
            data = shrink(&data, turn, max);
        }
        vec![self.encoded(data)]
    }

    fn split_output(
        &self,
        output: &Output,
        turn: u32,
        (limit, max): (usize, usize),
    ) -> Vec<Encoded> {
        let pieces = split(&output.text, limit).into_iter().enumerate();
        let pieces = pieces.flat_map(|(index, text)| {
            let piece = Output {
                text: text.to_owned(),
                truncated: output.truncated && index == 0,
                call_id: output.call_id.clone(),
                ..*output
            };
            let event = Self {
                agent: self.agent.clone(),
                ..Self::new(self.at, Body::Output(piece))
            };
            event.encode_within(turn, max)
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

    fn to_json(&self, turn: u32) -> String {
        let text = match &self.body {
            Body::Output(output) => output.text.len(),
            _ => 0,
        };
        let mut out = Vec::with_capacity(text + 192);
        let data = Data {
            body: &self.body,
            agent: self.agent.as_deref(),
            turn,
            timestamp: self.at,
        };
        // A map with string keys into memory: nothing here can fail.
        match serde_json::to_writer(&mut out, &data).map(|()| String::from_utf8(out)) {
            Ok(Ok(json)) => json,
            _ => "{}".to_owned(),
        }
    }
}
