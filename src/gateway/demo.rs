//! The model that needs no key: a small player that answers inside the gateway.
//!
//! It speaks chat completions and is deterministic. Without a script it says that it is a demo, lists the
//! workspace with bash, writes a file, reads it back and says so, as far as the session's tools allow. A
//! prompt that holds a fenced block marked `script` is played instead, one step per line:
//!
//! ```text
//! # a comment
//! stream 5 20                     the texts that follow come in 5 chunks, 20 ms before each
//! reasoning I should look around
//! text Hello.\nI look around.     \n is a new line
//! tool bash {"command":"ls"}      the arguments are JSON, as the tool takes them
//! wait 500                        milliseconds
//! error 429 2 slow down           this call fails once with the status; 2 = retry after 2 s, 0 = no such header
//! drop                            the connection breaks here, once
//! hang                            nothing more comes, once
//! ```
//!
//! A block of `tool` lines ends one call of the model; what follows it is played in the next call, when
//! OpenCode has run the tools. A line that cannot be read makes the model say which.

mod player;
mod script;

use std::collections::HashSet;

use bytes::Bytes;
use http::{HeaderValue, Response, StatusCode};
use parking_lot::Mutex;
use serde::Deserialize;
use serde_json::value::RawValue;

use super::body::{self, Answer};
use super::error;
use crate::provider::Dialect;
use player::Player;
use script::{Script, Step};

/// The faults of a script that have happened: each happens once, so that a second attempt gets past it.
#[derive(Debug, Default)]
pub(super) struct PlayedFaults(Mutex<HashSet<(usize, usize)>>);

/// As much of a call as decides the answer.
#[derive(Deserialize)]
struct ChatRequest<'a> {
    #[serde(borrow)]
    messages: Vec<Message<'a>>,
    #[serde(default)]
    tools: Vec<Tool>,
}

#[derive(Deserialize)]
struct Message<'a> {
    role: String,
    /// A string or a list of parts.
    #[serde(borrow, default)]
    content: Option<&'a RawValue>,
}

#[derive(Deserialize)]
struct Part {
    #[serde(default)]
    text: String,
}

#[derive(Deserialize)]
struct Tool {
    function: Function,
}

#[derive(Deserialize)]
struct Function {
    name: String,
}

/// Answers a call of chat completions.
pub(super) fn answer(body: &Bytes, once: &PlayedFaults) -> Response<Answer> {
    let Ok(request) = serde_json::from_slice::<ChatRequest<'_>>(body) else {
        return fault(
            StatusCode::BAD_REQUEST,
            0,
            "the demo model cannot read this call",
        );
    };
    let steps = request.steps();
    let turn = request.messages.len();
    for (index, step) in steps.iter().enumerate() {
        if let Step::Error {
            status,
            retry_after,
            message,
        } = step
            && once.first_time(turn, index)
        {
            return fault(*status, *retry_after, message);
        }
    }
    let mut player = Player::new(turn, body.len());
    for (index, step) in steps.into_iter().enumerate() {
        let broken = matches!(step, Step::Drop | Step::Hang);
        if broken && !once.first_time(turn, index) {
            continue;
        }
        player.play(step);
        if broken {
            break;
        }
    }
    let mut response = Response::new(player.body());
    response.headers_mut().insert(
        "content-type",
        const { HeaderValue::from_static("text/event-stream") },
    );
    response
}

fn fault(status: StatusCode, retry_after: u32, message: &str) -> Response<Answer> {
    let body = error::body(Dialect::Chat, "demo_error", message);
    let mut response = body::json(status, body);
    if retry_after > 0 {
        let headers = response.headers_mut();
        headers.insert("retry-after", HeaderValue::from(retry_after));
    }
    response
}

// === impl PlayedFaults ===

impl PlayedFaults {
    fn first_time(&self, turn: usize, step: usize) -> bool {
        self.0.lock().insert((turn, step))
    }
}

// === impl ChatRequest ===

impl ChatRequest<'_> {
    /// What this call of the model is to play.
    fn steps(&self) -> Vec<Step> {
        let titling = |message: &Message<'_>| {
            message.role == "system" && message.text().contains("title generator")
        };
        if self.messages.iter().any(titling) {
            return vec![Step::Text("Demo".to_owned())];
        }
        let last_user = self
            .messages
            .iter()
            .rposition(|message| message.role == "user")
            .unwrap_or_default();
        let prompt = self
            .messages
            .get(last_user)
            .map(Message::text)
            .unwrap_or_default();
        let answers = self
            .messages
            .iter()
            .skip(last_user)
            .filter(|message| message.role == "assistant")
            .count();
        let offered: Vec<&str> = self
            .tools
            .iter()
            .map(|tool| tool.function.name.as_str())
            .collect();
        Script::of_prompt(&prompt)
            .unwrap_or_else(|| Script::default_for(&offered))
            .call(answers)
    }
}

// === impl Message ===

impl Message<'_> {
    fn text(&self) -> String {
        let Some(content) = self.content.map(RawValue::get) else {
            return String::new();
        };
        if let Ok(text) = serde_json::from_str::<String>(content) {
            return text;
        }
        let parts: Vec<Part> = serde_json::from_str(content).unwrap_or_default();
        parts
            .into_iter()
            .map(|part| part.text)
            .collect::<Vec<_>>()
            .join("\n")
    }
}
