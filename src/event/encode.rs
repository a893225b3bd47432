//! An event as JSON, within its bound.

use serde::ser::{Serialize, SerializeMap, Serializer};

use super::shrink::{escaped_len, shrink, split};
use super::{
    Agent, Body, Complete, Event, Failure, MAX_DATA, Output, Permission, PermissionStep, Question,
    QuestionStep, ResultBody, Status, TodoItem, ToolCall, ToolResult, Usage,
};

/// An event ready to get an id.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Encoded {
    pub(crate) kind: &'static str,
    /// One line of JSON, at most [`MAX_DATA`] bytes.
    pub(crate) data: String,
    pub(crate) terminal: bool,
    pub(crate) reasoning: bool,
}

/// What every event has besides its text: names, an agent, a timestamp.
const FRAME_ROOM: usize = 4 << 10;

// === impl Event ===

impl Event {
    /// The JSON of this event, in as many pieces as its text needs.
    pub(crate) fn encode(&self) -> Vec<Encoded> {
        self.encode_within(MAX_DATA)
    }

    pub(super) fn encode_within(&self, max: usize) -> Vec<Encoded> {
        if let Body::Output(output) = &self.body {
            let room = max.saturating_sub(FRAME_ROOM).max(16);
            if output.text.len() > room / 6 && escaped_len(&output.text) > room {
                return self.split_output(output, room, max);
            }
        }
        let mut data = self.to_json();
        if data.len() > max {
            data = shrink(&data, max);
        }
        vec![self.encoded(data)]
    }

    fn split_output(&self, output: &Output, room: usize, max: usize) -> Vec<Encoded> {
        let pieces = split(&output.text, room).into_iter().enumerate();
        let pieces = pieces.flat_map(|(index, text)| {
            let piece = Output {
                text: text.to_owned(),
                truncated: output.truncated && index == 0,
                call_id: output.call_id.clone(),
                ..*output
            };
            let body = Body::Output(piece);
            Self {
                at: self.at,
                agent: self.agent.clone(),
                body,
                note: None,
            }
            .encode_within(max)
        });
        pieces.collect()
    }

    fn encoded(&self, data: String) -> Encoded {
        Encoded {
            kind: self.kind(),
            data,
            terminal: self.is_terminal(),
            reasoning: self.is_reasoning(),
        }
    }

    fn to_json(&self) -> String {
        let text = match &self.body {
            Body::Output(output) => output.text.len(),
            _ => 0,
        };
        let mut out = Vec::with_capacity(text + 192);
        // A map with string keys into memory: nothing here can fail.
        match serde_json::to_writer(&mut out, self).map(|()| String::from_utf8(out)) {
            Ok(Ok(json)) => json,
            _ => "{}".to_owned(),
        }
    }
}

impl Serialize for Event {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        match &self.body {
            Body::Status(status) => status.entries(&mut map)?,
            Body::Output(output) => output.entries(&mut map)?,
            Body::ToolCall(call) => call.entries(&mut map)?,
            Body::ToolResult(result) => result.entries(&mut map)?,
            Body::Error(failure) => failure.entries(&mut map)?,
            Body::Complete(complete) => complete.entries(&mut map)?,
            Body::Permission(permission) => permission.entries(&mut map)?,
            Body::Question(question) => question.entries(&mut map)?,
            Body::Todo(items) => map.serialize_entry("items", items)?,
        }
        if let Some(agent) = &self.agent {
            map.serialize_entry("agent", &**agent)?;
        }
        map.serialize_entry("timestamp", &self.at)?;
        map.end()
    }
}

/// Writes a field that is there, and leaves out one that is not.
fn some<M: SerializeMap, T: Serialize>(
    map: &mut M,
    key: &'static str,
    value: Option<T>,
) -> Result<(), M::Error> {
    value.map_or(Ok(()), |value| map.serialize_entry(key, &value))
}

fn truncated<M: SerializeMap>(map: &mut M, truncated: bool) -> Result<(), M::Error> {
    some(map, "truncated", truncated.then_some(true))
}

// === impl bodies ===

impl Status {
    fn entries<M: SerializeMap>(&self, map: &mut M) -> Result<(), M::Error> {
        map.serialize_entry("status", self.state.as_str())?;
        map.serialize_entry("progress", &self.progress)?;
        some(map, "phase", self.phase.map(super::Phase::as_str))?;
        some(map, "current_tool", self.current_tool.as_deref())?;
        some(map, "reason", self.reason.as_deref())
    }
}

impl Output {
    fn entries<M: SerializeMap>(&self, map: &mut M) -> Result<(), M::Error> {
        map.serialize_entry("type", self.channel.as_str())?;
        map.serialize_entry("text", &self.text)?;
        map.serialize_entry("source", self.source.as_str())?;
        some(map, "call_id", self.call_id.as_deref())?;
        truncated(map, self.truncated)
    }
}

