//! Each event to the code that knows it, and the sessions, messages and numbers it tells of.

use std::sync::Arc;

use crate::clock::Timestamp;
use crate::event::Agent;
use crate::opencode::types as oc;

use super::{Batch, Origin, Part, Session, Signal, Translator, text, tool};

// === impl Translator ===

impl Translator {
    pub(super) fn take(
        &mut self,
        event: oc::Event,
        origin: Origin,
        now: Timestamp,
        out: &mut Batch,
    ) {
        let published = out.events.len();
        match event.session() {
            Some(session) if !self.owns(session) => self.adopt(event, origin, out),
            _ => {
                self.count(&event, origin);
                if !self.is_past(&event) {
                    self.dispatch(event, origin, now, out);
                }
            }
        }
        if !self.turn.running() {
            out.events.truncate(published);
        }
    }

    fn dispatch(&mut self, event: oc::Event, origin: Origin, now: Timestamp, out: &mut Batch) {
        match event {
            oc::Event::Delta(delta) => self.delta(delta, now, out),
            oc::Event::Part(part) => self.part(part, origin, now, out),
            oc::Event::Message(info) => self.message(info, now, out),
            oc::Event::Sync { session, seq } => self.sequence(session, seq, out),
            oc::Event::Status { session, status } => self.status(session, status, now, out),
            oc::Event::Idle { session } if session == self.settings.root => {
                self.busy = false;
                out.signals.push(Signal::Idle);
            }
            oc::Event::SessionError {
                session: Some(session),
                error,
            } if session == self.settings.root => {
                self.turn.error.get_or_insert(error);
                out.signals.push(Signal::Failed);
            }
            oc::Event::Compacted { session } => {
                self.compacting(&session, false, now, out);
                out.signals.push(Signal::Compacted { session });
            }
            oc::Event::SessionDeleted { session } if session == self.settings.root => {
                out.signals.push(Signal::SessionDeleted);
            }
            oc::Event::Disposed { directory } => {
                if directory.is_none_or(|directory| directory == self.settings.directory) {
                    out.signals.push(Signal::Disposed);
                }
            }
            oc::Event::PermissionAsked(ask) => self.permission_asked(ask, now, out),
            oc::Event::QuestionAsked(ask) => self.question_asked(ask, now, out),
            oc::Event::PermissionReplied {
                session,
                request,
                reply,
            } => {
                self.permission_replied(&session, request, reply, now, out);
            }
            oc::Event::QuestionReplied { session, request } => {
                self.question_closed(&session, request, true, now, out);
            }
            oc::Event::QuestionRejected { session, request } => {
                self.question_closed(&session, request, false, now, out);
            }
            oc::Event::Todos { session, todos } => self.todos(&session, todos, now, out),
            // A subagent's end is told by the result of the tool that called it.
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

    /// Whether it is about a message of an earlier turn, which another process told.
    fn is_past(&self, event: &oc::Event) -> bool {
        let Some(before) = &self.before else {
            return false;
        };
        let message = match event {
            oc::Event::Message(info) => &info.id,
            oc::Event::Part(part) => &part.message,
            oc::Event::Delta(delta) => &delta.message,
            _ => return false,
        };
        message <= before
    }

    /// An unknown session whose parent is known is a subagent; all else is not ours.
    fn adopt(&mut self, event: oc::Event, origin: Origin, out: &mut Batch) {
        let (oc::Event::SessionCreated(info) | oc::Event::SessionUpdated(info)) = event else {
            return;
        };
        let Some(parent) = info.parent.filter(|parent| self.owns(parent)) else {
            return;
        };
        let agent = Agent {
            id: info.id.clone(),
            name: info.agent.unwrap_or_else(|| "subagent".to_owned()),
            parent: parent.clone(),
        };
        let mut session = Session {
            agent: Some(Arc::new(agent)),
            ..Session::default()
        };
        if origin == Origin::Live {
            session.sequence.event();
        }
        self.sessions.insert(info.id.clone(), session);
        out.signals.push(Signal::ChildCreated {
            session: info.id,
            parent,
        });
    }

    /// A durable event, whose number comes next.
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

    fn sequence(&mut self, id: String, seq: u64, out: &mut Batch) {
        let Some(session) = self.sessions.get_mut(&id) else {
            return;
        };
        if session.sequence.number(seq) {
            let after = session.sequence.seen();
            out.signals.push(Signal::SequenceGap { session: id, after });
        }
    }

    fn message(&mut self, info: oc::MessageInfo, now: Timestamp, out: &mut Batch) {
        let message = self.messages.entry(info.id.clone()).or_default();
        let assistant = info.role == oc::Role::Assistant;
        let first = message.shown.is_none();
        let shown = *message.shown.insert(assistant && !info.summary);
        let done = assistant && (info.completed.is_some() || info.error.is_some());
        if done && !std::mem::replace(&mut message.done, true) {
            let (session, message) = (info.session.clone(), info.id.clone());
            out.signals.push(Signal::MessageDone { session, message });
        }
        if !first {
            return;
        }
        if assistant && info.session == self.settings.root {
            // The agent goes on: what failed before was not the end.
            self.turn.error = info.error;
        }
        if shown {
            self.compacting(&info.session, false, now, out);
        }
        self.reveal(&info.id, shown, now, out);
    }

    fn part(&mut self, part: oc::Part, origin: Origin, now: Timestamp, out: &mut Batch) {
        match (self.parts.get(&part.id), &part.kind) {
            (Some(Part::Told), oc::PartKind::Tool(tool)) => return self.recount(part.id, tool),
            (Some(Part::Done | Part::Told), _) => return,
            _ => {}
        }
        let oc::Part {
            id,
            session,
            message,
            time,
            kind,
        } = part;
        match kind {
            oc::PartKind::Text { text, ended } => {
                let piece = text::Snapshot {
                    session,
                    message,
                    text,
                    ended,
                    reasoning: false,
                };
                self.snapshot(id, piece, origin, now, out);
            }
            oc::PartKind::Reasoning { text, ended } => {
                let piece = text::Snapshot {
                    session,
                    message,
                    text,
                    ended,
                    reasoning: true,
                };
                self.snapshot(id, piece, origin, now, out);
            }
            oc::PartKind::Tool(tool) => {
                self.tool(
                    tool::Update {
                        id,
                        session,
                        time,
                        tool: *tool,
                        origin,
                    },
                    now,
                    out,
                );
            }
            oc::PartKind::StepStart => {
                self.parts.insert(id, Part::Done);
                self.step_start(&message, now, out);
            }
            oc::PartKind::StepFinish(step) => {
                self.parts.insert(id, Part::Done);
                self.turn.add_usage(&step);
            }
            oc::PartKind::Patch { files } => {
                self.turn.files.patched(files.iter().map(String::as_str));
            }
            oc::PartKind::Compaction => {
                self.parts.insert(id, Part::Done);
                self.compacting(&session, true, now, out);
            }
            oc::PartKind::Other => {}
        }
    }
}
