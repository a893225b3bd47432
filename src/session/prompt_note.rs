//! Tells a session's readers what became of a prompt, and the journal with them.

use super::log::{Addition, TurnSpan};
use super::prompt_row;
use super::queue::Queued;
use super::record::Session;
use crate::clock::Timestamp;
use crate::event::{Body, Event, PromptNote, PromptState};
use crate::journal::PromptRow;

/// What is told of a prompt.
#[derive(Debug)]
pub(super) struct PromptNotice {
    pub(super) state: PromptState,
    /// The beginning of it; nothing if prompts are not to be kept.
    pub(super) text: Option<String>,
    pub(super) row: PromptRow,
}

// === impl PromptNotice ===

impl PromptNotice {
    /// Of a prompt that was about to run, and now waits for a key.
    pub(super) fn held(queued: &Queued, keep_words: bool) -> Self {
        Self {
            state: PromptState::Held,
            text: keep_words.then(|| queued.request.prompt.shown()),
            row: prompt_row::waiting(queued, keep_words),
        }
    }
}

// === impl Session ===

impl Session {
    /// `last_of`: no more events of that turn come after this one.
    pub(super) fn note_prompt(&self, notice: PromptNotice, last_of: Option<&TurnSpan>) {
        let PromptNotice { state, text, row } = notice;
        let body = Body::Prompt(PromptNote { state, text });
        let frame = Event::new(Timestamp::now(), body).encode(row.turn);
        self.log.add(Addition {
            row: Some(self.row()),
            last_of,
            prompt: Some(row),
            ..Addition::of(frame)
        });
    }
}
