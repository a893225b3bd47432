//! The turn's status: how far it is, what runs, whom it waits for.

use std::sync::Arc;

use crate::clock::Timestamp;
use crate::event::{
    Body, Event, Permission, PermissionStep, Phase, Question, QuestionStep, State, Status, Todo,
    TodoItem,
};
use crate::opencode::types as oc;

use super::failure::clean;
use super::{Batch, Signal, Translator};

/// The most a turn may claim before it has ended.
const ALMOST: u8 = 99;

#[derive(Debug, Default)]
pub(super) struct Progress {
    percent: u8,
    /// The root's calls that run, oldest first.
    tools: Vec<(Arc<str>, Arc<str>)>,
    asks: Vec<Ask>,
    phase: Option<Phase>,
    reason: Option<String>,
    /// Why events are not kept at present. Said while there is nothing else to say.
    degraded: Option<String>,
    published: Option<Status>,
}

#[derive(Debug)]
struct Ask {
    request: String,
    call: Option<String>,
}

// === impl Progress ===

impl Progress {
    pub(super) fn status(&self, state: State) -> Status {
        Status {
            state,
            progress: if state == State::Completed {
                100
            } else {
                self.percent
            },
            phase: self
                .phase
                .or(self.degraded.as_ref().map(|_| Phase::JournalDegraded)),
            current_tool: self.tools.last().map(|(_, tool)| tool.clone()),
            reason: match self.phase {
                Some(_) => self.reason.clone(),
                None => self.degraded.clone(),
            },
        }
    }

    /// The status now, if it is news.
    fn news(&mut self) -> Option<Status> {
        let waiting = !self.asks.is_empty();
        let status = self.status(if waiting {
            State::WaitingInput
        } else {
            State::Running
        });
        if self.published.as_ref() == Some(&status) {
            return None;
        }
        self.published = Some(status.clone());
        Some(status)
    }

    pub(super) fn tool_began(&mut self, call: Arc<str>, tool: Arc<str>) {
        self.tools.push((call, tool));
    }

    pub(super) fn tool_ended(&mut self, call: &str) {
        self.tools.retain(|(open, _)| **open != *call);
    }

    pub(super) fn tools_ended(&mut self) {
        self.tools.clear();
    }

    /// A call that has a result waits for nobody, whatever was said about it.
    pub(super) fn call_closed(&mut self, call: &str) {
        self.asks.retain(|ask| ask.call.as_deref() != Some(call));
    }

    pub(super) fn forget_asks(&mut self) {
        self.asks.clear();
    }

    pub(super) fn set_phase(&mut self, phase: Option<Phase>, reason: Option<String>) {
        (self.phase, self.reason) = (phase, reason);
    }

    /// Done items of all that count; never backwards, never the end.
    fn todos(&mut self, todos: &[oc::Todo]) {
        let count = |word| todos.iter().filter(|todo| todo.status == word).count();
        let total = todos.len() - count("cancelled");
        let percent = (count("completed") * 100)
            .checked_div(total)
            .unwrap_or_default();
        let percent = u8::try_from(percent).unwrap_or(ALMOST).min(ALMOST);
        self.percent = self.percent.max(percent);
    }

    /// Remembers a request; false if it is known.
    fn asked(&mut self, request: &str, call: Option<&str>) -> bool {
        if self.asks.iter().any(|ask| ask.request == request) {
            return false;
        }
        self.asks.push(Ask {
            request: request.to_owned(),
            call: call.map(str::to_owned),
        });
        true
    }

    fn answered(&mut self, request: &str) -> bool {
        let before = self.asks.len();
        self.asks.retain(|ask| ask.request != request);
        self.asks.len() < before
    }
}

// === impl Translator ===

impl Translator {
    pub(super) fn publish_status(&mut self, now: Timestamp, out: &mut Batch) {
        if let Some(status) = self.turn.progress.news() {
            out.events.push(Event {
                at: now,
                agent: None,
                body: Body::Status(status),
                note: None,
            });
        }
    }

    /// Says that events are not kept at present, and why, or with nothing, that they are again.
    pub(crate) fn set_degraded(&mut self, why: Option<String>, now: Timestamp, out: &mut Batch) {
        self.turn.progress.degraded = why;
        if self.turn.running() {
            self.publish_status(now, out);
        }
    }

    /// Says that nothing was heard for too long, or with nothing, that something was again.
    pub(crate) fn set_stalled(&mut self, reason: Option<String>, now: Timestamp, out: &mut Batch) {
        let phase = self.turn.progress.phase;
        if self.turn.running() && (reason.is_some() || phase == Some(Phase::Stalled)) {
            self.turn
                .progress
                .set_phase(reason.is_some().then_some(Phase::Stalled), reason);
            self.publish_status(now, out);
        }
    }

    pub(super) fn compacting(
        &mut self,
        session: &str,
        begins: bool,
        now: Timestamp,
        out: &mut Batch,
    ) {
        let phase = self.turn.progress.phase == Some(Phase::Compacting);
        if session == self.settings.root && phase != begins {
            self.turn
                .progress
                .set_phase(begins.then_some(Phase::Compacting), None);
            self.publish_status(now, out);
        }
    }

