//! A tool call that has no result yet, and its events.

use std::sync::Arc;

use serde_json::value::RawValue;

use super::output_diff::{OutputDiff, Piece};
use super::result::Outcome;
use crate::clock::{Timestamp, millis};
use crate::event::{
    Agent, Body, Channel, Event, Note, Output, ResultBody, Source, ToolCall, ToolResult,
};

/// What the note of a call says: the call is published, or its result as well.
const CALLED: u64 = 1;
const ENDED: u64 = 2;

#[derive(Debug, Default)]
pub(super) struct ToolRun {
    /// Empty until it is known.
    pub(super) session: String,
    pub(super) agent: Option<Arc<Agent>>,
    pub(super) tool: Arc<str>,
    pub(super) call: Arc<str>,
    /// The part's name in notes; empty until the call is published.
    ///
    /// It holds all that a result needs, so that the call can be closed even if the engine never comes back
    /// to say what it was.
    note: Arc<str>,
    /// Another process published the call and some output; the rest of that is in the result.
    pub(super) restored: bool,
    pub(super) output: OutputDiff,
    seen: Timestamp,
    pub(super) start: Option<u64>,
    /// When the newest state was stored; an older one is a repetition.
    pub(super) time: u64,
}

// === impl ToolRun ===

impl ToolRun {
    pub(super) fn new(call: String, now: Timestamp) -> Self {
        Self {
            call: call.into(),
            seen: now,
            ..Self::default()
        }
    }

    /// The tool, and since when it runs.
    pub(super) fn running(&self) -> (Arc<str>, Timestamp) {
        let since = self.start.map_or(self.seen, Timestamp::from_millis);
        (self.tool.clone(), since)
    }

    /// The id of the call that another process published under this note, and the call if it has no result
    /// yet. `None`: it is the note of something else.
    pub(super) fn restore(
        note: &str,
        value: u64,
        now: Timestamp,
    ) -> Option<(String, Option<Self>)> {
        let (id, rest) = note.split_once('\n')?;
        let (call, tool) = rest.split_once('\n')?;
        let run = (value < ENDED).then(|| Self {
            tool: tool.into(),
            note: note.into(),
            restored: true,
            ..Self::new(call.to_owned(), now)
        });
        Some((id.to_owned(), run))
    }

    pub(super) fn is_published(&self) -> bool {
        !self.note.is_empty()
    }

    /// The event of the call.
    pub(super) fn called(&mut self, id: &str, tool: &str, args: &str, now: Timestamp) -> Event {
        self.tool = tool.into();
        self.note = format!("{id}\n{}\n{}", self.call, self.tool).into();
        let args = RawValue::from_string(args.to_owned()).unwrap_or_default();
        let body = ToolCall {
            tool: self.tool.clone(),
            call_id: self.call.clone(),
            args: Arc::from(args),
        };
        self.event(Body::ToolCall(body), CALLED, now)
    }

    pub(super) fn printed(&self, piece: Option<Piece>, now: Timestamp) -> Option<Event> {
        let Piece { text, truncated } = piece?;
        let output = Output {
            channel: Channel::Stdout,
            source: Source::Tool,
            text,
            call_id: Some(self.call.clone()),
            truncated,
        };
        Some(self.event(Body::Output(output), CALLED, now))
    }

    /// The result; `end`: when OpenCode says that the tool ended.
    pub(super) fn ended(&self, outcome: Outcome, end: Option<u64>, now: Timestamp) -> Event {
        let duration_ms = match (self.start, end) {
            (Some(start), end) => end.unwrap_or(now.as_millis()).saturating_sub(start),
            (None, _) => millis(now.since(self.seen)),
        };
        let body = ToolResult {
            tool: self.tool.clone(),
            call_id: self.call.clone(),
            result: outcome.body,
            is_error: outcome.is_error,
            duration_ms,
            truncated: outcome.truncated,
        };
        self.event(Body::ToolResult(body), ENDED, now)
    }

    /// The result of a call that was running when the turn ended.
    pub(super) fn interrupted(&self, now: Timestamp) -> Event {
        let error = "the tool was interrupted before it finished".to_owned();
        self.ended(Outcome::failed(ResultBody::Error { error }), None, now)
    }

    fn event(&self, body: Body, note: u64, now: Timestamp) -> Event {
        Event {
            agent: self.agent.clone(),
            note: Some(Note {
                part: self.note.clone(),
                value: note,
            }),
            ..Event::new(now, body)
        }
    }
}
