//! Text and reasoning: deltas as they come, and the final text for what they missed.

use super::signal::Signal;
use super::text_part::{Snapshot, TextPart};
use super::translator::{Origin, Part, Translator};
use crate::event::Source;
use crate::opencode::types as oc;

/// The most text that waits for its final form. A model's answer is far smaller; beyond this the rest
/// comes with the final text or not at all.
const MAX_HELD: usize = 4 << 20;

// === impl Translator ===

impl Translator {
    /// The connection was lost: events may be missing from here on, until what was missed is applied.
    pub(crate) fn feed_lost(&mut self) {
        for session in self.sessions.values_mut() {
            session.sequence.lost();
        }
        for part in self.parts.values_mut() {
            if let Part::Text(text) = part {
                text.hold();
            }
        }
    }

    /// The hot path: a handful of bytes, tens of thousands of times.
    pub(super) fn delta(&mut self, delta: oc::Delta) {
        if delta.field != "text" {
            return;
        }
        let sessions = &self.sessions;
        let entry = self.parts.entry(delta.part).or_insert_with_key(|id| {
            let session = sessions.get(&delta.session);
            Part::Text(Box::new(TextPart {
                id: id.as_str().into(),
                message: delta.message,
                agent: session.and_then(|session| session.agent.clone()),
                ..TextPart::default()
            }))
        });
        let Part::Text(part) = entry else { return };
        let text = delta.more.continue_from(&mut part.half);
        match part.source {
            _ if text.is_empty() => {}
            Some(source) if part.live => {
                let event = part.continued(source, text, false, self.now);
                self.events.push(event);
            }
            _ if part.held.len() + text.len() <= MAX_HELD => part.held.push_str(&text),
            _ => {}
        }
    }

    pub(super) fn text(&mut self, id: String, snapshot: Snapshot, origin: Origin) {
        let message = self.messages.get(&snapshot.message);
        let shown = message.and_then(|message| message.shown);
        if shown == Some(false) {
            // What the user wrote, or a summary for the model itself.
            self.parts.insert(id, Part::Done);
            return;
        }
        let agent = self.agent(&snapshot.session);
        let entry = self.parts.entry(id.clone()).or_insert_with_key(|id| {
            Part::Text(Box::new(TextPart {
                id: id.as_str().into(),
                // Only a text whose beginning is seen can be followed from delta to delta.
                live: origin == Origin::Live && snapshot.text.is_empty() && shown.is_some(),
                ..TextPart::default()
            }))
        });
        let Part::Text(part) = entry else { return };
        if part.message.is_empty() {
            (part.message, part.agent) = (snapshot.message.clone(), agent);
        }
        let source = *part.source.insert(snapshot.source);
        if shown.is_none() {
            part.waiting = Some(snapshot);
            return;
        }
        let text = snapshot.text.into_whole();
        // A half-written text as a list has it; the deltas say it better when none is missing.
        if !snapshot.ended && (part.live || text.len() as u64 <= part.length()) {
            return;
        }
        match part.rest_of(&text) {
            Some("") => {}
            Some(more) => {
                let event = part.continued(source, more.to_owned(), false, self.now);
                self.events.push(event);
            }
            None if part.published.starts_with(&*text) => {}
            None => self.signals.push(Signal::TextDiverged { part: id.clone() }),
        }
        part.held.clear();
        if !snapshot.ended {
            (part.published, part.published_before) = (text, 0);
            return;
        }
        self.parts.insert(id, Part::Done);
        if source == Source::Assistant && self.is_root(&snapshot.session) {
            self.turn.final_text(snapshot.message, text);
        }
    }

    /// It is known now whose message this is: publishes what waited for that, or forgets it.
    pub(super) fn reveal(&mut self, message: &str, shown: bool) {
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
            self.text(id, snapshot, Origin::Recalled);
        }
    }

    /// A second step in one message: the first one failed, and its text is not part of the answer.
    pub(super) fn step_start(&mut self, message: &str) {
        let state = self.messages.entry(message.to_owned()).or_default();
        state.steps += 1;
        if state.steps > 1 {
            self.turn.restart_message(message);
            self.give_up_texts(Some(message));
        }
    }

    /// No text of this message, or of any, will get a final form: publishes what waited for it.
    pub(super) fn give_up_texts(&mut self, message: Option<&str>) {
        let mut given_up = Vec::new();
        for (id, part) in &mut self.parts {
            if let Part::Text(text) = part
                && message.is_none_or(|message| text.message == message)
            {
                given_up.extend(text.give_up(self.now).map(|event| (id.clone(), event)));
                *part = Part::Done;
            }
        }
        // Ids sort in the order the parts were made.
        given_up.sort_by(|(a, _), (b, _)| a.cmp(b));
        self.events
            .extend(given_up.into_iter().map(|(_, event)| event));
    }
}
