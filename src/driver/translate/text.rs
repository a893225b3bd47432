//! Text and reasoning: deltas as they come, and the final text for what they missed.

use std::sync::Arc;

use crate::clock::Timestamp;
use crate::event::{Agent, Body, Channel, Event, Note, Output, Source};
use crate::opencode::types as oc;

use super::{Batch, Origin, Part, Signal, Translator};

/// The most text that waits for its final form. A model's answer is far smaller; beyond this the rest
/// comes with the final text or not at all.
const MAX_HELD: usize = 4 << 20;

/// The note of a text of which nothing more is to be told: larger than any, and small enough for a database.
const ALL: u64 = i64::MAX as u64;

/// A text that is being written.
#[derive(Debug, Default)]
pub(super) struct TextPart {
    id: Arc<str>,
    /// Empty until it is seen, of one that another process began to tell.
    message: String,
    agent: Option<Arc<Agent>>,
    /// Nothing until a snapshot says what it is.
    source: Option<Source>,
    /// Whether every delta was seen, so that the next one continues what is published.
    live: bool,
    published: String,
    /// Bytes another process published; their words are not known.
    told: u64,
    /// Half a character, waiting for its other half.
    half: Option<u16>,
    /// Deltas that may have a hole before them.
    held: String,
    /// The text as a snapshot had it, while nobody knows whose message it is.
    waiting: Option<Snapshot>,
}

/// The state of a text part as OpenCode stored it.
#[derive(Debug)]
pub(super) struct Snapshot {
    pub(super) session: String,
    pub(super) message: String,
    pub(super) text: oc::Text,
    pub(super) ended: bool,
    pub(super) reasoning: bool,
}

// === impl TextPart ===

impl TextPart {
    /// One of which another process told the first `told` bytes.
    pub(super) fn told(id: &str, told: u64) -> Self {
        Self {
            id: id.into(),
            told,
            ..Self::default()
        }
    }

    /// From here on deltas may be missing.
    pub(super) fn hold(&mut self) {
        self.live = false;
        self.half = None;
    }

    /// The text that no final form came for, when the turn ends.
    ///
    /// None of it while it is not known to be for the client.
    pub(super) fn give_up(&mut self, now: Timestamp) -> Option<Event> {
        let held = std::mem::take(&mut self.held);
        let source = self
            .source
            .filter(|_| !held.is_empty() && self.waiting.is_none())?;
        let event = self.event(source, held, true, now);
        Some(Event {
            // Nobody can say where in the final text it stands.
            note: Some(self.note(ALL)),
            ..event
        })
    }

    /// More of it. Its note counts what is published, this included.
    fn event(&self, source: Source, text: String, truncated: bool, now: Timestamp) -> Event {
        let length = self.length() + text.len() as u64;
        let output = Output {
            channel: Channel::Stdout,
            source,
            text,
            call_id: None,
            truncated,
        };
        Event {
            at: now,
            agent: self.agent.clone(),
            body: Body::Output(output),
            note: Some(self.note(length)),
        }
    }

    fn note(&self, value: u64) -> Note {
        Note {
            part: self.id.clone(),
            value,
        }
    }

    /// Bytes published so far.
    fn length(&self) -> u64 {
        self.told.max(self.published.len() as u64)
    }

    /// What of `text` is not published, if it continues what is.
    fn rest_of<'a>(&self, text: &'a str) -> Option<&'a str> {
        if self.told == 0 {
            return text.strip_prefix(&*self.published);
        }
        let told = usize::try_from(self.told).unwrap_or(usize::MAX);
        // Events are cut between characters, so only another text has none there.
        text.get(text.floor_char_boundary(told)..)
    }

    fn source(snapshot: &Snapshot) -> Source {
        if snapshot.reasoning {
            Source::Reasoning
        } else {
            Source::Assistant
        }
    }
}

// === impl Translator ===

impl Translator {
    /// The hot path: a handful of bytes, tens of thousands of times.
    pub(super) fn delta(&mut self, delta: oc::Delta, now: Timestamp, out: &mut Batch) {
        if delta.field != "text" {
            return;
        }
        let part = match self.parts.get_mut(&delta.part) {
            Some(Part::Text(part)) => part,
            Some(_) => return,
            None => {
                let agent = self.agent(&delta.session);
                let part = TextPart {
                    id: delta.part.as_str().into(),
                    message: delta.message,
                    agent,
                    ..TextPart::default()
                };
                let entry = self
                    .parts
                    .entry(delta.part)
                    .or_insert(Part::Text(Box::new(part)));
                let Part::Text(part) = entry else { return };
                part
            }
        };
        let text = delta.more.continue_from(&mut part.half);
        match part.source {
            _ if text.is_empty() => {}
            Some(source) if part.live => {
                let said = part.event(source, text, false, now);
                if let Body::Output(output) = &said.body {
                    part.published.push_str(&output.text);
                }
                out.events.push(said);
            }
            _ if part.held.len() + text.len() <= MAX_HELD => part.held.push_str(&text),
            _ => {}
        }
    }

