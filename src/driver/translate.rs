//! OpenCode's events to ours: pure, one [`Translator`] per session.
//!
//! It takes what OpenCode said about one root session and its subagents, and a moment; it gives the
//! events to publish and the [`Signal`]s the driver acts on. It reads no clock and waits for nothing.
//!
//! What it promises:
//! - The `output` texts of a part join to the part's final text, without hole and without repetition,
//!   whatever was lost or said twice in between. After a loss ([`Translator::feed_lost`]) the deltas of a
//!   part that was open wait for its final text, as nobody can say what is missing before them.
//! - A tool call has one `tool_call` and one `tool_result`, also when the turn ends under it.
//! - Between [`Translator::begin_turn`] and [`Translator::finish`] there is exactly one terminal event,
//!   the last. Outside of a turn it learns, and publishes nothing.
//!
//! It does not decide when a turn has ended; [`super::ending`] does. What it remembers grows with the
//! number of parts of the session (about 100 bytes each), so that no part is ever published twice.

mod crash;
mod cumulative;
mod dispatch;
mod failure;
mod files;
mod missed;
mod progress;
mod restore;
mod result;
mod sequence;
#[cfg(test)]
mod tests;
mod text;
mod tool;
mod turn;

pub(crate) use failure::classify;
pub(crate) use turn::End;

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use crate::clock::Timestamp;
use crate::event::{Agent, Body, Event};
use crate::opencode::types as oc;

use sequence::Sequence;
use text::TextPart;
use tool::ToolRun;
use turn::Turn;

/// What a translator is told once.
#[derive(Clone, Debug)]
pub(crate) struct Settings {
    /// OpenCode's id of the session.
    pub(crate) root: String,
    /// The session's directory, which relative paths are relative to.
    pub(crate) directory: String,
    /// How long a permission or a question may wait; its deadline is published.
    pub(crate) ask_timeout: Option<Duration>,
    /// The same tool call this many times in a row is a [`Signal::ToolRepeated`]; 0 is never.
    pub(crate) loop_limit: u32,
}

/// What came of one event.
#[derive(Debug, Default)]
pub(crate) struct Batch {
    pub(crate) events: Vec<Event>,
    pub(crate) signals: Vec<Signal>,
}

/// Something the driver must do or know.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Signal {
    /// The root session says it works, and did not before.
    Busy,
    /// The root session says it is idle: ask whether the turn has ended ([`super::ending`]).
    Idle,
    /// The root session failed: ask as well, because sometimes no idle follows.
    Failed,
    /// A message of the model is whole, or failed.
    MessageDone {
        session: String,
        message: String,
    },
    /// A subagent began; its events and model calls belong to this session.
    ChildCreated {
        session: String,
        parent: String,
    },
    PermissionAsked {
        request: String,
        session: String,
        deadline: Option<Timestamp>,
    },
    QuestionAsked {
        request: String,
        session: String,
        deadline: Option<Timestamp>,
    },
    Answered {
        request: String,
    },
    /// The provider is asked again at `until`.
    Retrying {
        session: String,
        attempt: u64,
        until: Timestamp,
    },
    Compacted {
        session: String,
    },
    /// The loop guard: the same call, this many times in a row.
    ToolRepeated {
        tool: Arc<str>,
        times: u32,
    },
    /// Durable events after `after` are missing: ask the history.
    SequenceGap {
        session: String,
        after: Option<u64>,
    },
    /// A part's final text does not begin with what was published of it; nothing can mend that.
    TextDiverged {
        part: String,
    },
    SessionDeleted,
    /// Every run in the session's directory was aborted.
    Disposed,
}

/// The state of one root session.
#[derive(Debug)]
pub(crate) struct Translator {
    settings: Settings,
    /// The root and its subagents.
    sessions: HashMap<String, Session>,
    messages: HashMap<String, Message>,
    parts: HashMap<String, Part>,
    /// Tool calls without a result, oldest first.
    open_tools: Vec<String>,
    /// Messages up to this one are of earlier turns, which another process told.
    before: Option<String>,
    /// Whether the root session said last that it works.
    busy: bool,
    turn: Turn,
}