impl ToolCall {
    fn entries<M: SerializeMap>(&self, map: &mut M) -> Result<(), M::Error> {
        map.serialize_entry("tool", &*self.tool)?;
        map.serialize_entry("args", &*self.args)?;
        map.serialize_entry("call_id", &*self.call_id)
    }
}

impl ToolResult {
    fn entries<M: SerializeMap>(&self, map: &mut M) -> Result<(), M::Error> {
        map.serialize_entry("tool", &*self.tool)?;
        map.serialize_entry("result", &self.result)?;
        map.serialize_entry("call_id", &*self.call_id)?;
        map.serialize_entry("is_error", &self.is_error)?;
        map.serialize_entry("duration_ms", &self.duration_ms)?;
        truncated(map, self.truncated)
    }
}

impl Serialize for ResultBody {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        match self {
            Self::Command {
                exit_code,
                stdout,
                stderr,
                note,
            } => {
                map.serialize_entry("exit_code", exit_code)?;
                map.serialize_entry("stdout", stdout)?;
                map.serialize_entry("stderr", stderr)?;
                some(&mut map, "note", note.as_deref())?;
            }
            Self::Content { content } => map.serialize_entry("content", content)?,
            Self::Output { output, title } => {
                map.serialize_entry("output", output)?;
                some(&mut map, "title", title.as_deref())?;
            }
            Self::Error { error } => map.serialize_entry("error", error)?,
        }
        map.end()
    }
}

impl Failure {
    fn entries<M: SerializeMap>(&self, map: &mut M) -> Result<(), M::Error> {
        map.serialize_entry("error", &self.error)?;
        map.serialize_entry("fatal", &self.fatal)?;
        map.serialize_entry("code", self.code.as_str())?;
        some(map, "retry_after", self.retry_after)?;
        some(map, "resumable", self.resumable)
    }
}

impl Complete {
    fn entries<M: SerializeMap>(&self, map: &mut M) -> Result<(), M::Error> {
        map.serialize_entry("final_message", &self.final_message)?;
        map.serialize_entry("files_modified", &self.files_modified)?;
        let deleted = Some(&self.files_deleted).filter(|files| !files.is_empty());
        some(map, "files_deleted", deleted)?;
        map.serialize_entry("usage", &self.usage)?;
        map.serialize_entry("duration_ms", &self.duration_ms)?;
        some(map, "finish_reason", self.finish_reason.as_deref())
    }
}

impl Serialize for Usage {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(6))?;
        map.serialize_entry("input_tokens", &self.input_tokens)?;
        map.serialize_entry("output_tokens", &self.output_tokens)?;
        map.serialize_entry("reasoning_tokens", &self.reasoning_tokens)?;
        map.serialize_entry("cache_read_tokens", &self.cache_read_tokens)?;
        map.serialize_entry("cache_write_tokens", &self.cache_write_tokens)?;
        map.serialize_entry("cost", &self.cost)?;
        map.end()
    }
}

impl Permission {
    fn entries<M: SerializeMap>(&self, map: &mut M) -> Result<(), M::Error> {
        map.serialize_entry("request_id", &self.request_id)?;
        match &self.step {
            PermissionStep::Asked {
                permission,
                patterns,
                always,
                metadata,
                call_id,
                deadline,
            } => {
                map.serialize_entry("state", "asked")?;
                map.serialize_entry("permission", permission)?;
                map.serialize_entry("patterns", patterns)?;
                map.serialize_entry("always", always)?;
                some(map, "metadata", metadata.as_deref())?;
                some(map, "call_id", call_id.as_deref())?;
                map.serialize_entry("deadline", deadline)
            }
            PermissionStep::Answered { reply } => {
                map.serialize_entry("state", "answered")?;
                map.serialize_entry("reply", reply)
            }
        }
    }
}

impl Question {
    fn entries<M: SerializeMap>(&self, map: &mut M) -> Result<(), M::Error> {
        map.serialize_entry("request_id", &self.request_id)?;
        match &self.step {
            QuestionStep::Asked {
                questions,
                call_id,
                deadline,
            } => {
                map.serialize_entry("state", "asked")?;
                map.serialize_entry("questions", &**questions)?;
                some(map, "call_id", call_id.as_deref())?;
                map.serialize_entry("deadline", deadline)
            }
            QuestionStep::Answered => map.serialize_entry("state", "answered"),
            QuestionStep::Rejected => map.serialize_entry("state", "rejected"),
        }
    }
}

impl Serialize for TodoItem {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(3))?;
        map.serialize_entry("content", &self.content)?;
        map.serialize_entry("status", &self.status)?;
        map.serialize_entry("priority", &self.priority)?;
        map.end()
    }
}

impl Serialize for Agent {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(3))?;
        map.serialize_entry("id", &self.id)?;
        map.serialize_entry("name", &self.name)?;
        map.serialize_entry("parent", &self.parent)?;
        map.end()
    }
}