    pub(super) fn snapshot(
        &mut self,
        id: String,
        snapshot: Snapshot,
        origin: Origin,
        now: Timestamp,
        out: &mut Batch,
    ) {
        let shown = self
            .messages
            .get(&snapshot.message)
            .and_then(|message| message.shown);
        if shown == Some(false) {
            // What the user wrote, or a summary for the model itself.
            self.parts.insert(id, Part::Done);
            return;
        }
        let agent = self.agent(&snapshot.session);
        let entry = self.parts.entry(id.clone()).or_insert_with(|| {
            let (id, message) = (id.as_str().into(), snapshot.message.clone());
            // Only one whose beginning is seen can be followed from delta to delta.
            let live = origin == Origin::Live && snapshot.text.is_empty() && shown.is_some();
            Part::Text(Box::new(TextPart {
                id,
                message,
                agent: agent.clone(),
                live,
                ..TextPart::default()
            }))
        });
        let Part::Text(part) = entry else { return };
        if part.message.is_empty() {
            (part.message, part.agent) = (snapshot.message.clone(), agent);
        }
        part.source = Some(TextPart::source(&snapshot));
        if shown.is_none() {
            part.waiting = Some(snapshot);
            return;
        }
        let text = snapshot.text.into_whole();
        if !snapshot.ended {
            // A half-written text as a list has it; the deltas say it better when none is missing.
            if part.live || text.len() as u64 <= part.length() {
                return;
            }
        }
        match part.rest_of(&text) {
            Some("") => {}
            Some(more) => {
                let source = part.source.unwrap_or(Source::Assistant);
                out.events
                    .push(part.event(source, more.to_owned(), false, now));
            }
            None if part.published.starts_with(&*text) => {}
            None => out.signals.push(Signal::TextDiverged { part: id.clone() }),
        }
        part.held.clear();
        if snapshot.ended {
            self.parts.insert(id, Part::Done);
            if !snapshot.reasoning && snapshot.session == self.settings.root {
                self.turn.final_text(snapshot.message, text);
            }
        } else {
            (part.published, part.told) = (text, 0);
        }
    }

    /// It is known now whose message this is: publishes what waited for that, or forgets it.
    pub(super) fn reveal(&mut self, message: &str, shown: bool, now: Timestamp, out: &mut Batch) {
        let mut waiting = Vec::new();
        for (id, part) in &mut self.parts {
            match part {
                Part::Text(text) if text.message == message && !shown => *part = Part::Done,
                Part::Text(text) if text.message == message => {
                    waiting.extend(text.waiting.take().map(|snapshot| (id.clone(), snapshot)));
                }
                _ => {}
            }
        }
        // Ids sort in the order the parts were made.
        waiting.sort_by(|(a, _), (b, _)| a.cmp(b));
        for (id, snapshot) in waiting {
            self.snapshot(id, snapshot, Origin::Recalled, now, out);
        }
    }

    /// A second step in one message: the first one failed, and its text is not part of the answer.
    pub(super) fn step_start(&mut self, message: &str, now: Timestamp, out: &mut Batch) {
        let state = self.messages.entry(message.to_owned()).or_default();
        state.steps += 1;
        if state.steps > 1 {
            self.turn.restart_message(message);
            self.give_up_texts(Some(message), now, out);
        }
    }

    /// No text of this message, or of any, will get a final form: publishes what waited for it.
    pub(super) fn give_up_texts(&mut self, message: Option<&str>, now: Timestamp, out: &mut Batch) {
        let mut given_up = Vec::new();
        for (id, part) in &mut self.parts {
            if let Part::Text(text) = part
                && message.is_none_or(|message| text.message == message)
            {
                given_up.extend(text.give_up(now).map(|event| (id.clone(), event)));
                *part = Part::Done;
            }
        }
        // Ids sort in the order the parts were made.
        given_up.sort_by(|(a, _), (b, _)| a.cmp(b));
        out.events
            .extend(given_up.into_iter().map(|(_, event)| event));
    }
}
