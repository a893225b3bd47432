//! Writes a turn in the three dialects, as the providers do.

use std::io::Write;
use std::time::Duration;

use bytes::Bytes;
use flate2::Compression;
use flate2::write::GzEncoder;
use http::{HeaderMap, HeaderName, StatusCode};
use serde_json::{Value, json};

use super::body::Piece;
use super::turn::{Packing, Part, Turn, Usage};
use super::{Dialect, must};

/// Status, headers and bytes of one answer.
pub(super) fn response(dialect: Dialect, turn: &Turn) -> (StatusCode, HeaderMap, Vec<Piece>) {
    let mut headers = HeaderMap::new();
    let (status, kind, pieces) = match &turn.packing {
        Packing::Plain(status, body) => {
            let said = turn
                .error_text
                .as_ref()
                .map(|text| Bytes::from(error(dialect, *status, text)));
            let body = said.unwrap_or_else(|| body.clone());
            let mut writer = Writer::new(dialect, None);
            writer.pieces.push(Piece::Data(body));
            for part in &turn.parts {
                writer.part(part);
            }
            (*status, "application/json", writer.pieces)
        }
        Packing::Stream => (200, "text/event-stream", stream(dialect, turn)),
        Packing::Gzip => {
            headers.insert("content-encoding", must("gzip".parse()));
            (200, "text/event-stream", compressed(stream(dialect, turn)))
        }
    };
    headers.insert("content-type", must(kind.parse()));
    for (name, value) in &turn.headers {
        headers.insert(
            must(HeaderName::try_from(name.as_str())),
            must(value.parse()),
        );
    }
    (must(StatusCode::from_u16(status)), headers, pieces)
}

fn error(dialect: Dialect, status: u16, text: &str) -> String {
    let kind = match status {
        401 => "authentication_error",
        429 => "rate_limit_error",
        529 => "overloaded_error",
        400..500 => "invalid_request_error",
        _ => "api_error",
    };
    let error = json!({ "message": text, "type": kind, "param": null, "code": null });
    match dialect {
        Dialect::Chat | Dialect::Responses => json!({ "error": error }),
        Dialect::Messages => json!({ "type": "error", "error": { "type": kind, "message": text } }),
    }
    .to_string()
}

fn compressed(pieces: Vec<Piece>) -> Vec<Piece> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    for piece in pieces {
        if let Piece::Data(data) = piece {
            must(encoder.write_all(&data));
        }
    }
    vec![Piece::Data(Bytes::from(must(encoder.finish())))]
}

/// A stream being written.
struct Writer {
    dialect: Dialect,
    pieces: Vec<Piece>,
    /// Index of the next output item or content block.
    index: usize,
    calls: usize,
    chunks: usize,
    delay: Duration,
    usage: Option<Usage>,
    /// Makes ids differ between answers.
    id: String,
}

fn stream(dialect: Dialect, turn: &Turn) -> Vec<Piece> {
    let mut writer = Writer::new(dialect, turn.usage);
    writer.begin();
    for part in &turn.parts {
        writer.part(part);
        if matches!(part, Part::Drop | Part::Hang | Part::Drip(_)) {
            return writer.pieces;
        }
    }
    writer.end();
    writer.pieces
}

// === impl Writer ===

impl Writer {
    fn new(dialect: Dialect, usage: Option<Usage>) -> Self {
        let id = uuid::Uuid::new_v4().simple().to_string();
        Self {
            dialect,
            pieces: Vec::new(),
            index: 0,
            calls: 0,
            chunks: 1,
            delay: Duration::ZERO,
            usage,
            id,
        }
    }

    fn data(&mut self, event: &Value) {
        self.pieces.push(Piece::Data(frame(self.dialect, event)));
    }

    fn begin(&mut self) {
        match self.dialect {
            Dialect::Chat => self.delta(&json!({ "role": "assistant", "content": "" })),
            Dialect::Responses => {
                let response = json!({ "id": format!("resp_{}", self.id), "object": "response", "created_at": 1,
                    "model": "scripted", "status": "in_progress", "output": [] });
                self.data(&json!({ "type": "response.created", "sequence_number": 0, "response": response }));
            }
            Dialect::Messages => {
                // The input is counted at the start; Anthropic leaves out what was cached.
                let counted = self.usage.map(|usage| {
                    json!({ "input_tokens": usage.input - usage.cached, "output_tokens": 1,
                        "cache_read_input_tokens": usage.cached, "cache_creation_input_tokens": 0 })
                });
                let usage =
                    counted.unwrap_or_else(|| json!({ "input_tokens": 0, "output_tokens": 0 }));
                let message = json!({ "id": format!("msg_{}", self.id), "type": "message", "role": "assistant",
                    "model": "scripted", "content": [], "stop_reason": null, "stop_sequence": null, "usage": usage });
                self.data(&json!({ "type": "message_start", "message": message }));
            }
        }
    }

