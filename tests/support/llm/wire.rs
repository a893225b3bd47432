//! Answers as bytes, for providers that get them wrong: pieces of a stream in each dialect.

use serde_json::{Value, json};

use super::call::Dialect;

pub(crate) const DIALECTS: [Dialect; 3] = [Dialect::Chat, Dialect::Responses, Dialect::Messages];

/// A stream being put together.
#[derive(Clone, Debug)]
pub(crate) struct Wire {
    dialect: Dialect,
    pub(crate) bytes: String,
}

// === impl Wire ===

impl Wire {
    /// Nothing yet, not even the beginning.
    pub(crate) const fn nothing(dialect: Dialect) -> Self {
        let bytes = String::new();
        Self { dialect, bytes }
    }

    /// What comes before any content.
    pub(crate) fn begun(dialect: Dialect) -> Self {
        Self::nothing(dialect).event(&match dialect {
            Dialect::Chat => chunk(&json!({ "role": "assistant", "content": "" }), None),
            Dialect::Responses => json!({ "type": "response.created", "sequence_number": 0, "response":
                { "id": "resp_1", "object": "response", "created_at": 1, "model": "m", "status": "in_progress", "output": [] } }),
            Dialect::Messages => json!({ "type": "message_start", "message": { "id": "msg_1", "type": "message",
                "role": "assistant", "model": "m", "content": [], "stop_reason": null, "stop_sequence": null,
                "usage": { "input_tokens": 7, "output_tokens": 1 } } }),
        })
    }

    #[must_use]
    pub(crate) fn event(mut self, event: &Value) -> Self {
        if self.dialect != Dialect::Chat {
            let kind = event["type"].as_str().unwrap_or_default();
            self.bytes.extend(["event: ", kind, "\n"]);
        }
        self.bytes.extend(["data: ", &event.to_string(), "\n\n"]);
        self
    }

    #[must_use]
    pub(crate) fn raw(mut self, bytes: &str) -> Self {
        self.bytes.push_str(bytes);
        self
    }

    /// A text, opened and closed as item or block 0.
    #[must_use]
    pub(crate) fn text(self, text: &str) -> Self {
        self.open_text(text).close_text(text)
    }

    /// A text that is not closed.
    #[must_use]
    pub(crate) fn open_text(self, text: &str) -> Self {
        match self.dialect {
            Dialect::Chat => self.event(&chunk(&json!({ "content": text }), None)),
            Dialect::Responses => self
                .event(&json!({ "type": "response.output_item.added", "sequence_number": 1, "output_index": 0,
                    "item": { "type": "message", "id": "item_0", "status": "in_progress", "role": "assistant", "content": [] } }))
                .event(&json!({ "type": "response.output_text.delta", "sequence_number": 2, "item_id": "item_0",
                    "output_index": 0, "content_index": 0, "delta": text })),
            Dialect::Messages => self
                .event(&json!({ "type": "content_block_start", "index": 0, "content_block": { "type": "text", "text": "" } }))
                .event(&json!({ "type": "content_block_delta", "index": 0, "delta": { "type": "text_delta", "text": text } })),
        }
    }

    fn close_text(self, text: &str) -> Self {
        match self.dialect {
            Dialect::Chat => self,
            Dialect::Responses => self.event(&json!({ "type": "response.output_item.done", "sequence_number": 3,
                "output_index": 0, "item": { "type": "message", "id": "item_0", "status": "completed", "role": "assistant",
                "content": [{ "type": "output_text", "text": text, "annotations": [] }] } })),
            Dialect::Messages => self.event(&json!({ "type": "content_block_stop", "index": 0 })),
        }
    }

    /// Thoughts, as item or block 5.
    #[must_use]
    pub(crate) fn reasoning(self, text: &str) -> Self {
        match self.dialect {
            Dialect::Chat => self.event(&chunk(&json!({ "reasoning_content": text }), None)),
            Dialect::Responses => self
                .event(&json!({ "type": "response.output_item.added", "sequence_number": 1, "output_index": 5,
                    "item": { "type": "reasoning", "id": "rs_5", "summary": [] } }))
                .event(&json!({ "type": "response.reasoning_summary_part.added", "sequence_number": 2, "item_id": "rs_5",
                    "output_index": 5, "summary_index": 0, "part": { "type": "summary_text", "text": "" } }))
                .event(&json!({ "type": "response.reasoning_summary_text.delta", "sequence_number": 3, "item_id": "rs_5",
                    "output_index": 5, "summary_index": 0, "delta": text })),
            Dialect::Messages => self
                .event(&json!({ "type": "content_block_start", "index": 5, "content_block": { "type": "thinking", "thinking": "" } }))
                .event(&json!({ "type": "content_block_delta", "index": 5, "delta": { "type": "thinking_delta", "thinking": text } })),
        }
    }

    /// The beginning of a tool call at `index`, and the first part of its arguments.
    #[must_use]
    pub(crate) fn open_call(self, index: u64, id: &Value, name: &Value, arguments: &str) -> Self {
        match self.dialect {
            Dialect::Chat => self.event(&chunk(
                &json!({ "tool_calls": [{ "index": index, "id": id, "type": "function",
                    "function": { "name": name, "arguments": arguments } }] }),
                None,
            )),
            Dialect::Responses => self
                .event(&json!({ "type": "response.output_item.added", "sequence_number": 1, "output_index": index,
                    "item": { "type": "function_call", "id": "fc_1", "call_id": id, "name": name, "arguments": "" } }))
                .event(&json!({ "type": "response.function_call_arguments.delta", "sequence_number": 2, "item_id": "fc_1",
                    "output_index": index, "delta": arguments })),
            Dialect::Messages => self
                .event(&json!({ "type": "content_block_start", "index": index,
                    "content_block": { "type": "tool_use", "id": id, "name": name, "input": {} } }))
                .event(&json!({ "type": "content_block_delta", "index": index,
                    "delta": { "type": "input_json_delta", "partial_json": arguments } })),
        }
    }

