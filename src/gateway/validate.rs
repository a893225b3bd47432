//! Validates a streamed answer while it passes: does OpenCode end its turn on it?
//!
//! OpenCode takes an answer without a known end for "call me again", at once and for ever. So whole events
//! are looked at before they go on: they have to be of the dialect, there has to be content, and the
//! stream has to end as the dialect ends. A text whose end is missing gets one; anything else that is not
//! an answer comes back as a [`Fault`]. The same pass reads the token counts and the arguments of tool calls,
//! and merges small pieces of text. Pure; knows no clock, no HTTP and no network.
//!
//! An event that has not arrived whole is held: no client can read half an event, so nothing is delayed.

mod chat;
mod delta;
mod events;
mod fault;
mod merge;
mod messages;
mod output;
mod responses;
mod seen;
mod step;
use std::borrow::Cow;
use std::ops::Range;
use std::sync::Arc;

use bytes::{Bytes, BytesMut};

use super::redactor::Redactor;
use super::tool_arguments::ToolArguments;
use super::usage::Tokens;
use crate::provider::Dialect;
use delta::{Frame, written};
use events::{Cursor, Start};
pub(super) use fault::{BROKE_OFF, Fault};
use fault::{EMPTY, ENDLESS_EVENT, NO_STREAM};
use merge::Merger;
use messages::Messages;
use output::Output;
pub(super) use output::Taken;
use responses::Responses;
use seen::Seen;
use step::{Ending, Step};

/// No event of a provider is longer: the longest repeat a whole answer.
const MAX_EVENT: usize = 4 << 20;
/// At most this much of the beginning is kept, to say what came instead of an answer.
const MAX_START: usize = 1024;

/// What a whole answer was.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Answered {
    /// The same for two answers that say the same.
    pub(super) digest: u64,
    /// Its end was missing, and the gateway made one.
    pub(super) unended: bool,
}

/// Validates one answer.
#[derive(Debug)]
pub(super) struct Validator {
    redactor: Redactor,
    protocol: Protocol,
    seen: Seen,
    merger: Merger,
    /// The part of an event that is not whole yet.
    held: BytesMut,
    cursor: Cursor,
    is_stream: bool,
    start: Vec<u8>,
}

/// How far the events of a dialect have come.
#[derive(Debug)]
enum Protocol {
    Chat,
    Responses(Responses),
    Messages(Messages),
}

// === impl Validator ===

impl Validator {
    /// `arguments` gets the arguments of the answer's tool calls. With `merging`, small pieces of text stay
    /// here until they are [taken](Self::take_merged), or something else follows them.
    pub(super) fn new(
        dialect: Dialect,
        redactor: Redactor,
        arguments: Arc<ToolArguments>,
        merging: bool,
    ) -> Self {
        Self {
            redactor,
            protocol: match dialect {
                Dialect::Chat => Protocol::Chat,
                Dialect::Responses => Protocol::Responses(Responses::default()),
                Dialect::Messages => Protocol::Messages(Messages::default()),
            },
            seen: Seen::new(dialect, arguments),
            merger: Merger::new(merging),
            held: BytesMut::new(),
            cursor: Cursor::default(),
            is_stream: false,
            start: Vec::new(),
        }
    }

    /// Whether something was said that may be shown.
    pub(super) fn has_content(&self) -> bool {
        self.seen.has_content()
    }

    pub(super) const fn dialect(&self) -> Dialect {
        self.seen.dialect
    }

    /// The token counts so far; `None` if the answer gave none.
    pub(super) const fn tokens(&self) -> Option<Tokens> {
        self.seen.tokens
    }

    /// Whether too little has come to say what came instead of a stream.
    pub(super) const fn wants_start(&self) -> bool {
        !self.is_stream && self.start.len() < MAX_START
    }

    pub(super) fn note_start(&mut self, chunk: &[u8]) {
        let missing = MAX_START.saturating_sub(self.start.len()).min(chunk.len());
        self.start
            .extend_from_slice(chunk.get(..missing).unwrap_or_default());
    }

    /// What is wrong with the answer, for people.
    pub(super) fn sentence(&self, why: &str) -> String {
        let quote = self.redactor.quote(&self.start);
        let begins = if quote.is_empty() {
            ""
        } else {
            "; it begins: "
        };
        format!("the provider's answer cannot be used: {why}{begins}{quote}")
    }

    /// Takes the next bytes; the whole and valid events of them may go on.
    pub(super) fn take(&mut self, chunk: &Bytes) -> Taken {
        self.note_start(chunk);
        if self.held.is_empty() {
            let (out, fault, used) = self.look(chunk);
            self.held
                .extend_from_slice(chunk.get(used..).unwrap_or_default());
            let pass = out.joined(chunk);
            return Taken { pass, fault };
        }
        let mut data = std::mem::take(&mut self.held);
        data.extend_from_slice(chunk);
        let (out, fault, used) = self.look(&data);
        let whole = data.split_to(used).freeze();
        self.held = data;
        let pass = out.joined(&whole);
        Taken { pass, fault }
    }

