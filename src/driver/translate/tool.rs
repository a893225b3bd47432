//! Tool calls: one call, its output as it grows, one result.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Arc;

use serde::Deserialize;
use serde_json::value::RawValue;

use crate::clock::Timestamp;
use crate::event::{
    Agent, Body, Channel, Event, Note, Output, ResultBody, Source, ToolCall, ToolResult,
};
use crate::opencode::types as oc;

use super::cumulative::{Cumulative, Piece};
use super::{Batch, Origin, Part, Signal, Translator, cumulative, result};

/// The tool OpenCode puts in the place of one that does not exist.
const INVALID: &str = "invalid";

/// A tool call that has no result yet.
#[derive(Debug)]
pub(super) struct ToolRun {
    session: String,
    agent: Option<Arc<Agent>>,
    tool: Arc<str>,
    call: Arc<str>,
    /// Whether the client knows of it.
    called: bool,
    /// Another process told the call and some output; the rest of that is in the result.
    quiet: bool,
    /// Its name in notes, from the call on.
    note: Arc<str>,
    output: Cumulative,
    seen: Timestamp,
    start: Option<u64>,
    /// When the newest state was stored; an older one is a repetition.
    time: u64,
}

/// What the note of a call says.
const CALLED: u64 = 1;
const ENDED: u64 = 2;

/// The name of a call in notes. It holds all that a result needs, so that the call can be closed even if
/// the engine never comes back to say what it was.
#[derive(Debug, PartialEq, Eq)]
struct Name<'a> {
    id: &'a str,
    call: &'a str,
    tool: &'a str,
}

/// The state of a tool part as OpenCode stored it.
#[derive(Debug)]
pub(super) struct Update {
    pub(super) id: String,
    pub(super) session: String,
    pub(super) time: Option<u64>,
    pub(super) tool: oc::ToolPart,
    pub(super) origin: Origin,
}

// === impl ToolRun ===

impl ToolRun {
    fn note(&self, value: u64) -> Note {
        let part = self.note.clone();
        Note { part, value }
    }

    fn output(&self, piece: Option<Piece>, now: Timestamp) -> Option<Event> {
        let Piece { text, hole } = piece?;
        let output = Output {
            channel: Channel::Stdout,
            source: Source::Tool,
            text,
            call_id: Some(self.call.clone()),
            truncated: hole,
        };
        Some(Event {
            at: now,
            agent: self.agent.clone(),
            body: Body::Output(output),
            note: Some(self.note(CALLED)),
        })
    }

    fn duration_ms(&self, end: Option<u64>, now: Timestamp) -> u64 {
        match (self.start, end) {
            (Some(start), Some(end)) => end.saturating_sub(start),
            (Some(start), None) => now.as_millis().saturating_sub(start),
            (None, _) => u64::try_from(now.since(self.seen).as_millis()).unwrap_or(u64::MAX),
        }
    }

    fn result(&self, outcome: result::Outcome, end: Option<u64>, now: Timestamp) -> Event {
        let body = ToolResult {
            tool: self.tool.clone(),
            call_id: self.call.clone(),
            result: outcome.body,
            is_error: outcome.is_error,
            duration_ms: self.duration_ms(end, now),
            truncated: outcome.truncated,
        };
        Event {
            at: now,
            agent: self.agent.clone(),
            body: Body::ToolResult(body),
            note: Some(self.note(ENDED)),
        }
    }

    /// The result of a call the turn ended under.
    fn interrupted(&self, now: Timestamp) -> Event {
        let error = "the tool was interrupted before it finished".to_owned();
        let body = ResultBody::Error { error };
        self.result(
            result::Outcome {
                body,
                is_error: true,
                truncated: false,
            },
            None,
            now,
        )
    }
}

// === impl Translator ===

impl Translator {
    pub(super) fn tool(&mut self, update: Update, now: Timestamp, out: &mut Batch) {
        let Update {
            id,
            session,
            time,
            tool,
            origin,
        } = update;
        let oc::ToolPart {
            tool: name,
            call,
            state,
        } = tool;
        let agent = self.agent(&session);
        let entry = self.parts.entry(id.clone()).or_insert_with(|| {
            Part::Tool(Box::new(ToolRun {
                session: session.clone(),
                agent: agent.clone(),
                tool: (&*name).into(),
                call: call.into(),
                called: false,
                quiet: false,
                note: Arc::default(),
                output: Cumulative::default(),
                seen: now,
                start: None,
                time: 0,
            }))
        });
        let Part::Tool(run) = entry else { return };
        if run.session.is_empty() {
            (run.session, run.agent) = (session, agent);
        }
        if time.is_some_and(|time| time < run.time) {
            return;
        }
        run.time = time.unwrap_or(run.time);
        run.start = run.start.or(state.start);
        match state.status {
            oc::ToolStatus::Pending => {}
            oc::ToolStatus::Running => {
                self.call(&id, &name, state.input.as_deref(), now, out);
                // A list does not say when; its output may be older than what is published.
                if let (Some(text), Some(Part::Tool(run))) =
                    (state.metadata.output, self.parts.get_mut(&id))
                    && (origin == Origin::Live || time.is_some())
                    && !run.quiet
                {
                    let piece = run.output.advance(text.into_whole());
                    out.events.extend(run.output(piece, now));
                }
            }
            oc::ToolStatus::Completed | oc::ToolStatus::Error => {
                self.call(&id, &name, state.input.as_deref(), now, out);
                self.end_tool(&id, &name, state, now, out);
            }
        }
    }

