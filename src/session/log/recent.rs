//! The newest events of a log in short, for a diagnosis: what they are, not what they say; and what a tool printed last.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::EventLog;
use super::frame;
use super::ring::Read;
use crate::clock::Timestamp;
use crate::locks::Lock;
use crate::text;

/// So many events are told.
const EVENTS: usize = 10;

/// So many of the newest are looked through for the output of a tool.
const LOOKED_AT: u64 = 64;

/// The end of a tool's output that is told, in bytes.
const OUTPUT: usize = 500;

/// An event without what it says.
#[derive(Debug, PartialEq, Eq, Serialize, ToSchema)]
pub(crate) struct RecentEvent {
    id: String,
    event: String,
    turn: Option<u32>,
    timestamp: Timestamp,
}

/// What a tool printed last.
#[derive(Debug, PartialEq, Eq, Serialize, ToSchema)]
pub(crate) struct LastOutput {
    call_id: String,
    /// The end of the newest piece.
    text: String,
    timestamp: Timestamp,
}

/// What the data of any event have.
#[derive(Deserialize)]
struct Data {
    timestamp: String,
    turn: Option<u32>,
    source: Option<String>,
    call_id: Option<String>,
    text: Option<String>,
}

// === impl EventLog ===

impl EventLog {
    /// That of the ring.
    pub(crate) fn lock(&self) -> &dyn Lock {
        self.inner.buffer.lock()
    }

    /// The newest events that every reader sees, oldest first, and what a tool printed last, as far as memory has them.
    pub(crate) fn recent(&self) -> (Vec<RecentEvent>, Option<LastOutput>) {
        let upto = self.inner.watermark.head().seq;
        let mut after = upto.saturating_sub(LOOKED_AT);
        let (mut events, mut output) = (Vec::new(), None);
        while after < upto {
            match self.read(after, upto, false) {
                Read::Skipped { last } => after = last,
                // What is not published yet may be all that memory has.
                Read::Evicted { oldest } if oldest > upto => break,
                Read::Evicted { oldest } => after = oldest - 1,
                Read::Frames { bytes, last } => {
                    after = last;
                    for (event, id, data) in frame::each(&bytes) {
                        let Some((recent, printed)) = told(event, id, data) else {
                            continue;
                        };
                        events.push(recent);
                        output = printed.or(output);
                    }
                }
            }
        }
        events.drain(..events.len().saturating_sub(EVENTS));
        (events, output)
    }
}

fn told(event: &str, id: &str, data: &[u8]) -> Option<(RecentEvent, Option<LastOutput>)> {
    let data: Data = serde_json::from_slice(data).ok()?;
    let timestamp = Timestamp::parse(&data.timestamp)?;
    let printed = match (data.call_id, data.text) {
        (Some(call_id), Some(all))
            if event == "output" && data.source.as_deref() == Some("tool") =>
        {
            let text = text::tail(&all, OUTPUT).to_owned();
            Some(LastOutput {
                call_id,
                text,
                timestamp,
            })
        }
        _ => None,
    };
    let recent = RecentEvent {
        id: id.to_owned(),
        event: event.to_owned(),
        turn: data.turn,
        timestamp,
    };
    Some((recent, printed))
}

#[cfg(test)]
mod tests {
    use super::super::{Limits, log_with};
    use super::*;

    fn data(more: &str) -> String {
        format!(r#"{{"turn":2,"timestamp":"2026-12-01T10:00:00.000Z"{more}}}"#)
    }

    #[test]
    fn the_newest_ten_are_told_without_their_words_and_what_a_tool_printed_last() {
        let log = log_with(Limits {
            events: 100,
            bytes: 1 << 20,
        });
        assert_eq!(log.recent(), (Vec::new(), None));
        let printed = format!(
            ",\"source\":\"tool\",\"call_id\":\"c\",\"text\":\"{}ü\"",
            "x".repeat(800)
        );
        log.append("output", &data(&printed));
        let spoken = data(r#","source":"assistant","text":"words of the model""#);
        for _ in 0..12 {
            log.append("output", &spoken);
        }
        log.append("complete", "no object");
        let (events, output) = log.recent();
        let [first, .., last] = &events[..] else {
            panic!("{events:?}");
        };
        assert_eq!((events.len(), last.turn), (EVENTS, Some(2)));
        assert!(
            first.id.ends_with("-4") && last.id.ends_with("-13"),
            "{events:?}"
        );
        let told = serde_json::to_string(&events).unwrap();
        assert!(!told.contains("words"), "{told}");
        let output = output.unwrap();
        assert_eq!(output.call_id, "c");
        assert!(output.text.len() <= OUTPUT && output.text.ends_with("xü"));
    }
}
