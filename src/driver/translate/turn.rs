//! One turn: what it has gathered for its end, and the one event that ends it.

use crate::clock::Timestamp;
use crate::event::{Body, Complete, Event, Failure, State, Usage};
use crate::opencode::types as oc;

use super::files::Files;
use super::progress::Progress;
use super::{Batch, Translator};

/// How a turn ended. Decided by [`super::super::ending`], a deadline or the caller.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum End {
    Complete { finish_reason: Option<String> },
    Failed(Failure),
    Cancelled,
}

#[derive(Debug, Default)]
pub(super) struct Turn {
    /// When it began; nothing outside of a turn.
    pub(super) began: Option<Timestamp>,
    pub(super) progress: Progress,
    pub(super) files: Files,
    /// Why the root session failed, until the model answers again.
    pub(super) error: Option<oc::ProviderError>,
    usage: Usage,
    last_message: Option<String>,
    last_texts: Vec<String>,
}

// === impl Turn ===

impl Turn {
    pub(super) const fn running(&self) -> bool {
        self.began.is_some()
    }

    pub(super) fn add_usage(&mut self, step: &oc::StepFinish) {
        let usage = &mut self.usage;
        for (sum, more) in [
            (&mut usage.input_tokens, step.input),
            (&mut usage.output_tokens, step.output),
            (&mut usage.reasoning_tokens, step.reasoning),
            (&mut usage.cache_read_tokens, step.cache_read),
            (&mut usage.cache_write_tokens, step.cache_write),
        ] {
            *sum = sum.saturating_add(more);
        }
        // Sums of decimal prices; beyond a billionth there is only the error of binary fractions.
        usage.cost = ((usage.cost + step.cost) * 1e9).round() / 1e9;
    }

    /// A whole text of the model. The last message that has one is the turn's answer.
    pub(super) fn final_text(&mut self, message: String, text: String) {
        if text.trim().is_empty() {
            return;
        }
        if self.last_message.as_deref() != Some(&*message) {
            self.last_texts.clear();
            self.last_message = Some(message);
        }
        self.last_texts.push(text);
    }

    pub(super) fn restart_message(&mut self, message: &str) {
        if self.last_message.as_deref() == Some(message) {
            self.last_texts.clear();
        }
    }

    fn complete(&self, finish_reason: Option<String>, now: Timestamp) -> Complete {
        let took = self.began.map(|began| now.since(began)).unwrap_or_default();
        Complete {
            final_message: self.last_texts.join("\n\n"),
            usage: self.usage,
            duration_ms: u64::try_from(took.as_millis()).unwrap_or(u64::MAX),
            finish_reason,
            ..Complete::default()
        }
    }
}

// === impl Translator ===

impl Translator {
    /// A prompt is about to be sent: what follows belongs to its turn.
    pub(crate) fn begin_turn(&mut self, now: Timestamp, out: &mut Batch) {
        self.turn = Turn {
            began: Some(now),
            ..Turn::default()
        };
        for session in self.sessions.values_mut() {
            (session.retry, session.last_call) = (None, None);
        }
        self.publish_status(now, out);
    }

    /// Ends the turn: closes what is open and publishes its one terminal event.
    ///
    /// `alone` says that no other session worked in the same tree meanwhile, so that all changes found
    /// there are this turn's. Without a turn it does nothing.
    pub(crate) fn finish(&mut self, end: End, alone: bool, now: Timestamp, out: &mut Batch) {
        if !self.turn.running() {
            return;
        }
        self.give_up_texts(None, now, out);
        self.interrupt_tools(now, out);
        let body = match end {
            End::Complete { finish_reason } => {
                let status = self.turn.progress.status(State::Completed);
                let status = crate::event::Status {
                    phase: None,
                    reason: None,
                    ..status
                };
                out.events.push(Event {
                    at: now,
                    agent: None,
                    body: Body::Status(status),
                    note: None,
                });
                let (files_modified, files_deleted) = self.files(alone);
                let complete = self.turn.complete(finish_reason, now);
                Body::Complete(Complete {
                    files_modified,
                    files_deleted,
                    ..complete
                })
            }
            End::Failed(failure) => Body::Error(Failure {
                fatal: true,
                ..failure
            }),
            End::Cancelled => {
                let status = self.turn.progress.status(State::Cancelled);
                Body::Status(crate::event::Status {
                    phase: None,
                    reason: None,
                    ..status
                })
            }
        };
        out.events.push(Event {
            at: now,
            agent: None,
            body,
            note: None,
        });
        self.turn.began = None;
    }

    /// The error the root session reported since its model last began to answer.
    pub(crate) fn turn_error(&self) -> Option<&oc::ProviderError> {
        self.turn.error.as_ref()
    }

    pub(crate) fn usage(&self) -> Usage {
        self.turn.usage
    }

    /// The files changed so far, and those of them that are gone.
    pub(crate) fn files(&self, alone: bool) -> (Vec<String>, Vec<String>) {
        self.turn.files.list(&self.settings.directory, alone)
    }
}
