//! What models wrote as arguments of tool calls.
//!
//! A call of a tool that does not exist, or that a session may not use, comes back from OpenCode without its
//! arguments: it puts a tool of its own in the place of the call. What was tried is then known here only.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

use parking_lot::Mutex;
use serde::Deserialize;

use crate::provider::Dialect;

/// Calls that are kept, the newest: one that is refused is asked for within moments.
const MAX_CALLS: usize = 32;
/// Longer arguments are not kept.
const MAX_BYTES: usize = 64 << 10;

/// The arguments of a session's newest calls, by the call's id.
#[derive(Debug, Default)]
pub(super) struct ToolArguments(Mutex<VecDeque<(String, String)>>);

/// Finds the calls in one streamed answer.
#[derive(Debug)]
pub(super) struct Reader {
    dialect: Dialect,
    /// The ids of the answer's calls, by the number that their pieces carry.
    ids: HashMap<u64, String>,
    arguments: Arc<ToolArguments>,
}

// === impl ToolArguments ===

impl ToolArguments {
    /// What was written for the call `id`, if all of it is here.
    pub(super) fn of(&self, id: &str) -> Option<String> {
        let calls = self.0.lock();
        let (_, arguments) = calls.iter().find(|(known, _)| known == id)?;
        (arguments.len() <= MAX_BYTES).then(|| arguments.clone())
    }

    fn begin(&self, id: &str, arguments: &str) {
        let mut calls = self.0.lock();
        calls.retain(|(known, _)| known != id);
        if calls.len() == MAX_CALLS {
            calls.pop_front();
        }
        calls.push_back((id.to_owned(), String::new()));
        drop(calls);
        self.append(id, arguments);
    }

    /// One that is too long keeps one byte more than may be, by which it is known.
    fn append(&self, id: &str, piece: &str) {
        let mut calls = self.0.lock();
        if let Some((_, arguments)) = calls.iter_mut().find(|(known, _)| known == id) {
            if arguments.len() + piece.len() <= MAX_BYTES {
                arguments.push_str(piece);
            } else {
                *arguments = " ".repeat(MAX_BYTES + 1);
            }
        }
    }
}

// === impl Reader ===

impl Reader {
    pub(super) fn new(dialect: Dialect, arguments: Arc<ToolArguments>) -> Self {
        Self {
            dialect,
            ids: HashMap::new(),
            arguments,
        }
    }

    /// Sees the data of one event.
    pub(super) fn see(&mut self, json: &[u8]) {
        // Nearly every event is text: it is not parsed.
        let has = |word: &str| memchr::memmem::find(json, word.as_bytes()).is_some();
        match self.dialect {
            Dialect::Chat if has("\"tool_calls\"") => self.chat(json),
            Dialect::Responses if has("\"function_call\"") => self.responses(json),
            Dialect::Messages if has("\"tool_use\"") || has("\"input_json_delta\"") => {
                self.messages(json);
            }
            Dialect::Chat | Dialect::Responses | Dialect::Messages => {}
        }
    }

    fn chat(&mut self, json: &[u8]) {
        let Ok(chunk) = serde_json::from_slice::<ChatChunk>(json) else {
            return;
        };
        let deltas = chunk.choices.into_iter().filter_map(|choice| choice.delta);
        for call in deltas.filter_map(|delta| delta.tool_calls).flatten() {
            let (name, piece) = match call.function {
                Some(function) => (function.name, function.arguments.unwrap_or_default()),
                None => (None, String::new()),
            };
            match call.id.filter(|id| !id.is_empty()) {
                // Some servers repeat the id with every piece.
                Some(id) if self.ids.get(&call.index) != Some(&id) || name.is_some() => {
                    self.arguments.begin(&id, &piece);
                    self.ids.insert(call.index, id);
                }
                _ => self.append(call.index, &piece),
            }
        }
    }

    fn responses(&self, json: &[u8]) {
        let Ok(event) = serde_json::from_slice::<ResponsesEvent>(json) else {
            return;
        };
        if let ("response.output_item.done", Some(item)) = (&*event.kind, event.item)
            && let (Some(id), Some(arguments)) = (item.call_id, item.arguments)
        {
            self.arguments.begin(&id, &arguments);
        }
    }

    fn messages(&mut self, json: &[u8]) {
        let Ok(event) = serde_json::from_slice::<MessagesEvent>(json) else {
            return;
        };
        if let Some(id) = event.content_block.and_then(|block| block.id) {
            self.arguments.begin(&id, "");
            self.ids.insert(event.index, id);
        } else if let Some(piece) = event.delta.and_then(|delta| delta.partial_json) {
            self.append(event.index, &piece);
        }
    }

    fn append(&self, index: u64, piece: &str) {
        if let Some(id) = self.ids.get(&index) {
            self.arguments.append(id, piece);
        }
    }
}

