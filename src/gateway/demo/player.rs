//! Plays the steps of one call as a stream of chat completion chunks.

use std::collections::VecDeque;
use std::time::Duration;

use bytes::Bytes;
use futures_util::stream;
use http_body::Frame;
use http_body_util::{BodyExt, StreamBody};
use serde_json::{Value, json};

use super::script::Step;
use crate::gateway::body::Answer;

/// What a stream is made of.
#[derive(Debug)]
enum Piece {
    Data(Bytes),
    Pause(Duration),
    Break,
    Silence,
}

/// Turns steps into pieces.
#[derive(Debug)]
pub(super) struct Player {
    pieces: VecDeque<Piece>,
    /// Makes the ids of tool calls differ within a conversation.
    turn: usize,
    chunks: u32,
    delay: Duration,
    calls: usize,
    prompt_bytes: usize,
    said_bytes: usize,
    broken: bool,
}

/// The token counts are made up as if each token were this long.
const BYTES_PER_TOKEN: usize = 4;

// === impl Player ===

impl Player {
    pub(super) fn new(turn: usize, prompt_bytes: usize) -> Self {
        let mut player = Self {
            pieces: VecDeque::new(),
            turn,
            chunks: 1,
            delay: Duration::ZERO,
            calls: 0,
            prompt_bytes,
            said_bytes: 0,
            broken: false,
        };
        player.delta(&json!({ "role": "assistant", "content": "" }));
        player
    }

    pub(super) fn play(&mut self, step: Step) {
        match step {
            Step::Text(text) => self.say("content", &text),
            Step::Reasoning(text) => self.say("reasoning_content", &text),
            Step::Tool { name, arguments } => {
                self.said_bytes += arguments.len();
                let id = format!("call_{}_{}", self.turn, self.calls);
                let function = json!({ "name": name, "arguments": arguments });
                self.delta(&json!({
                    "tool_calls": [{ "index": self.calls, "id": id, "type": "function", "function": function }]
                }));
                self.calls += 1;
            }
            Step::Stream { chunks, delay_ms } => {
                self.chunks = chunks.max(1);
                self.delay = Duration::from_millis(delay_ms.into());
            }
            Step::Wait { ms } => self
                .pieces
                .push_back(Piece::Pause(Duration::from_millis(ms.into()))),
            // Answered before anything is played.
            Step::Error { .. } => {}
            Step::Drop => self.break_off(Piece::Break),
            Step::Hang => self.break_off(Piece::Silence),
        }
    }

    /// The stream, with its end. Each piece comes when the pauses before it are over.
    pub(super) fn body(mut self) -> Answer {
        if !self.broken {
            let reason = if self.calls > 0 { "tool_calls" } else { "stop" };
            self.chunk(
                &json!([{ "index": 0, "delta": {}, "finish_reason": reason }]),
                &Value::Null,
            );
            let (input, output) = (
                self.prompt_bytes / BYTES_PER_TOKEN,
                self.said_bytes / BYTES_PER_TOKEN,
            );
            let usage = json!({ "prompt_tokens": input, "completion_tokens": output, "total_tokens": input + output });
            self.chunk(&json!([]), &usage);
            self.pieces
                .push_back(Piece::Data(Bytes::from_static(b"data: [DONE]\n\n")));
        }
        let frames = stream::unfold(self.pieces, |mut pieces| async move {
            loop {
                match pieces.pop_front()? {
                    Piece::Data(data) => return Some((Ok(Frame::data(data)), pieces)),
                    Piece::Pause(pause) => tokio::time::sleep(pause).await,
                    Piece::Break => return Some((Err("the script says drop".into()), pieces)),
                    // Nothing more comes; the reader has timers of its own.
                    Piece::Silence => std::future::pending().await,
                }
            }
        });
        StreamBody::new(frames).boxed_unsync()
    }

    fn break_off(&mut self, piece: Piece) {
        self.broken = true;
        self.pieces.push_back(piece);
    }

    /// A text in as many chunks as wanted, cut between characters.
    fn say(&mut self, field: &str, text: &str) {
        self.said_bytes += text.len();
        let characters: Vec<char> = text.chars().collect();
        let size = characters
            .len()
            .div_ceil(usize::try_from(self.chunks).unwrap_or(usize::MAX))
            .max(1);
        for part in characters.chunks(size) {
            if !self.delay.is_zero() {
                self.pieces.push_back(Piece::Pause(self.delay));
            }
            self.delta(&json!({ field: part.iter().collect::<String>() }));
        }
    }

    fn delta(&mut self, delta: &Value) {
        self.chunk(
            &json!([{ "index": 0, "delta": delta, "finish_reason": null }]),
            &Value::Null,
        );
    }

    fn chunk(&mut self, choices: &Value, usage: &Value) {
        let chunk = json!({
            "id": "demo", "object": "chat.completion.chunk", "created": 0, "model": "demo",
            "choices": choices, "usage": usage,
        });
        self.pieces
            .push_back(Piece::Data(Bytes::from(format!("data: {chunk}\n\n"))));
    }
}
