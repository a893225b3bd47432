//! What the agent of a session asks a person, as clients see it, and their answers on the way to the driver.

use std::sync::Arc;

use serde_json::value::RawValue;
use tokio::sync::oneshot;

use crate::clock::Timestamp;
use crate::event::{Agent, AnsweredBy, PermissionRequest, Reply};
use crate::permission::Rule;

/// Of the requests that have ended, so many of the newest can still be told from those that never were.
const MAX_ENDED: usize = 64;

/// The requests of a session. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub(crate) struct Asks {
    /// Those that wait for an answer, oldest first.
    pub(crate) open: Arc<[Arc<Ask>]>,
    /// Those that have ended, oldest first. Memory only.
    ended: Arc<[EndedAsk]>,
    /// What the answer `always` has allowed.
    pub(crate) always: Arc<[Rule]>,
}

/// One request that waits.
#[derive(Debug)]
pub(crate) struct Ask {
    pub(crate) request_id: String,
    /// The subagent that asks; nothing for the session's own agent.
    pub(crate) agent: Option<Arc<Agent>>,
    pub(crate) call_id: Option<String>,
    pub(crate) asked_at: Timestamp,
    /// When the default answer is given.
    pub(crate) deadline: Timestamp,
    pub(crate) subject: Subject,
}

#[derive(Debug)]
pub(crate) enum Subject {
    Permission(PermissionRequest),
    Questions(Arc<RawValue>),
}

/// Which of the two kinds of request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum AskKind {
    Permission,
    Question,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct EndedAsk {
    pub(crate) request_id: String,
    pub(crate) kind: AskKind,
    pub(crate) outcome: AskOutcome,
}

/// How a request ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum AskOutcome {
    Answered { answer: Answer, by: AnsweredBy },
    Withdrawn { reason: String },
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Answer {
    Permission {
        reply: Reply,
        /// What the agent is told with a rejection. It then goes on; without, it stops.
        message: Option<String>,
    },
    /// For each question the options that were chosen, or words of the user's own.
    Questions(Vec<Vec<String>>),
    QuestionsRejected,
}

/// An answer that a client gives.
#[derive(Debug)]
pub(crate) struct AnswerCommand {
    pub(crate) request_id: String,
    pub(crate) answer: Answer,
    /// Told once the agent has the answer and the stream says so.
    pub(crate) result_tx: oneshot::Sender<Result<(), AnswerError>>,
}

/// Why an answer was not taken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum AnswerError {
    /// There was no such request, as far as is known.
    Unknown,
    Ended(AskOutcome),
    /// It does not fit the request; the text is for the client.
    Invalid(String),
    /// The child did not take it. The request waits on.
    Unavailable,
}

// === impl Asks ===

impl Asks {
    pub(super) fn allowing(always: Vec<Rule>) -> Self {
        Self {
            always: always.into(),
            ..Self::default()
        }
    }

    /// How the request ended, if it did lately.
    pub(crate) fn outcome(&self, request_id: &str, kind: AskKind) -> Option<&AskOutcome> {
        let newest = self.ended.iter().rev();
        let mut known = newest.filter(|ask| ask.request_id == request_id && ask.kind == kind);
        known.next().map(|ask| &ask.outcome)
    }

    pub(super) fn without_always(&self) -> Self {
        Self {
            always: Arc::default(),
            ..self.clone()
        }
    }

    pub(crate) fn add_ended(&mut self, newer: impl IntoIterator<Item = EndedAsk>) {
        let mut all: Vec<EndedAsk> = self.ended.iter().cloned().chain(newer).collect();
        all.drain(..all.len().saturating_sub(MAX_ENDED));
        self.ended = all.into();
    }
}

// === impl Ask ===

impl Ask {
    pub(crate) const fn kind(&self) -> AskKind {
        match self.subject {
            Subject::Permission(_) => AskKind::Permission,
            Subject::Questions(_) => AskKind::Question,
        }
    }
}

// === impl Answer ===

impl Answer {
    pub(crate) const fn kind(&self) -> AskKind {
        match self {
            Self::Permission { .. } => AskKind::Permission,
            Self::Questions(_) | Self::QuestionsRejected => AskKind::Question,
        }
    }

    /// Whether the agent stops after it, because nobody told it what to do instead.
    pub(crate) const fn ends_run(&self) -> bool {
        match self {
            Self::Permission { reply, message } => {
                matches!(reply, Reply::Reject) && message.is_none()
            }
            Self::Questions(_) => false,
            Self::QuestionsRejected => true,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ended(number: usize) -> EndedAsk {
        EndedAsk {
            request_id: format!("per_{number}"),
            kind: AskKind::Permission,
            outcome: AskOutcome::Withdrawn {
                reason: number.to_string(),
            },
        }
    }

    #[test]
    fn the_newest_ends_are_remembered_and_the_oldest_forgotten() {
        let mut asks = Asks::default();
        asks.add_ended((0..MAX_ENDED).map(ended));
        asks.add_ended([ended(MAX_ENDED)]);
        let known = |id: &str| asks.outcome(id, AskKind::Permission).is_some();
        assert!(!known("per_0"));
        assert!(known("per_1") && known("per_64"));
        assert!(asks.outcome("per_1", AskKind::Question).is_none());
    }
}