    /// A whole tool call.
    #[must_use]
    pub(crate) fn call(self, index: u64, id: &Value, name: &Value, arguments: &str) -> Self {
        let dialect = self.dialect;
        let wire = self.open_call(index, id, name, arguments);
        match dialect {
            Dialect::Chat => wire,
            Dialect::Responses => wire.event(&json!({ "type": "response.output_item.done", "sequence_number": 3,
                "output_index": index, "item": { "type": "function_call", "id": "fc_1", "call_id": id, "name": name,
                "arguments": arguments, "status": "completed" } })),
            Dialect::Messages => wire.event(&json!({ "type": "content_block_stop", "index": index })),
        }
    }

    /// The dialect's end, with its word for that the answer is whole.
    #[must_use]
    pub(crate) fn stop(self) -> Self {
        let reason = match self.dialect {
            Dialect::Chat => "stop",
            Dialect::Responses => "",
            Dialect::Messages => "end_turn",
        };
        self.end(reason)
    }

    /// The end that promises tool calls.
    #[must_use]
    pub(crate) fn stop_for_calls(self) -> Self {
        let reason = match self.dialect {
            Dialect::Chat => "tool_calls",
            Dialect::Responses => "",
            Dialect::Messages => "tool_use",
        };
        self.end(reason)
    }

    /// An end with any reason; in responses an empty one is none.
    #[must_use]
    pub(crate) fn end(self, reason: &str) -> Self {
        match self.dialect {
            Dialect::Chat => self
                .event(&chunk(&json!({}), Some(reason)))
                .usage()
                .raw("data: [DONE]\n\n"),
            Dialect::Responses => {
                let (kind, details) = if reason.is_empty() {
                    ("completed", Value::Null)
                } else {
                    ("incomplete", json!({ "reason": reason }))
                };
                self.event(&json!({ "type": format!("response.{kind}"), "sequence_number": 9, "response":
                    { "id": "resp_1", "object": "response", "created_at": 1, "model": "m", "status": kind, "output": [],
                      "incomplete_details": details, "usage": { "input_tokens": 100, "output_tokens": 20, "total_tokens": 120 } } }))
            }
            Dialect::Messages => self
                .event(&json!({ "type": "message_delta", "delta": { "stop_reason": reason, "stop_sequence": null },
                    "usage": { "output_tokens": 20 } }))
                .event(&json!({ "type": "message_stop" })),
        }
    }

    /// The counts alone, where the dialect tells them apart.
    #[must_use]
    pub(crate) fn usage(self) -> Self {
        match self.dialect {
            Dialect::Chat => self.event(&json!({ "id": "c", "object": "chat.completion.chunk", "created": 1, "model": "m",
                "choices": [], "usage": { "prompt_tokens": 100, "completion_tokens": 20, "total_tokens": 120 } })),
            Dialect::Responses => self.event(&json!({ "type": "response.in_progress", "sequence_number": 1, "response":
                { "id": "resp_1", "status": "in_progress", "usage": { "input_tokens": 100, "output_tokens": 20 } } })),
            Dialect::Messages => self.event(&json!({ "type": "message_delta",
                "delta": { "stop_reason": null, "stop_sequence": null }, "usage": { "output_tokens": 20 } })),
        }
    }

    /// The provider's own error.
    #[must_use]
    pub(crate) fn error(self, kind: &str, message: &str) -> Self {
        match self.dialect {
            Dialect::Chat => self.event(&json!({ "error": { "message": message, "type": kind, "code": kind } })),
            Dialect::Responses => self.event(&json!({ "type": "error", "sequence_number": 1, "code": kind, "message": message,
                "param": null, "error": { "type": kind, "code": kind, "message": message, "param": null } })),
            Dialect::Messages => self.event(&json!({ "type": "error", "error": { "type": kind, "message": message } })),
        }
    }
}

/// The answer to a call that was not to be streamed.
pub(crate) fn unstreamed(dialect: Dialect) -> Value {
    match dialect {
        Dialect::Chat => {
            json!({ "id": "c", "object": "chat.completion", "created": 1, "model": "m", "choices": [
            { "index": 0, "message": { "role": "assistant", "content": "whole" }, "finish_reason": "stop" }],
            "usage": { "prompt_tokens": 7, "completion_tokens": 3 } })
        }
        Dialect::Responses => {
            json!({ "id": "resp_1", "object": "response", "status": "completed", "output": [
            { "type": "message", "id": "item_0", "role": "assistant", "content": [{ "type": "output_text", "text": "whole" }] }],
            "usage": { "input_tokens": 7, "output_tokens": 3 } })
        }
        Dialect::Messages => {
            json!({ "id": "msg_1", "type": "message", "role": "assistant", "model": "m",
            "content": [{ "type": "text", "text": "whole" }], "stop_reason": "end_turn",
            "usage": { "input_tokens": 7, "output_tokens": 3 } })
        }
    }
}

fn chunk(delta: &Value, reason: Option<&str>) -> Value {
    json!({ "id": "c", "object": "chat.completion.chunk", "created": 1, "model": "m",
        "choices": [{ "index": 0, "delta": delta, "finish_reason": reason }] })
}
