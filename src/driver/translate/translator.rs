//! The state of the translation of one root session. The other files of this module add what it does with
//! each kind of event.

use std::collections::HashMap;
use std::sync::Arc;

use super::sequence::Sequence;
use super::signal::Signal;
use super::text_part::TextPart;
use super::tool_run::ToolRun;
use super::turn::Turn;
use crate::clock::Timestamp;
use crate::driver::asks::Asks;
use crate::event::{Agent, Body, Event};
use crate::session::diagnosis::ToolCounts;

/// What stays the same for the life of a translator.
#[derive(Clone, Debug)]
pub(crate) struct Settings {
    /// OpenCode's id of the session.
    pub(crate) root: String,
    /// The session's directory, which relative paths are relative to.
    pub(crate) directory: String,
    /// The same tool call this many times in a row is a [`Signal::ToolRepeated`]; 0 is never.
    pub(crate) loop_limit: u32,
}

/// Translates what OpenCode says about one root session and its subagents.
#[derive(Debug)]
pub(crate) struct Translator {
    /// To be published in this order. Whoever publishes them takes them out.
    pub(crate) events: Vec<Event>,
    /// To be acted on, likewise.
    pub(crate) signals: Vec<Signal>,
    /// What the agents ask a person.
    pub(crate) asks: Asks,
    /// When what is being applied was received.
    pub(super) now: Timestamp,
    pub(super) settings: Settings,
    /// The root and its subagents.
    pub(super) sessions: HashMap<String, Session>,
    pub(super) messages: HashMap<String, Message>,
    pub(super) parts: HashMap<String, Part>,
    /// Tool calls without a result, oldest first.
    pub(super) open_tools: Vec<String>,
    /// Messages up to this one belong to earlier turns, which are published already.
    pub(super) before: Option<String>,
    pub(super) turn: Turn,
}

#[derive(Debug, Default)]
pub(super) struct Session {
    /// `None` for the root.
    pub(super) agent: Option<Arc<Agent>>,
    pub(super) sequence: Sequence,
    /// The newest retry: its number and its time.
    pub(super) retry: Option<(u64, u64)>,
    /// The newest tool call by its hash, and how often it was made in a row.
    pub(super) last_call: Option<(u64, u32)>,
}

#[derive(Debug, Default)]
pub(super) struct Message {
    /// `None` until its first event; then whether its text is for the client.
    pub(super) shown: Option<bool>,
    pub(super) steps: u32,
}

#[derive(Debug)]
pub(super) enum Part {
    Text(Box<TextPart>),
    Tool(Box<ToolRun>),
    /// All of it is published.
    Done,
    /// A tool call whose result another process published: which files it changed is still unknown.
    PublishedBefore,
}

/// How an event reached us, and so what it says about those before it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Origin {
    /// In order, with everything since the connection was made.
    Live,
    /// From the history or a list of messages: what happened in between is not known.
    Recalled,
}

// === impl Translator ===

impl Translator {
    /// Messages up to `before` belong to earlier turns.
    pub(crate) fn new(settings: Settings, before: Option<String>) -> Self {
        Self {
            events: Vec::new(),
            signals: Vec::new(),
            asks: Asks::default(),
            now: Timestamp::from_millis(0),
            sessions: HashMap::from([(settings.root.clone(), Session::default())]),
            settings,
            messages: HashMap::new(),
            parts: HashMap::new(),
            open_tools: Vec::new(),
            before,
            turn: Turn::default(),
        }
    }

    /// A translator in the middle of a turn that another process began to publish. `notes` has the newest
    /// [`crate::event::Note`] of each part of the turn.
    ///
    /// The words published of a text are not known: what is beyond their number of bytes in the final text
    /// is the rest. Of a call without a result no more output is published: its result has all of it.
    pub(crate) fn restore(
        settings: Settings,
        mut notes: Vec<(String, u64)>,
        before: Option<String>,
        began: Timestamp,
    ) -> Self {
        let mut translator = Self::new(settings, before);
        translator.turn.began = Some(began);
        // Ids sort in the order the parts were made, and so do the names that begin with them.
        notes.sort_unstable();
        for (name, value) in notes {
            if translator.asks.restore(&name, value, began) {
                continue;
            }
            let (id, part) = match ToolRun::restore(&name, value, began) {
                Some((id, Some(run))) => {
                    translator.open_tools.push(id.clone());
                    (id, Part::Tool(Box::new(run)))
                }
                Some((id, None)) => (id, Part::PublishedBefore),
                None => {
                    let text = TextPart::restore(&name, value);
                    (name, Part::Text(Box::new(text)))
                }
            };
            translator.parts.insert(id, part);
        }
        translator
    }

    /// The known sessions and the last durable event seen of each: what `/sync/history` is asked with.
    pub(crate) fn sequences(&self) -> Vec<(String, Option<u64>)> {
        let sessions = self.sessions.iter();
        sessions
            .map(|(id, session)| (id.clone(), session.sequence.seen()))
            .collect()
    }

    /// The newest message of any of the sessions: ids sort in the order the messages were made.
    pub(crate) fn newest_message(&self) -> Option<&str> {
        let newest = self.messages.keys().max();
        newest.or(self.before.as_ref()).map(String::as_str)
    }

    /// A tool that runs, and since when: the newest.
    pub(crate) fn open_tool(&self) -> Option<(Arc<str>, Timestamp)> {
        let mut ids = self.open_tools.iter().rev();
        ids.find_map(|id| match self.parts.get(id)? {
            Part::Tool(run) => Some(run.running()),
            _ => None,
        })
    }

    /// What the turn's tools were called for so far.
    pub(crate) const fn tool_counts(&self) -> &ToolCounts {
        &self.turn.tool_counts
    }

    pub(super) fn is_root(&self, session: &str) -> bool {
        session == self.settings.root
    }

    pub(super) fn agent(&self, session: &str) -> Option<Arc<Agent>> {
        self.sessions.get(session)?.agent.clone()
    }

    /// Publishes what happened in `session`.
    pub(super) fn publish(&mut self, session: &str, body: Body) {
        let agent = self.agent(session);
        self.events.push(Event {
            agent,
            ..Event::new(self.now, body)
        });
    }

    /// Publishes the status if it changed.
    pub(super) fn publish_status(&mut self) {
        self.turn.progress.waiting = self.asks.is_waiting();
        if let Some(status) = self.turn.progress.changed_status() {
            self.events.push(Event::new(self.now, Body::Status(status)));
        }
    }
}
