//! The beginning and the end of a turn, and the death of the agent's process in between.
//!
//! After a death, in this order: [`Translator::process_lost`], then what the dead process had stored is applied,
//! then [`Translator::abandon_run`], and [`Translator::resumed`] when the agent was prompted to go on.

use super::translator::Translator;
use super::turn::{End, Turn};
use crate::clock::Timestamp;
use crate::event::{Body, Complete, Event, Phase, State, Usage};
use crate::opencode::types as oc;

// === impl Translator ===

impl Translator {
    /// A prompt is about to be sent: what follows belongs to its turn.
    pub(crate) fn begin_turn(&mut self, now: Timestamp) {
        self.now = now;
        self.turn = Turn::begin(now);
        self.forget_repetitions();
        self.publish_status();
    }

    /// Ends the turn: closes what is open and publishes its one terminal event. Without a turn it does
    /// nothing.
    ///
    /// `alone` says that no other session worked in the same tree meanwhile, so that all changes found
    /// there belong to this turn.
    pub(crate) fn finish(&mut self, end: End, alone: bool, now: Timestamp) {
        if !self.turn.running() {
            return;
        }
        self.now = now;
        self.give_up_texts(None);
        self.withdraw_asks(
            match end {
                End::Cancelled => "the turn was cancelled",
                End::Complete { .. } | End::Failed(_) => "the turn has ended",
            },
            now,
        );
        self.interrupt_tools();
        let body = match end {
            End::Complete { finish_reason } => {
                let status = self.turn.progress.final_status(State::Completed);
                self.events.push(Event::new(now, Body::Status(status)));
                let (files_modified, files_deleted) = self.files(alone);
                Body::Complete(Complete {
                    files_modified,
                    files_deleted,
                    ..self.turn.complete(finish_reason, now)
                })
            }
            End::Failed(failure) => Body::Error(failure),
            End::Cancelled => Body::Status(self.turn.progress.final_status(State::Cancelled)),
        };
        self.events.push(Event::new(now, body));
        self.turn.began = None;
    }

    /// The agent's process died: from here on something is missing, and `reason` says what is done about it.
    pub(crate) fn process_lost(&mut self, reason: String, now: Timestamp) {
        self.now = now;
        self.feed_lost();
        self.withdraw_asks("the agent's process died", now);
        self.set_phase(Some(Phase::Recovering), Some(reason));
    }

    /// All that the dead process had stored is applied. What is open now will never go on, in subagents
    /// neither: texts are given up, and calls get their result.
    pub(crate) fn abandon_run(&mut self, now: Timestamp) {
        self.now = now;
        self.give_up_texts(None);
        self.interrupt_tools();
        // The agent may well do once more what was cut off.
        self.forget_repetitions();
        self.turn.error = None;
        self.publish_status();
    }

    /// The agent was prompted to go on.
    pub(crate) fn resumed(&mut self, now: Timestamp) {
        self.now = now;
        self.set_phase(None, None);
    }

    /// The error the root session reported since its model last began to answer.
    pub(crate) const fn turn_error(&self) -> Option<&oc::ProviderError> {
        self.turn.error.as_ref()
    }

    pub(crate) const fn usage(&self) -> Usage {
        self.turn.usage
    }

    /// The files changed so far, and those of them that are gone.
    pub(crate) fn files(&self, alone: bool) -> (Vec<String>, Vec<String>) {
        self.turn.files.list(&self.settings.directory, alone)
    }

    fn forget_repetitions(&mut self) {
        for session in self.sessions.values_mut() {
            (session.retry, session.last_call) = (None, None);
        }
    }
}