    fn part(&mut self, part: &Part) {
        match part {
            Part::Text(text) => self.say(text, false),
            Part::Reasoning(text) => self.say(text, true),
            Part::Tool {
                name,
                arguments,
                pieces,
            } => self.tool(name, arguments, *pieces),
            Part::Flood { text, times } => self.flood(text, *times),
            Part::Stream { chunks, delay } => {
                (self.chunks, self.delay) = ((*chunks).max(1), *delay);
            }
            Part::Wait(delay) => self.pieces.push(Piece::Pause(*delay)),
            Part::Raw(bytes) => self.pieces.push(Piece::Data(bytes.clone())),
            Part::Drop => self.pieces.push(Piece::Drop),
            Part::Hang => self.pieces.push(Piece::Hang),
            Part::Drip(every) => self.pieces.push(Piece::Drip(*every)),
        }
    }

    fn say(&mut self, text: &str, reasoning: bool) {
        self.open(reasoning);
        let characters: Vec<char> = text.chars().collect();
        let size = characters.len().div_ceil(self.chunks).max(1);
        for part in characters.chunks(size) {
            if !self.delay.is_zero() {
                self.pieces.push(Piece::Pause(self.delay));
            }
            let event = self.text_event(&part.iter().collect::<String>(), reasoning);
            self.data(&event);
        }
        self.close(text, reasoning);
    }

    fn flood(&mut self, text: &str, times: usize) {
        self.open(false);
        let frame = frame(self.dialect, &self.text_event(text, false));
        self.pieces.push(Piece::Repeat(frame, times));
        self.close(&text.repeat(times), false);
    }

    fn item_id(&self) -> String {
        format!("item_{}_{}", self.index, self.id)
    }

    fn text_event(&self, text: &str, reasoning: bool) -> Value {
        match (self.dialect, reasoning) {
            (Dialect::Chat, false) => chunk(&json!({ "content": text }), None),
            (Dialect::Chat, true) => chunk(&json!({ "reasoning_content": text }), None),
            (Dialect::Responses, false) => {
                json!({ "type": "response.output_text.delta", "sequence_number": 0,
                "item_id": self.item_id(), "output_index": self.index, "content_index": 0, "delta": text })
            }
            (Dialect::Responses, true) => json!({ "type": "response.reasoning_summary_text.delta",
                "sequence_number": 0, "item_id": self.item_id(), "output_index": self.index, "summary_index": 0,
                "delta": text }),
            (Dialect::Messages, false) => {
                json!({ "type": "content_block_delta", "index": self.index,
                "delta": { "type": "text_delta", "text": text } })
            }
            (Dialect::Messages, true) => {
                json!({ "type": "content_block_delta", "index": self.index,
                "delta": { "type": "thinking_delta", "thinking": text } })
            }
        }
    }

    fn open(&mut self, reasoning: bool) {
        match self.dialect {
            Dialect::Chat => {}
            Dialect::Responses => {
                let item = self.item(reasoning, None);
                self.data(
                    &json!({ "type": "response.output_item.added", "sequence_number": 0,
                    "output_index": self.index, "item": item }),
                );
                if reasoning {
                    self.data(&json!({ "type": "response.reasoning_summary_part.added", "sequence_number": 0,
                        "item_id": self.item_id(), "output_index": self.index, "summary_index": 0,
                        "part": { "type": "summary_text", "text": "" } }));
                }
            }
            Dialect::Messages => {
                let block = if reasoning {
                    json!({ "type": "thinking", "thinking": "", "signature": "" })
                } else {
                    json!({ "type": "text", "text": "" })
                };
                self.data(&json!({ "type": "content_block_start", "index": self.index, "content_block": block }));
            }
        }
    }

    fn close(&mut self, text: &str, reasoning: bool) {
        match self.dialect {
            Dialect::Chat => {}
            Dialect::Responses => {
                let item = self.item(reasoning, Some(text));
                self.data(
                    &json!({ "type": "response.output_item.done", "sequence_number": 0,
                    "output_index": self.index, "item": item }),
                );
            }
            Dialect::Messages => {
                if reasoning {
                    self.data(&json!({ "type": "content_block_delta", "index": self.index,
                        "delta": { "type": "signature_delta", "signature": "c2lnbmVk" } }));
                }
                self.data(&json!({ "type": "content_block_stop", "index": self.index }));
            }
        }
        self.index += 1;
    }

    /// An output item of the responses dialect, begun or (with its text) done.
    fn item(&self, reasoning: bool, text: Option<&str>) -> Value {
        let id = self.item_id();
        if reasoning {
            let summary: Vec<_> = text
                .iter()
                .map(|text| json!({ "type": "summary_text", "text": text }))
                .collect();
            return json!({ "type": "reasoning", "id": id, "summary": summary, "encrypted_content": "ZW5j" });
        }
        let content: Vec<_> = text
            .iter()
            .map(|text| json!({ "type": "output_text", "text": text, "annotations": [] }))
            .collect();
        let status = if text.is_some() {
            "completed"
        } else {
            "in_progress"
        };
        json!({ "type": "message", "id": id, "role": "assistant", "status": status, "content": content })
    }