    pub(super) fn status(
        &mut self,
        id: String,
        status: oc::SessionStatus,
        now: Timestamp,
        out: &mut Batch,
    ) {
        let root = id == self.settings.root;
        let retrying = self.turn.progress.phase == Some(Phase::ProviderRetry);
        match status {
            oc::SessionStatus::Retry {
                attempt,
                message,
                next,
            } => {
                self.retry(id, (attempt, next), &message, now, out);
            }
            oc::SessionStatus::Busy | oc::SessionStatus::Other if root => {
                if !std::mem::replace(&mut self.busy, true) {
                    out.signals.push(Signal::Busy);
                }
                if retrying {
                    self.turn.progress.set_phase(None, None);
                    self.publish_status(now, out);
                }
            }
            // Its twin `session.idle` follows at once and says the same.
            oc::SessionStatus::Idle | oc::SessionStatus::Busy | oc::SessionStatus::Other => {}
        }
    }

    fn retry(
        &mut self,
        id: String,
        retry: (u64, u64),
        message: &str,
        now: Timestamp,
        out: &mut Batch,
    ) {
        let Some(session) = self.sessions.get_mut(&id) else {
            return;
        };
        if session.retry.replace(retry) == Some(retry) {
            return;
        }
        let (attempt, until) = (retry.0, Timestamp::from_millis(retry.1));
        let error = clean(message);
        let wait = until.since(now).as_millis().div_ceil(1000);
        let failure = crate::event::Failure {
            code: crate::event::FailureCode::ProviderRetry,
            error: error.clone(),
            fatal: false,
            retry_after: u64::try_from(wait).ok(),
            resumable: None,
        };
        out.events.push(self.event(&id, now, Body::Error(failure)));
        if id == self.settings.root {
            let reason = format!("attempt {attempt} failed: {error}");
            self.turn
                .progress
                .set_phase(Some(Phase::ProviderRetry), Some(reason));
            self.publish_status(now, out);
        }
        out.signals.push(Signal::Retrying {
            session: id,
            attempt,
            until,
        });
    }

    pub(super) fn todos(
        &mut self,
        session: &str,
        todos: Vec<oc::Todo>,
        now: Timestamp,
        out: &mut Batch,
    ) {
        let root = session == self.settings.root;
        if root {
            self.turn.progress.todos(&todos);
        }
        let items = todos.into_iter().map(|todo| TodoItem {
            content: todo.content,
            status: todo.status,
            priority: todo.priority,
        });
        out.events.push(self.event(
            session,
            now,
            Body::Todo(Todo {
                items: items.collect(),
            }),
        ));
        if root {
            self.publish_status(now, out);
        }
    }

    pub(super) fn permission_asked(
        &mut self,
        ask: oc::PermissionAsked,
        now: Timestamp,
        out: &mut Batch,
    ) {
        if !self.turn.progress.asked(&ask.id, ask.call.as_deref()) {
            return;
        }
        let deadline = self.settings.ask_timeout.map(|wait| now.after(wait));
        let step = PermissionStep::Asked {
            permission: ask.permission,
            patterns: ask.patterns,
            always: ask.always,
            metadata: ask.metadata.map(Arc::from),
            call_id: ask.call,
            deadline,
        };
        let body = Body::Permission(Permission {
            request_id: ask.id.clone(),
            step,
        });
        out.events.push(self.event(&ask.session, now, body));
        self.publish_status(now, out);
        let (request, session) = (ask.id, ask.session);
        out.signals.push(Signal::PermissionAsked {
            request,
            session,
            deadline,
        });
    }

    pub(super) fn question_asked(
        &mut self,
        ask: oc::QuestionAsked,
        now: Timestamp,
        out: &mut Batch,
    ) {
        if !self.turn.progress.asked(&ask.id, ask.call.as_deref()) {
            return;
        }
        let deadline = self.settings.ask_timeout.map(|wait| now.after(wait));
        let questions = Arc::from(ask.questions);
        let step = QuestionStep::Asked {
            questions,
            call_id: ask.call,
            deadline,
        };
        let body = Body::Question(Question {
            request_id: ask.id.clone(),
            step,
        });
        out.events.push(self.event(&ask.session, now, body));
        self.publish_status(now, out);
        let (request, session) = (ask.id, ask.session);
        out.signals.push(Signal::QuestionAsked {
            request,
            session,
            deadline,
        });
    }

    pub(super) fn permission_replied(
        &mut self,
        session: &str,
        request: String,
        reply: String,
        now: Timestamp,
        out: &mut Batch,
    ) {
        let step = PermissionStep::Answered { reply };
        let body = Body::Permission(Permission {
            request_id: request.clone(),
            step,
        });
        self.answered(session, request, body, now, out);
    }

    pub(super) fn question_closed(
        &mut self,
        session: &str,
        request: String,
        answered: bool,
        now: Timestamp,
        out: &mut Batch,
    ) {
        let step = if answered {
            QuestionStep::Answered
        } else {
            QuestionStep::Rejected
        };
        let body = Body::Question(Question {
            request_id: request.clone(),
            step,
        });
        self.answered(session, request, body, now, out);
    }

    fn answered(
        &mut self,
        session: &str,
        request: String,
        body: Body,
        now: Timestamp,
        out: &mut Batch,
    ) {
        if self.turn.progress.answered(&request) {
            out.events.push(self.event(session, now, body));
            self.publish_status(now, out);
            out.signals.push(Signal::Answered { request });
        }
    }
}
