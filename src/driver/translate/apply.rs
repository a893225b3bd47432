//! Hands each event to the code that knows it, and keeps track of sessions, messages and sequence numbers.

use std::sync::Arc;

use super::signal::Signal;
use super::text_part::Snapshot;
use super::translator::{Origin, Part, Session, Translator};
use crate::clock::Timestamp;
use crate::event::{Agent, Source};
use crate::opencode::types as oc;

// === impl Translator ===

impl Translator {
    /// Applies one live event.
    pub(crate) fn apply(&mut self, event: oc::Event, now: Timestamp) {
        self.now = now;
        self.take(event, Origin::Live);
    }

    /// Applies a session that OpenCode says is there. It is ours if its parent is.
    pub(crate) fn apply_session(&mut self, info: oc::SessionInfo, now: Timestamp) {
        self.now = now;
        self.take(oc::Event::SessionCreated(info), Origin::Recalled);
    }

    /// Applies what was missed: the history, then what the messages have beyond it. What is published
    /// already is not published again.
    ///
    /// OpenCode may store that a text has ended behind the tool call that followed it, because some
    /// providers say so only at the end of their answer. Live that does no harm: the deltas came before.
    /// Here they are missing, so the texts before a call in its message are applied before the call.
    pub(crate) fn apply_missed(
        &mut self,
        history: Vec<oc::HistoryItem>,
        mut messages: Vec<oc::Message>,
        now: Timestamp,
    ) {
        self.now = now;
        for item in history {
            if let oc::Event::Part(part) = &item.event
                && matches!(part.kind, oc::PartKind::Tool(_))
            {
                for text in take_texts_before(part, &mut messages) {
                    self.take(oc::Event::Part(text), Origin::Recalled);
                }
            }
            self.apply_history(item);
        }
        for message in messages {
            self.take(oc::Event::Message(message.info), Origin::Recalled);
            for part in message.parts {
                self.take(oc::Event::Part(part), Origin::Recalled);
            }
        }
    }

    /// Applies one durable event of the history, unless it was seen.
    pub(super) fn apply_history(&mut self, item: oc::HistoryItem) {
        let session = self.sessions.get(&item.session);
        let seen = session.and_then(|session| session.sequence.seen());
        if seen.is_some_and(|seen| item.seq <= seen) {
            return;
        }
        self.take(item.event, Origin::Recalled);
        if let Some(session) = self.sessions.get_mut(&item.session) {
            session.sequence.recalled(item.seq);
        }
    }

    fn take(&mut self, event: oc::Event, origin: Origin) {
        let published = self.events.len();
        match event.session() {
            Some(session) if !self.sessions.contains_key(session) => self.adopt(event, origin),
            _ => {
                self.count(&event, origin);
                if !self.is_past(&event) {
                    self.dispatch(event, origin);
                }
            }
        }
        if !self.turn.running() {
            self.events.truncate(published);
        }
    }

    fn dispatch(&mut self, event: oc::Event, origin: Origin) {
        match event {
            oc::Event::Delta(delta) => self.delta(delta),
            oc::Event::Part(part) => self.part(part, origin),
            oc::Event::Message(info) => self.message(info),
            oc::Event::Sync { session, seq } => self.sequence(session, seq),
            oc::Event::Status { session, status } => self.session_status(&session, status),
            oc::Event::Idle { session } if self.is_root(&session) => {
                self.signals.push(Signal::Idle);
            }
            oc::Event::SessionError {
                session: Some(session),
                error,
            } if self.is_root(&session) => {
                self.turn.error.get_or_insert(error);
                self.signals.push(Signal::Failed);
            }
            oc::Event::Compacted { session } => self.compacting(&session, false),
            oc::Event::SessionDeleted { session } if self.is_root(&session) => {
                self.signals.push(Signal::SessionDeleted);
            }
            oc::Event::Disposed { directory } => {
                if directory.is_none_or(|directory| directory == self.settings.directory) {
                    self.signals.push(Signal::Disposed);
                }
            }
            oc::Event::PermissionAsked(ask) => self.permission_asked(ask),
            oc::Event::QuestionAsked(ask) => self.question_asked(ask),
            oc::Event::PermissionReplied { request, reply, .. } => {
                self.permission_replied(&request, &reply);
            }
            oc::Event::QuestionReplied {
                request, answers, ..
            } => self.question_replied(&request, Some(answers)),
            oc::Event::QuestionRejected { request, .. } => self.question_replied(&request, None),
            oc::Event::Todos { session, todos } => self.todos(&session, todos),
            // How a subagent ended is in the result of the tool that called it.
            oc::Event::Idle { .. }
            | oc::Event::SessionError { .. }
            | oc::Event::SessionDeleted { .. }
            | oc::Event::SessionCreated(_)
            | oc::Event::SessionUpdated(_)
            | oc::Event::Connected
            | oc::Event::Heartbeat
            | oc::Event::Unknown { .. } => {}
        }
    }