    /// Bytes of merged events that wait.
    pub(super) const fn merged_bytes(&self) -> usize {
        self.merger.kept_bytes()
    }

    /// The merged events that wait. Later pieces begin new ones.
    pub(super) fn take_merged(&mut self) -> Bytes {
        self.merger.take().into()
    }

    /// The end of the body: what has to follow, or why it is no answer.
    pub(super) fn end(&mut self) -> (Taken, Option<Answered>) {
        let rest = std::mem::take(&mut self.held);
        if !self.is_stream {
            let empty = rest.trim_ascii().is_empty();
            let fault = Fault::Bad(if empty { EMPTY } else { NO_STREAM });
            let pass = Bytes::new();
            return (
                Taken {
                    pass,
                    fault: Some(fault),
                },
                None,
            );
        }
        let mut out = Output::default();
        let mut last = Bytes::new();
        // An event without its blank line is lost to the child's client; half of one it could not read.
        if !rest.trim_ascii().is_empty() {
            last = [rest.trim_ascii(), b"\n\n"].concat().into();
            let fault = self.event(&last, 0..last.len(), &mut out);
            if matches!(fault, Some(Fault::Told(_))) {
                return (
                    Taken {
                        pass: out.joined(&last),
                        fault,
                    },
                    None,
                );
            }
        }
        out.made(self.merger.interrupt());
        let ending = match &self.protocol {
            Protocol::Chat => chat::end(&self.seen),
            Protocol::Responses(responses) => responses.end(&self.seen),
            Protocol::Messages(messages) => messages.end(&self.seen),
        };
        let unended = match ending {
            Ending::Whole => false,
            Ending::Mended(events) => {
                out.made(events.into_bytes());
                self.seen.finish.is_none()
            }
            Ending::Bad(why) => {
                let fault = Some(Fault::Bad(why));
                return (
                    Taken {
                        pass: out.joined(&last),
                        fault,
                    },
                    None,
                );
            }
        };
        let answered = Answered {
            digest: self.seen.finished_digest(),
            unended,
        };
        let pass = out.joined(&last);
        (Taken { pass, fault: None }, Some(answered))
    }

    /// Looks at every whole event of `data`, and says how far that goes.
    fn look(&mut self, data: &[u8]) -> (Output, Option<Fault>, usize) {
        let mut out = Output::default();
        if !self.is_stream {
            match events::start(data) {
                Start::Stream => self.is_stream = true,
                Start::Unknown => return (out, None, 0),
                Start::Other => {
                    self.seen.count_body(data);
                    return (out, Some(Fault::Bad(NO_STREAM)), data.len());
                }
            }
        }
        let mut at = 0;
        while let Some(end) = self.cursor.event_end(data) {
            let event = data.get(at..end).unwrap_or_default();
            let place = at..end;
            at = end;
            self.cursor = Cursor::at(end);
            if let Some(text) = self.merger.text_of(event) {
                self.seen.digest(text);
                if !self.merger.add(text) {
                    out.range(place);
                }
            } else if let Some(fault) = self.event(event, place, &mut out) {
                return (out, Some(fault), data.len());
            }
        }
        self.cursor.moved_back(at);
        let too_long = data.len() - at > MAX_EVENT;
        if too_long {
            out.made(self.merger.interrupt());
        }
        (out, too_long.then_some(Fault::Bad(ENDLESS_EVENT)), at)
    }

    /// Decides what becomes of one event, whose bytes are at `place` of the output's.
    fn event(&mut self, event: &[u8], place: Range<usize>, out: &mut Output) -> Option<Fault> {
        let data = events::data(event);
        let json = data.as_deref().map(<[u8]>::trim_ascii);
        let step = match json {
            None | Some(b"[DONE]") => Step::Pass,
            Some(b"") => Step::Drop,
            Some(json) => match &mut self.protocol {
                Protocol::Chat => chat::event(json, &mut self.seen),
                Protocol::Responses(responses) => responses.event(json, &mut self.seen),
                Protocol::Messages(messages) => messages.event(json, &mut self.seen),
            },
        };
        // A text of several lines of data does not stand in the event as it is read.
        if let (Step::Delta(delta), Some(Cow::Borrowed(_))) = (&step, &data)
            && let Some(frame) = Frame::of(event, delta, self.merger.is_enabled())
        {
            if !self.merger.add_framed(frame, written(delta.text)) {
                out.range(place);
            }
            return None;
        }
        out.made(self.merger.interrupt());
        match step {
            Step::Pass | Step::Delta(_) => out.range(place),
            Step::Behind(before) => {
                out.made(before.into_bytes());
                out.range(place);
            }
            Step::Drop => {}
            Step::Bad(why) => return Some(Fault::Bad(why)),
            Step::Failed => return Some(self.told(json.unwrap_or_default())),
        }
        None
    }

    /// The provider's error, without any key.
    fn told(&self, json: &[u8]) -> Fault {
        let told = self.redactor.body(&String::from_utf8_lossy(json));
        Fault::Told(match self.seen.dialect {
            Dialect::Responses => responses::as_error(told),
            Dialect::Chat | Dialect::Messages => told,
        })
    }
}

#[cfg(test)]
mod tests;
