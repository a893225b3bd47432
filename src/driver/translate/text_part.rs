//! A text of the model that is being written, and how much of it is published.

use std::sync::Arc;

use crate::clock::Timestamp;
use crate::event::{Agent, Body, Channel, Event, Note, Output, Source};
use crate::opencode::types as oc;

/// The note of a text of which nothing more is to be published: larger than any, and small enough for a
/// database.
const ALL: u64 = i64::MAX as u64;

#[derive(Debug, Default)]
pub(super) struct TextPart {
    pub(super) id: Arc<str>,
    /// Empty until it is known.
    pub(super) message: String,
    pub(super) agent: Option<Arc<Agent>>,
    /// `None` until a snapshot says what it is.
    pub(super) source: Option<Source>,
    /// Whether every delta was seen, so that the next one continues what is published.
    pub(super) live: bool,
    pub(super) published: String,
    /// Bytes that another process published; their words are not known.
    pub(super) published_before: u64,
    /// Half a character, waiting for its other half.
    pub(super) half: Option<u16>,
    /// Deltas that may have a gap before them.
    pub(super) held: String,
    /// The text as a snapshot had it, while it is not known whose message it is.
    pub(super) waiting: Option<Snapshot>,
}

/// The state of a text part as OpenCode stored it.
#[derive(Debug)]
pub(super) struct Snapshot {
    pub(super) session: String,
    pub(super) message: String,
    pub(super) text: oc::Text,
    pub(super) ended: bool,
    pub(super) source: Source,
}

// === impl TextPart ===

impl TextPart {
    /// A text of which another process published the first `bytes`.
    pub(super) fn restore(id: &str, bytes: u64) -> Self {
        Self {
            id: id.into(),
            published_before: bytes,
            ..Self::default()
        }
    }

    /// From here on deltas may be missing.
    pub(super) fn hold(&mut self) {
        self.live = false;
        self.half = None;
    }

    /// The held text when no final form will come any more. Nothing while it is not known to be for the
    /// client.
    pub(super) fn give_up(&mut self, now: Timestamp) -> Option<Event> {
        let held = std::mem::take(&mut self.held);
        let source = self.source?;
        if held.is_empty() || self.waiting.is_some() {
            return None;
        }
        Some(Event {
            // Where it stands in the final text is not known.
            note: Some(self.note(ALL)),
            ..self.continued(source, held, true, now)
        })
    }

    /// More of the text; `truncated`: something before it is missing. The note of the event counts all that
    /// is published, this event included.
    pub(super) fn continued(
        &mut self,
        source: Source,
        text: String,
        truncated: bool,
        now: Timestamp,
    ) -> Event {
        let length = self.length() + text.len() as u64;
        self.published.push_str(&text);
        let output = Output {
            channel: Channel::Stdout,
            source,
            text,
            call_id: None,
            truncated,
        };
        Event {
            agent: self.agent.clone(),
            note: Some(self.note(length)),
            ..Event::new(now, Body::Output(output))
        }
    }

    fn note(&self, value: u64) -> Note {
        Note {
            part: self.id.clone(),
            value,
        }
    }

    /// Bytes published so far.
    pub(super) fn length(&self) -> u64 {
        self.published_before.max(self.published.len() as u64)
    }

    /// What of `text` is not published, if it continues what is.
    pub(super) fn rest_of<'a>(&self, text: &'a str) -> Option<&'a str> {
        if self.published_before == 0 {
            return text.strip_prefix(&*self.published);
        }
        let bytes = usize::try_from(self.published_before).unwrap_or(usize::MAX);
        // Events are cut between characters, so only another text has no boundary there.
        text.get(text.floor_char_boundary(bytes)..)
    }
}
