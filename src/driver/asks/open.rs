//! One request that has not ended, and its events.

use std::sync::Arc;
use std::time::Duration;

use serde::de::IgnoredAny;
use serde_json::value::RawValue;

use super::new_ask::NewAsk;
use crate::clock::{Timestamp, millis};
use crate::event::{
    self, AnsweredBy, Body, Event, Permission, PermissionRequest, PermissionStep, Question,
    QuestionStep,
};
use crate::session::{Answer, AnswerError, Ask, AskKind, Subject};

/// What the note of a request says: it was asked, or it has ended as well.
const ASKED: u64 = 1;
const ENDED: u64 = 2;

/// Begins the name of a note about a request. No part of OpenCode's has such a name.
const NOTE: &str = "ask\n";
const PERMISSION: &str = "permission";
const QUESTION: &str = "question";

#[derive(Debug)]
pub(super) struct Open {
    pub(super) ask: Arc<Ask>,
    /// OpenCode's session.
    pub(super) session: String,
    /// Whether clients were told of it.
    pub(super) shown: bool,
    /// The answer, once there is one, and who gave it.
    pub(super) given: Option<(Answer, AnsweredBy)>,
}

// === impl Open ===

impl Open {
    pub(super) fn new(
        new: NewAsk,
        now: Timestamp,
        timeout: Duration,
        given: Option<(Answer, AnsweredBy)>,
    ) -> Self {
        let timeout_ms = millis(timeout);
        let deadline = now.as_millis().saturating_add(timeout_ms);
        let ask = Ask {
            request_id: new.request_id,
            agent: new.agent,
            call_id: new.call_id,
            asked_at: now,
            deadline: Timestamp::from_millis(deadline),
            subject: new.subject,
        };
        Self {
            ask: Arc::new(ask),
            session: new.session,
            shown: given.is_none(),
            given,
        }
    }

    /// Whether the answer fits the questions.
    pub(super) fn check(&self, answer: &Answer) -> Result<(), AnswerError> {
        let (Answer::Questions(answers), Subject::Questions(questions)) =
            (answer, &self.ask.subject)
        else {
            return Ok(());
        };
        let questions: Vec<IgnoredAny> = serde_json::from_str(questions.get()).unwrap_or_default();
        if answers.len() == questions.len() {
            return Ok(());
        }
        Err(AnswerError::Invalid(format!(
            "must have one list for each of the {} questions, an empty one for no answer",
            questions.len()
        )))
    }

    pub(super) fn asked(&self, now: Timestamp) -> Event {
        let (call_id, deadline) = (self.ask.call_id.clone(), self.ask.deadline);
        let body = match &self.ask.subject {
            Subject::Permission(request) => self.permission(PermissionStep::Asked {
                request: request.clone(),
                call_id,
                deadline,
            }),
            Subject::Questions(questions) => self.question(QuestionStep::Asked {
                questions: questions.clone(),
                call_id,
                deadline,
            }),
        };
        self.event(body, ASKED, now)
    }

    pub(super) fn answered(
        &self,
        answer: &Answer,
        by: AnsweredBy,
        with: Option<String>,
        now: Timestamp,
    ) -> Event {
        let body = match answer.clone() {
            Answer::Permission { reply, message } => {
                let untold = match &self.ask.subject {
                    Subject::Permission(request) if !self.shown => Some(request.clone()),
                    _ => None,
                };
                self.permission(PermissionStep::Answered {
                    reply,
                    message,
                    by,
                    with,
                    call_id: self.ask.call_id.clone().filter(|_| untold.is_some()),
                    request: untold,
                })
            }
            Answer::Questions(answers) => self.question(QuestionStep::Answered { answers, by }),
            Answer::QuestionsRejected => self.question(QuestionStep::Rejected { by }),
        };
        self.event(body, ENDED, now)
    }

    /// Nothing if clients were not told of the request.
    pub(super) fn withdrawn(&self, reason: &str, now: Timestamp) -> Option<Event> {
        let reason = reason.to_owned();
        let body = match self.ask.kind() {
            AskKind::Permission => self.permission(PermissionStep::Withdrawn { reason }),
            AskKind::Question => self.question(QuestionStep::Withdrawn { reason }),
        };
        self.shown.then(|| self.event(body, ENDED, now))
    }

    fn permission(&self, step: PermissionStep) -> Body {
        let request_id = self.ask.request_id.clone();
        Body::Permission(Permission { request_id, step })
    }

    fn question(&self, step: QuestionStep) -> Body {
        let request_id = self.ask.request_id.clone();
        Body::Question(Question { request_id, step })
    }

    fn event(&self, body: Body, value: u64, now: Timestamp) -> Event {
        let kind = match self.ask.kind() {
            AskKind::Permission => PERMISSION,
            AskKind::Question => QUESTION,
        };
        // All that the end of the request needs if this process dies before.
        let part = format!("{NOTE}{kind}\n{}\n{}", self.session, self.ask.request_id);
        Event {
            agent: self.ask.agent.clone(),
            note: Some(event::Note {
                part: part.into(),
                value,
            }),
            ..Event::new(now, body)
        }
    }
}

/// What the note of an event says about a request.
#[derive(Debug)]
pub(super) enum Note {
    /// It had not ended. Of what was asked nothing is known.
    Open(NewAsk),
    Ended,
}

/// What a note says, if it is about a request.
pub(super) fn restore(note: &str, value: u64) -> Option<Note> {
    let rest = note.strip_prefix(NOTE)?;
    if value >= ENDED {
        return Some(Note::Ended);
    }
    let (kind, rest) = rest.split_once('\n')?;
    let (session, request_id) = rest.split_once('\n')?;
    Some(Note::Open(NewAsk {
        request_id: request_id.to_owned(),
        session: session.to_owned(),
        agent: None,
        call_id: None,
        subject: match kind {
            QUESTION => Subject::Questions(Arc::from(RawValue::NULL.to_owned())),
            _ => Subject::Permission(PermissionRequest::default()),
        },
    }))
}