#[derive(Debug, Default)]
struct Session {
    /// Nothing for the root.
    agent: Option<Arc<Agent>>,
    sequence: Sequence,
    retry: Option<(u64, u64)>,
    last_call: Option<(u64, u32)>,
}

#[derive(Debug, Default)]
struct Message {
    /// Nothing until its first event; then whether its text is for the client.
    shown: Option<bool>,
    done: bool,
    steps: u32,
}

#[derive(Debug)]
enum Part {
    Text(Box<TextPart>),
    Tool(Box<ToolRun>),
    /// All of it is published.
    Done,
    /// The same of a tool call, by another process: what it changed is still to be learnt.
    Told,
}

/// How an event reached us, and so what it says about those before it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Origin {
    /// In order, with everything since the connection was made.
    Live,
    /// From the history or a list of messages: what happened in between is not known.
    Recalled,
}

// === impl Translator ===

impl Translator {
    pub(crate) fn new(settings: Settings) -> Self {
        let sessions = HashMap::from([(settings.root.clone(), Session::default())]);
        Self {
            settings,
            sessions,
            messages: HashMap::new(),
            parts: HashMap::new(),
            open_tools: Vec::new(),
            before: None,
            busy: false,
            turn: Turn::default(),
        }
    }

    /// Whether this OpenCode session is the root or one of its subagents.
    pub(crate) fn owns(&self, session: &str) -> bool {
        self.sessions.contains_key(session)
    }

    /// The known sessions and the last durable event seen of each: what `/sync/history` is asked with.
    pub(crate) fn sequences(&self) -> impl Iterator<Item = (&str, Option<u64>)> {
        self.sessions
            .iter()
            .map(|(id, session)| (&**id, session.sequence.seen()))
    }

    /// Takes one live event.
    pub(crate) fn apply(&mut self, event: oc::Event, now: Timestamp, out: &mut Batch) {
        self.take(event, Origin::Live, now, out);
    }

    /// Takes one durable event of the history. Those already seen do nothing.
    pub(crate) fn apply_history(&mut self, item: oc::HistoryItem, now: Timestamp, out: &mut Batch) {
        let session = self.sessions.get(&item.session);
        let seen = session.and_then(|session| session.sequence.seen());
        if seen.is_some_and(|seen| item.seq <= seen) {
            return;
        }
        self.take(item.event, Origin::Recalled, now, out);
        if let Some(session) = self.sessions.get_mut(&item.session) {
            session.sequence.recalled(item.seq);
        }
    }

    /// Takes one message of a session's list. What is already published of it does nothing.
    pub(crate) fn apply_message(&mut self, message: oc::Message, now: Timestamp, out: &mut Batch) {
        self.take(oc::Event::Message(message.info), Origin::Recalled, now, out);
        for part in message.parts {
            self.take(oc::Event::Part(part), Origin::Recalled, now, out);
        }
    }

    /// The connection was lost: events may be missing from here on.
    ///
    /// Connect, ask `/sync/history` with [`sequences`](Self::sequences), apply it, read the status and what
    /// waits for an answer again, and only then apply what the new connection brought: then nothing is
    /// out of order.
    pub(crate) fn feed_lost(&mut self) {
        for session in self.sessions.values_mut() {
            session.sequence.lost();
        }
        for part in self.parts.values_mut() {
            if let Part::Text(text) = part {
                text.hold();
            }
        }
    }

    fn agent(&self, session: &str) -> Option<Arc<Agent>> {
        self.sessions
            .get(session)
            .and_then(|session| session.agent.clone())
    }

    fn event(&self, session: &str, now: Timestamp, body: Body) -> Event {
        Event {
            at: now,
            agent: self.agent(session),
            body,
            note: None,
        }
    }
}