    /// Publishes the call, once.
    fn call(
        &mut self,
        id: &str,
        name: &str,
        input: Option<&RawValue>,
        now: Timestamp,
        out: &mut Batch,
    ) {
        let Some(Part::Tool(run)) = self.parts.get_mut(id) else {
            return;
        };
        if std::mem::replace(&mut run.called, true) {
            return;
        }
        let mut input = input.map_or("{}", RawValue::get);
        if name == INVALID {
            if let Ok(Wanted { tool }) = serde_json::from_str(input) {
                run.tool = tool.into();
            }
            // What the model wrote is not in here; the rest of this input is the error the result repeats.
            input = "{}";
        } else {
            run.tool = name.into();
        }
        run.note = Name {
            id,
            call: &run.call,
            tool: &run.tool,
        }
        .join();
        let note = Some(run.note(CALLED));
        let args = RawValue::from_string(input.to_owned()).unwrap_or_default();
        let (tool, call_id, args) = (run.tool.clone(), run.call.clone(), Arc::from(args));
        let (session, agent) = (run.session.clone(), run.agent.clone());
        let body = Body::ToolCall(ToolCall {
            tool: tool.clone(),
            call_id: call_id.clone(),
            args,
        });
        out.events.push(Event {
            at: now,
            agent,
            body,
            note,
        });
        self.open_tools.push(id.to_owned());
        if session == self.settings.root {
            self.turn.progress.tool_began(call_id, tool.clone());
            self.publish_status(now, out);
        }
        self.guard(&session, tool, input, out);
    }

    /// Counts the same call in a row, per session.
    fn guard(&mut self, session: &str, tool: Arc<str>, input: &str, out: &mut Batch) {
        let Some(session) = self.sessions.get_mut(session) else {
            return;
        };
        let mut hasher = DefaultHasher::new();
        (&*tool, input).hash(&mut hasher);
        let hash = hasher.finish();
        let times = match session.last_call {
            Some((last, times)) if last == hash => times + 1,
            _ => 1,
        };
        session.last_call = Some((hash, times));
        if times == self.settings.loop_limit {
            out.signals.push(Signal::ToolRepeated { tool, times });
        }
    }

    fn end_tool(
        &mut self,
        id: &str,
        name: &str,
        mut state: oc::ToolState,
        now: Timestamp,
        out: &mut Batch,
    ) {
        let Some(Part::Tool(mut run)) = self.parts.insert(id.to_owned(), Part::Done) else {
            return;
        };
        self.open_tools.retain(|open| open != id);
        if state.status == oc::ToolStatus::Completed {
            self.turn.files.wrote(name, &state);
        }
        let printed = cumulative::Result::read(&whole(state.output.take()));
        // Only a command streams; another tool's output is its result.
        if name == "bash"
            && !run.quiet
            && let Some(output) = state.metadata.output.take()
        {
            let piece = run.output.settle(output.into_whole(), &printed);
            out.events.extend(run.output(piece, now));
        }
        let end = state.end;
        let outcome = result::outcome(name, state, printed);
        out.events.push(run.result(outcome, end, now));
        if run.session == self.settings.root {
            self.turn.progress.tool_ended(&run.call);
        }
        self.turn.progress.call_closed(&run.call);
        self.publish_status(now, out);
    }

    /// A call another process told of, by its note. `false`: it is the note of something else.
    pub(super) fn recall_tool(&mut self, note: &str, value: u64, now: Timestamp) -> bool {
        let Some(name) = Name::split(note) else {
            return false;
        };
        let id = name.id.to_owned();
        if value >= ENDED {
            self.parts.insert(id, Part::Told);
            return true;
        }
        let run = ToolRun {
            session: String::new(),
            agent: None,
            tool: name.tool.into(),
            call: name.call.into(),
            called: true,
            quiet: true,
            note: note.into(),
            output: Cumulative::default(),
            seen: now,
            start: None,
            time: 0,
        };
        self.parts.insert(id.clone(), Part::Tool(Box::new(run)));
        self.open_tools.push(id);
        true
    }

    /// A part that another process told whole: only what it changed counts.
    pub(super) fn recount(&mut self, id: String, tool: &oc::ToolPart) {
        if tool.state.status == oc::ToolStatus::Completed {
            self.turn.files.wrote(&tool.tool, &tool.state);
            self.parts.insert(id, Part::Done);
        }
    }

    /// Gives every open call a result, as the turn ends or its process is gone.
    pub(super) fn interrupt_tools(&mut self, now: Timestamp, out: &mut Batch) {
        for id in std::mem::take(&mut self.open_tools) {
            if let Some(Part::Tool(run)) = self.parts.insert(id, Part::Done) {
                out.events.push(run.interrupted(now));
            }
        }
        self.turn.progress.tools_ended();
    }

    /// The calls without a result, oldest first: what a turn that ends now would interrupt.
    #[cfg_attr(not(test), expect(dead_code, reason = "asked by tests"))]
    pub(crate) fn open_calls(&self) -> impl Iterator<Item = &str> {
        self.open_tools
            .iter()
            .filter_map(|id| match self.parts.get(id) {
                Some(Part::Tool(run)) => Some(&*run.call),
                _ => None,
            })
    }
}

// === impl Name ===

impl<'a> Name<'a> {
    fn join(&self) -> Arc<str> {
        let Self { id, call, tool } = self;
        format!("{id}\n{call}\n{tool}").into()
    }

    fn split(note: &'a str) -> Option<Self> {
        let (id, rest) = note.split_once('\n')?;
        let (call, tool) = rest.split_once('\n')?;
        Some(Self { id, call, tool })
    }
}

/// The input of [`INVALID`].
#[derive(Deserialize)]
struct Wanted {
    tool: String,
}

fn whole(text: Option<oc::Text>) -> String {
    text.map(oc::Text::into_whole).unwrap_or_default()
}
