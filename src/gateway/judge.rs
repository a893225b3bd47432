//! Judges a streamed answer while it passes: is it an answer that OpenCode ends its turn on?
//!
//! OpenCode takes an answer without a known end for "call me again", at once and for ever. So whole events
//! are looked at before they go on: they have to be of the dialect, there has to be content, and the
//! stream has to end as the dialect ends. A text whose end is missing gets one; anything else that is not
//! an answer comes back as a [`Fault`]. Pure; knows no clock, no HTTP and no network.
//!
//! An event that has not arrived whole is held: no client can read half an event, so nothing is delayed.
//! Consecutive texts of one shape, nearly all of a stream, are recognised by their frame and not parsed.

mod chat;
mod messages;
mod passed;
mod responses;
mod split;
#[cfg(test)]
mod tests;
mod text;

use std::borrow::Cow;
use std::hash::{DefaultHasher, Hasher as _};

use bytes::{Bytes, BytesMut};

use super::redact::Redactor;
use crate::provider::Dialect;
use chat::Chat;
use messages::Messages;
use passed::Passed;
pub(super) use passed::Taken;
use responses::Responses;
use split::{Cursor, Start};
use text::{Shape, TextAt};

/// No event of a provider is longer: the longest repeat a whole answer.
const MAX_EVENT: usize = 4 << 20;
/// So much of the beginning is kept, for the sentence that says what came instead of an answer.
const START: usize = 1024;
/// So much of the content decides whether two answers are the same.
const DIGESTED: usize = 4 << 10;

/// Why this is no answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Fault {
    /// What is wrong with it, to follow "the provider's answer cannot be used: ".
    Bad(&'static str),
    /// The provider says in an event that it failed: the event's JSON, redacted.
    Told(String),
}

/// What a whole answer was.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Answered {
    /// The same for two answers that say the same.
    pub(super) digest: u64,
    /// Its end was missing, and the gateway made one.
    pub(super) unended: bool,
}

/// Judges one answer.
#[derive(Debug)]
pub(super) struct Judge {
    dialect: Dialect,
    redactor: Redactor,
    machine: Machine,
    /// Of an event that is not whole yet.
    held: BytesMut,
    cursor: Cursor,
    is_stream: bool,
    shape: Option<Shape>,
    start: Vec<u8>,
    digest: Digest,
}

/// What the judge knows of the dialect's events.
#[derive(Debug)]
enum Machine {
    Chat(Chat),
    Responses(Responses),
    Messages(Messages),
}

/// What becomes of one event.
#[derive(Debug, PartialEq, Eq)]
enum Step {
    Pass,
    /// Goes on, and what was said is found at this place of it.
    Text(TextAt),
    /// Goes on behind these bytes.
    Behind(String),
    /// The child could not read it.
    Drop,
    Bad(&'static str),
    /// The provider's own error.
    Failed,
}

/// What a stream that has ended was.
#[derive(Debug, PartialEq, Eq)]
enum Ending {
    Whole,
    /// With these events it is whole.
    Mended {
        events: String,
        /// Whether the provider had left it open; else only its reason was wrong.
        unended: bool,
    },
    Bad(&'static str),
}

/// A digest of what was said, of bounded cost.
#[derive(Debug, Default)]
struct Digest {
    hasher: DefaultHasher,
    length: usize,
}

pub(super) const NO_CONTENT: &str = "its stream ended without any content";
pub(super) const CUT_CALL: &str = "its stream ended in the middle of a tool call";
pub(super) const ONLY_REASONING: &str = "its stream ended after the reasoning, without an answer";
pub(super) const UNNAMED_CALL: &str = "a tool call in it has no id or no name";
pub(super) const SAME_INDEX: &str = "two tool calls in it have the same index";
pub(super) const FOREIGN: &str = "it holds an event that is not of the provider's dialect";
pub(super) const BROKE_OFF: &str = "its stream broke off before there was any content";

/// An event as the two dialects write it that name their events.
fn named(kind: &str, event: &serde_json::Value) -> String {
    format!("event: {kind}\ndata: {event}\n\n")
}

// === impl Judge ===

impl Judge {
    pub(super) fn new(dialect: Dialect, redactor: Redactor) -> Self {
        Self {
            dialect,
            redactor,
            machine: match dialect {
                Dialect::Chat => Machine::Chat(Chat::default()),
                Dialect::Responses => Machine::Responses(Responses::default()),
                Dialect::Messages => Machine::Messages(Messages::default()),
            },
            held: BytesMut::new(),
            cursor: Cursor::default(),
            is_stream: false,
            shape: None,
            start: Vec::new(),
            digest: Digest::default(),
        }
    }

    /// Whether something was said that may be shown.
    pub(super) fn has_content(&self) -> bool {
        match &self.machine {
            Machine::Chat(chat) => chat.has_content(),
            Machine::Responses(responses) => responses.has_content(),
            Machine::Messages(messages) => messages.has_content(),
        }
    }

    pub(super) const fn dialect(&self) -> Dialect {
        self.dialect
    }

    /// Whether too little has come to say what came instead of a stream.
    pub(super) const fn wants_beginning(&self) -> bool {
        !self.is_stream && self.start.len() < START
    }

    pub(super) fn note_beginning(&mut self, chunk: &[u8]) {
        let missing = START.saturating_sub(self.start.len()).min(chunk.len());
        self.start
            .extend_from_slice(chunk.get(..missing).unwrap_or_default());
    }

    /// What is wrong with the answer, for people.
    pub(super) fn sentence(&self, why: &str) -> String {
        let mut sentence = format!("the provider's answer cannot be used: {why}");
        let quote = self.redactor.quote(&self.start);
        if !quote.is_empty() {
            sentence.push_str("; it begins: ");
            sentence.push_str(&quote);
        }
        sentence
    }

