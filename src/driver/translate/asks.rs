//! What OpenCode says about permissions and questions, and what becomes of the answers: the events are published in
//! their place among the others.

use std::sync::Arc;

use super::signal::Signal;
use super::translator::Translator;
use crate::clock::Timestamp;
use crate::driver::asks::{Asked, NewAsk};
use crate::event::{Event, PermissionRequest};
use crate::opencode::types as oc;
use crate::session::Subject;

// === impl Translator ===

impl Translator {
    pub(super) fn permission_asked(&mut self, ask: oc::PermissionAsked) {
        let request = PermissionRequest {
            permission: ask.permission,
            patterns: ask.patterns,
            always: ask.always,
            metadata: ask.metadata.map(Arc::from),
        };
        self.asked(ask.id, ask.session, ask.tool, Subject::Permission(request));
    }

    pub(super) fn question_asked(&mut self, ask: oc::QuestionAsked) {
        let questions = Arc::from(ask.questions);
        self.asked(ask.id, ask.session, ask.tool, Subject::Questions(questions));
    }

    fn asked(
        &mut self,
        request_id: String,
        session: String,
        tool: Option<oc::AskingTool>,
        subject: Subject,
    ) {
        let request = request_id.clone();
        let asked = self.asks.ask(
            NewAsk {
                request_id,
                agent: self.agent(&session),
                session,
                call_id: tool.and_then(|tool| tool.call),
                subject,
            },
            self.now,
        );
        match asked {
            Asked::Known => {}
            Asked::Waits(event) => {
                self.events.push(*event);
                self.publish_status();
                self.signals.push(Signal::AskWaits { request });
            }
            Asked::Decided => self.signals.push(Signal::AskDecided { request }),
        }
    }

    pub(super) fn permission_replied(&mut self, request: &str, reply: &str) {
        let (event, decided) = self.asks.replied(request, reply, self.now);
        self.ask_ended(event, decided);
    }

    pub(super) fn question_replied(&mut self, request: &str, answers: Option<Vec<Vec<String>>>) {
        let event = self.asks.question_replied(request, answers, self.now);
        self.ask_ended(event, Vec::new());
    }

    /// OpenCode has taken the answer that was given to a request.
    pub(crate) fn answer_taken(&mut self, request: &str, now: Timestamp) {
        self.now = now;
        let (event, decided) = self.asks.confirm(request, now);
        self.ask_ended(event, decided);
    }

    /// OpenCode waits for the request no longer, or takes no answer.
    pub(crate) fn ask_gone(&mut self, request: &str, now: Timestamp) {
        self.now = now;
        let event = self.asks.missed_end(request, now);
        self.ask_ended(event, Vec::new());
    }

    /// Ends the requests of a tool call that has a result.
    pub(super) fn end_asks_of(&mut self, call: &str) {
        for (request, kind, event) in self.asks.call_ended(call, self.now) {
            self.events.extend(event);
            // After an abort OpenCode goes on listing it.
            self.signals.push(Signal::AskOrphaned { request, kind });
        }
    }

    /// Ends what waits, because nobody will take an answer any more.
    pub(crate) fn withdraw_asks(&mut self, reason: &str, now: Timestamp) {
        self.now = now;
        let events = self.asks.withdraw_all(reason, now);
        self.events.extend(events);
    }

    /// Applies which requests OpenCode lists, after some of its events were missed. `complete` says that what was
    /// missed of the tool calls is applied.
    pub(crate) fn apply_listed_asks(
        &mut self,
        (permissions, questions): (Vec<oc::PermissionAsked>, Vec<oc::QuestionAsked>),
        complete: bool,
        now: Timestamp,
    ) {
        self.now = now;
        let listed = |id: &str| {
            permissions.iter().any(|ask| ask.id == id) || questions.iter().any(|ask| ask.id == id)
        };
        let mut open = self.asks.open_ids();
        open.retain(|(id, _)| !listed(id));
        for (request, _) in open {
            let event = self.asks.missed_end(&request, now);
            self.ask_ended(event, Vec::new());
        }
        for ask in permissions {
            if self.is_asked_now(&ask.session, ask.tool.as_ref(), complete) {
                self.permission_asked(ask);
            }
        }
        for ask in questions {
            if self.is_asked_now(&ask.session, ask.tool.as_ref(), complete) {
                self.question_asked(ask);
            }
        }
    }

    /// Whether a listed request is one of this turn: OpenCode goes on listing those of runs that were aborted.
    fn is_asked_now(&self, session: &str, tool: Option<&oc::AskingTool>, complete: bool) -> bool {
        let past = |tool: &oc::AskingTool| {
            let before = self.before.as_deref();
            let has_ended = |call: &str| complete && !self.is_open(call);
            before.is_some_and(|before| &*tool.message <= before)
                || tool.call.as_deref().is_some_and(has_ended)
        };
        self.sessions.contains_key(session) && !tool.is_some_and(past)
    }

    fn ask_ended(&mut self, event: Option<Event>, decided: Vec<String>) {
        let decided = decided
            .into_iter()
            .map(|request| Signal::AskDecided { request });
        self.signals.extend(decided);
        if let Some(event) = event {
            self.events.push(event);
            self.publish_status();
        }
    }
}