    /// Whether it is about a message of an earlier turn.
    fn is_past(&self, event: &oc::Event) -> bool {
        let message = match event {
            oc::Event::Message(info) => &info.id,
            oc::Event::Part(part) => &part.message,
            oc::Event::Delta(delta) => &delta.message,
            _ => return false,
        };
        self.before.as_ref().is_some_and(|before| message <= before)
    }

    /// An unknown session whose parent is known is a subagent; all else is not ours.
    fn adopt(&mut self, event: oc::Event, origin: Origin) {
        let (oc::Event::SessionCreated(info) | oc::Event::SessionUpdated(info)) = event else {
            return;
        };
        let Some(parent) = info.parent.filter(|id| self.sessions.contains_key(id)) else {
            return;
        };
        let agent = Agent {
            id: info.id.clone(),
            name: info.agent.unwrap_or_else(|| "subagent".to_owned()),
            parent: parent.clone(),
        };
        let agent = Arc::new(agent);
        self.asks.set_agent(&info.id, &agent);
        let mut session = Session {
            agent: Some(agent),
            ..Session::default()
        };
        if origin == Origin::Live {
            session.sequence.event();
        }
        self.sessions.insert(info.id.clone(), session);
        self.signals.push(Signal::SubagentStarted {
            session: info.id,
            parent,
        });
    }

    /// Notes that a durable event came, whose number follows.
    fn count(&mut self, event: &oc::Event, origin: Origin) {
        let (oc::Event::Message(oc::MessageInfo { session, .. })
        | oc::Event::Part(oc::Part { session, .. })
        | oc::Event::SessionCreated(oc::SessionInfo { id: session, .. })
        | oc::Event::SessionUpdated(oc::SessionInfo { id: session, .. })) = event
        else {
            return;
        };
        if let (Origin::Live, Some(session)) = (origin, self.sessions.get_mut(session)) {
            session.sequence.event();
        }
    }

    fn sequence(&mut self, id: String, seq: u64) {
        let Some(session) = self.sessions.get_mut(&id) else {
            return;
        };
        if session.sequence.number(seq) {
            let after = session.sequence.seen();
            self.signals
                .push(Signal::SequenceGap { session: id, after });
        }
    }

    fn message(&mut self, info: oc::MessageInfo) {
        let assistant = info.role == oc::Role::Assistant;
        let shown = assistant && !info.summary;
        let message = self.messages.entry(info.id.clone()).or_default();
        if message.shown.replace(shown).is_some() {
            return;
        }
        if assistant && self.is_root(&info.session) {
            // The agent goes on: what failed before was not the end.
            self.turn.error = info.error;
        }
        if shown {
            self.compacting(&info.session, false);
        }
        self.reveal(&info.id, shown);
    }

    fn part(&mut self, part: oc::Part, origin: Origin) {
        match (self.parts.get(&part.id), &part.kind) {
            (Some(Part::PublishedBefore), oc::PartKind::Tool(tool)) => {
                return self.learn_files(part.id, tool);
            }
            (Some(Part::Done | Part::PublishedBefore), _) => return,
            _ => {}
        }
        let oc::Part {
            id,
            session,
            message,
            time,
            kind,
        } = part;
        let (source, text, ended) = match kind {
            oc::PartKind::Text { text, ended } => (Source::Assistant, text, ended),
            oc::PartKind::Reasoning { text, ended } => (Source::Reasoning, text, ended),
            oc::PartKind::Tool(tool) => return self.tool(id, session, time, *tool, origin),
            oc::PartKind::StepStart => {
                self.parts.insert(id, Part::Done);
                return self.step_start(&message);
            }
            oc::PartKind::StepFinish(step) => {
                self.parts.insert(id, Part::Done);
                return self.turn.add_usage(&step);
            }
            oc::PartKind::Patch { files } => return self.turn.files.patched(files),
            oc::PartKind::Compaction => {
                self.parts.insert(id, Part::Done);
                return self.compacting(&session, true);
            }
            oc::PartKind::Other => return,
        };
        let snapshot = Snapshot {
            session,
            message,
            text,
            ended,
            source,
        };
        self.text(id, snapshot, origin);
    }
}

/// Takes the whole texts that were begun before `call` out of its message: ids sort in that order.
fn take_texts_before(call: &oc::Part, messages: &mut [oc::Message]) -> Vec<oc::Part> {
    let Some(message) = messages.iter_mut().find(|one| one.info.id == call.message) else {
        return Vec::new();
    };
    let whole_text = |kind: &oc::PartKind| {
        use oc::PartKind::{Reasoning, Text};
        matches!(
            kind,
            Text { ended: true, .. } | Reasoning { ended: true, .. }
        )
    };
    let before = |part: &mut oc::Part| part.id < call.id && whole_text(&part.kind);
    message.parts.extract_if(.., before).collect()
}