    /// Takes the next bytes; what is whole and right of them may go on.
    pub(super) fn take(&mut self, chunk: &Bytes) -> Taken {
        self.note_beginning(chunk);
        if self.held.is_empty() {
            let (passed, fault, used) = self.look(chunk);
            self.held
                .extend_from_slice(chunk.get(used..).unwrap_or_default());
            return passed.taken(chunk, fault);
        }
        let mut data = std::mem::take(&mut self.held);
        data.extend_from_slice(chunk);
        let (passed, fault, used) = self.look(&data);
        let whole = data.split_to(used).freeze();
        self.held = data;
        passed.taken(&whole, fault)
    }

    /// The end of the body: what has to follow, or why it is no answer.
    pub(super) fn end(&mut self) -> (Taken, Option<Answered>) {
        let mut pass = String::new();
        let rest = std::mem::take(&mut self.held);
        if !self.is_stream {
            let why = if rest.trim_ascii().is_empty() {
                "it is empty"
            } else {
                "it is not an event stream"
            };
            return (Taken::bad(why), None);
        }
        // An event without its blank line is lost to the child's client; half of one it could not read.
        if !rest.trim_ascii().is_empty() {
            match self.event(&rest) {
                Step::Pass | Step::Text(_) => {
                    pass.push_str(&String::from_utf8_lossy(rest.trim_ascii()));
                    pass.push_str("\n\n");
                }
                Step::Behind(before) => {
                    pass.push_str(&before);
                    pass.push_str(&String::from_utf8_lossy(rest.trim_ascii()));
                    pass.push_str("\n\n");
                }
                Step::Failed => return (Taken::fault(self.told(&rest)), None),
                Step::Drop | Step::Bad(_) => {}
            }
        }
        let ending = match &mut self.machine {
            Machine::Chat(chat) => chat.end(),
            Machine::Responses(responses) => responses.end(),
            Machine::Messages(messages) => messages.end(),
        };
        let unended = match ending {
            Ending::Whole => false,
            Ending::Mended { events, unended } => {
                pass.push_str(&events);
                unended
            }
            Ending::Bad(why) => {
                let fault = Some(Fault::Bad(why));
                let pass = Bytes::from(pass);
                return (Taken { pass, fault }, None);
            }
        };
        let answered = Answered {
            digest: self.digest.finish(),
            unended,
        };
        let pass = Bytes::from(pass);
        (Taken { pass, fault: None }, Some(answered))
    }

    /// Looks at every whole event of `data`, and says how far that goes.
    fn look(&mut self, data: &[u8]) -> (Passed, Option<Fault>, usize) {
        if !self.is_stream {
            match split::start(data) {
                Start::Stream => self.is_stream = true,
                Start::Unknown => return (Passed::default(), None, 0),
                Start::Other => {
                    let fault = Fault::Bad("it is not an event stream");
                    return (Passed::default(), Some(fault), data.len());
                }
            }
        }
        let mut out = Passed::default();
        let (mut at, mut same_from) = (0, 0);
        let mut fault = None;
        while let Some(end) = self.cursor.event_end(data) {
            let event = data.get(at..end).unwrap_or_default();
            let (begin, next) = (at, end);
            at = end;
            self.cursor = Cursor::at(end);
            if let Some(said) = self.shape.as_ref().and_then(|shape| shape.said(event)) {
                self.digest.add(said);
                continue;
            }
            match self.event(event) {
                Step::Pass | Step::Text(_) => {}
                Step::Behind(before) => {
                    out.range(same_from..begin);
                    out.made(before);
                    same_from = begin;
                }
                Step::Drop => {
                    out.range(same_from..begin);
                    same_from = next;
                }
                Step::Bad(why) => fault = Some(Fault::Bad(why)),
                Step::Failed => fault = Some(self.told(event)),
            }
            if fault.is_some() {
                out.range(same_from..begin);
                return (out, fault, data.len());
            }
        }
        out.range(same_from..at);
        self.cursor.moved_back(at);
        let rest = data.len() - at;
        if rest > MAX_EVENT {
            fault = Some(Fault::Bad("one of its events does not end"));
        }
        (out, fault, at)
    }

    fn event(&mut self, event: &[u8]) -> Step {
        self.shape = None;
        let Some(data) = split::data(event) else {
            return Step::Pass;
        };
        let step = match data.trim_ascii() {
            b"" => return Step::Drop,
            b"[DONE]" => return Step::Pass,
            json => match &mut self.machine {
                Machine::Chat(chat) => chat.event(json, &mut self.digest),
                Machine::Responses(responses) => responses.event(json, &mut self.digest),
                Machine::Messages(messages) => messages.event(json, &mut self.digest),
            },
        };
        if let (Step::Text(at), Cow::Borrowed(data)) = (&step, &data) {
            self.shape = Shape::of(event, data, at);
        }
        step
    }

    /// The provider's error in `event`, without any key.
    fn told(&self, event: &[u8]) -> Fault {
        let data = split::data(event).unwrap_or_default();
        let text = String::from_utf8_lossy(data.trim_ascii());
        let text = self.redactor.body(&text);
        Fault::Told(match self.dialect {
            Dialect::Responses => responses::as_error(text),
            Dialect::Chat | Dialect::Messages => text,
        })
    }
}

// === impl Digest ===

impl Digest {
    fn add(&mut self, said: &[u8]) {
        let room = DIGESTED.saturating_sub(self.length).min(said.len());
        self.hasher.write(said.get(..room).unwrap_or_default());
        self.length += said.len();
    }

    fn finish(&self) -> u64 {
        let mut hasher = self.hasher.clone();
        hasher.write_usize(self.length);
        hasher.finish()
    }
}
