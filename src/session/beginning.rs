//! Notes on disk that a turn begins, before the agent hears of it.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use super::prompt::Prompt;
use super::prompt_row;
use super::record::Session;
use super::unsent::Unsent;
use crate::journal::PromptRow;

/// The beginning of a turn, to be noted before the agent hears of it: nothing may be run twice.
#[derive(Clone, Debug)]
pub(crate) struct Beginning {
    session: Arc<Session>,
    prompt: Option<PromptRow>,
    /// What prompts say may be written down.
    keeps_words: bool,
    unsent: Option<Unsent>,
    recorded: Arc<AtomicBool>,
}

// === impl Beginning ===

impl Beginning {
    /// `recorded` is set when the beginning was handed to the disk.
    pub(super) fn new(
        session: Arc<Session>,
        (prompt, keeps_words): (Option<PromptRow>, bool),
        unsent: Option<Unsent>,
        recorded: Arc<AtomicBool>,
    ) -> Self {
        Self {
            session,
            prompt,
            keeps_words,
            unsent,
            recorded,
        }
    }

    /// What the agent may not have of the turn that this one goes on with.
    pub(crate) const fn unsent(&self) -> Option<&Unsent> {
        self.unsent.as_ref()
    }

    /// Notes that the turn begins with `prompt` and a system prompt, `before` being OpenCode's newest message before it, and
    /// waits until that is on disk. A disk that fails is not waited for. Only for a session that had a turn before: of a new
    /// one nobody knows yet.
    pub(crate) async fn record(&self, before: Option<&str>, prompt: (&Prompt, Option<&str>)) {
        self.session.update(|status| {
            status.begun = true;
            status.before = before.map(str::to_owned);
        });
        self.recorded.store(true, Ordering::Relaxed);
        let (words, system_prompt) = prompt;
        let log = &self.session.log;
        match &self.prompt {
            Some(taken) if self.keeps_words && !words.is_empty() => {
                let begun = prompt_row::begun(taken, words, system_prompt);
                log.record_beginning(self.session.row_as_begun(), begun);
            }
            Some(taken) => log.record_beginning(self.session.row_as_begun(), taken.clone()),
            None => log.record(self.session.row_as_begun(), true),
        }
        self.session.noted().await;
    }
}