    fn tool(&mut self, name: &str, arguments: &str, pieces: usize) {
        let call_id = format!("call_{}_{}", self.calls, self.id);
        let characters: Vec<char> = arguments.chars().collect();
        let size = characters.len().div_ceil(pieces).max(1);
        let mut pieces = characters
            .chunks(size)
            .map(|piece| piece.iter().collect::<String>());
        let (calls, index, item_id) = (self.calls, self.index, self.item_id());
        let first = match self.dialect {
            Dialect::Chat => {
                let function =
                    json!({ "name": name, "arguments": pieces.next().unwrap_or_default() });
                let call = json!({ "index": calls, "id": call_id, "type": "function", "function": function });
                chunk(&json!({ "tool_calls": [call] }), None)
            }
            Dialect::Responses => {
                json!({ "type": "response.output_item.added", "sequence_number": 0, "output_index": index,
                    "item": { "type": "function_call", "id": item_id, "call_id": call_id, "name": name,
                        "arguments": "", "status": "in_progress" } })
            }
            Dialect::Messages => {
                let block = json!({ "type": "tool_use", "id": call_id, "name": name, "input": {} });
                json!({ "type": "content_block_start", "index": index, "content_block": block })
            }
        };
        self.data(&first);
        for piece in pieces {
            if !self.delay.is_zero() {
                self.pieces.push(Piece::Pause(self.delay));
            }
            let event = match self.dialect {
                Dialect::Chat => {
                    let call = json!({ "index": calls, "function": { "arguments": piece } });
                    chunk(&json!({ "tool_calls": [call] }), None)
                }
                Dialect::Responses => {
                    json!({ "type": "response.function_call_arguments.delta", "sequence_number": 0,
                        "item_id": item_id, "output_index": index, "delta": piece })
                }
                Dialect::Messages => json!({ "type": "content_block_delta", "index": index,
                    "delta": { "type": "input_json_delta", "partial_json": piece } }),
            };
            self.data(&event);
        }
        match self.dialect {
            Dialect::Chat => {}
            Dialect::Responses => self.data(&json!({ "type": "response.output_item.done", "sequence_number": 0,
                "output_index": index, "item": { "type": "function_call", "id": item_id, "call_id": call_id,
                    "name": name, "arguments": arguments, "status": "completed" } })),
            Dialect::Messages => {
                self.data(&json!({ "type": "content_block_stop", "index": index }));
            }
        }
        self.calls += 1;
        self.index += 1;
    }

    fn delta(&mut self, delta: &Value) {
        self.data(&chunk(delta, None));
    }

    fn end(&mut self) {
        match self.dialect {
            Dialect::Chat => {
                let reason = if self.calls > 0 { "tool_calls" } else { "stop" };
                self.data(&chunk(&json!({}), Some(reason)));
                if let Some(usage) = self.usage {
                    let counts = json!({ "cost": 0.0025, "prompt_tokens": usage.input, "completion_tokens": usage.output,
                        "total_tokens": usage.input + usage.output,
                        "prompt_tokens_details": { "cached_tokens": usage.cached },
                        "completion_tokens_details": { "reasoning_tokens": usage.reasoning } });
                    self.data(
                        &json!({ "id": "c", "object": "chat.completion.chunk", "created": 1,
                        "model": "scripted", "choices": [], "usage": counts }),
                    );
                }
                self.pieces
                    .push(Piece::Data(Bytes::from_static(b"data: [DONE]\n\n")));
            }
            Dialect::Responses => {
                let counts = self.usage.map(|usage| {
                    json!({ "input_tokens": usage.input, "output_tokens": usage.output,
                        "total_tokens": usage.input + usage.output,
                        "input_tokens_details": { "cached_tokens": usage.cached },
                        "output_tokens_details": { "reasoning_tokens": usage.reasoning } })
                });
                let response = json!({ "id": format!("resp_{}", self.id), "object": "response", "created_at": 1,
                    "model": "scripted", "status": "completed", "output": [], "usage": counts });
                self.data(&json!({ "type": "response.completed", "sequence_number": 0, "response": response }));
            }
            Dialect::Messages => {
                let reason = if self.calls > 0 {
                    "tool_use"
                } else {
                    "end_turn"
                };
                let output = self.usage.map_or(0, |usage| usage.output);
                self.data(&json!({ "type": "message_delta",
                    "delta": { "stop_reason": reason, "stop_sequence": null },
                    "usage": { "output_tokens": output } }));
                self.data(&json!({ "type": "message_stop" }));
            }
        }
    }
}

fn chunk(delta: &Value, finish: Option<&str>) -> Value {
    json!({ "id": "c", "object": "chat.completion.chunk", "created": 1, "model": "scripted",
        "choices": [{ "index": 0, "delta": delta, "finish_reason": finish }] })
}

fn frame(dialect: Dialect, event: &Value) -> Bytes {
    match dialect {
        Dialect::Chat => Bytes::from(format!("data: {event}\n\n")),
        Dialect::Responses | Dialect::Messages => {
            let name = event["type"].as_str().unwrap_or_default();
            Bytes::from(format!("event: {name}\ndata: {event}\n\n"))
        }
    }
}