#[derive(Deserialize)]
struct ChatChunk {
    #[serde(default)]
    choices: Vec<ChatChoice>,
}

#[derive(Deserialize)]
struct ChatChoice {
    delta: Option<ChatDelta>,
}

#[derive(Deserialize)]
struct ChatDelta {
    tool_calls: Option<Vec<ChatCall>>,
}

#[derive(Deserialize)]
struct ChatCall {
    #[serde(default)]
    index: u64,
    id: Option<String>,
    function: Option<ChatFunction>,
}

#[derive(Deserialize)]
struct ChatFunction {
    name: Option<String>,
    arguments: Option<String>,
}

#[derive(Deserialize)]
struct ResponsesEvent {
    #[serde(rename = "type")]
    kind: String,
    item: Option<ResponsesItem>,
}

#[derive(Deserialize)]
struct ResponsesItem {
    call_id: Option<String>,
    arguments: Option<String>,
}

#[derive(Deserialize)]
struct MessagesEvent {
    #[serde(default)]
    index: u64,
    content_block: Option<MessagesBlock>,
    delta: Option<MessagesDelta>,
}

#[derive(Deserialize)]
struct MessagesBlock {
    id: Option<String>,
}

#[derive(Deserialize)]
struct MessagesDelta {
    partial_json: Option<String>,
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn read(dialect: Dialect, events: &[serde_json::Value]) -> Arc<ToolArguments> {
        let arguments = Arc::new(ToolArguments::default());
        let mut reader = Reader::new(dialect, arguments.clone());
        for event in events {
            reader.see(event.to_string().as_bytes());
        }
        arguments
    }

    #[test]
    fn the_pieces_of_two_calls_are_joined_in_every_dialect() {
        let piece = |index: u64, id: Option<&str>, name: Option<&str>, arguments: &str| {
            json!({ "choices": [{ "delta": { "tool_calls": [
                { "index": index, "id": id, "function": { "name": name, "arguments": arguments } }] } }] })
        };
        let chat = [
            json!({ "choices": [{ "delta": { "content": "tool_calls" } }] }),
            piece(0, Some("a"), Some("x"), "{\"n\""),
            piece(1, Some("b"), Some("y"), ""),
            piece(0, None, None, ":1}"),
            // The id again with a piece, as some servers do.
            piece(1, Some("b"), None, "{}"),
        ];
        let responses = [
            json!({ "type": "response.output_item.added", "item": { "type": "function_call", "call_id": "a", "arguments": "" } }),
            json!({ "type": "response.output_item.done", "item": { "type": "function_call", "call_id": "a", "arguments": "{\"n\":1}" } }),
            json!({ "type": "response.output_item.done", "item": { "type": "function_call", "call_id": "b", "arguments": "{}" } }),
        ];
        let start = |index: u64, id: &str| json!({ "type": "content_block_start", "index": index, "content_block": { "type": "tool_use", "id": id, "name": "x", "input": {} } });
        let delta = |index: u64, text: &str| json!({ "type": "content_block_delta", "index": index, "delta": { "type": "input_json_delta", "partial_json": text } });
        let messages = [
            start(1, "a"),
            delta(1, "{\"n\""),
            start(2, "b"),
            delta(2, "{}"),
            delta(1, ":1}"),
        ];
        for (dialect, events) in [
            (Dialect::Chat, &chat[..]),
            (Dialect::Responses, &responses[..]),
            (Dialect::Messages, &messages[..]),
        ] {
            let found = read(dialect, events);
            assert_eq!(found.of("a").as_deref(), Some("{\"n\":1}"), "{dialect:?}");
            assert_eq!(found.of("b").as_deref(), Some("{}"), "{dialect:?}");
            assert_eq!(found.of("c"), None);
        }
    }

    #[test]
    fn what_is_kept_is_bounded() {
        let arguments = ToolArguments::default();
        for n in 0..=MAX_CALLS {
            arguments.begin(&n.to_string(), "{}");
        }
        assert_eq!(arguments.of("0"), None, "the oldest went");
        assert_eq!(arguments.0.lock().len(), MAX_CALLS);
        arguments.append("1", &"x".repeat(MAX_BYTES));
        assert_eq!(arguments.of("1"), None, "too long");
        arguments.append("1", "more");
        assert_eq!(arguments.of("1"), None);
    }

    #[test]
    fn nonsense_is_passed_over() {
        for dialect in [Dialect::Chat, Dialect::Responses, Dialect::Messages] {
            let mut reader = Reader::new(dialect, Arc::default());
            for odd in [
                &b"\"tool_calls\" \"function_call\" \"tool_use\""[..],
                br#"{"choices":7,"tool_calls":1,"type":"function_call","tool_use":[]}"#,
                b"[DONE]",
            ] {
                reader.see(odd);
            }
        }
    }
}
