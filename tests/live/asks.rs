//! A person in the loop: permissions and questions of the real agent, in the root and in subagents, and every way in
//! which they end.

mod answers;
mod deadlines;
mod lost_feed;
mod orphans;
mod questions;
mod rules;

use serde_json::{Value, json};

use crate::llm::Turn;
use crate::support::Sidecar;
use crate::support::http::Response;
use crate::support::sse::{Event, Stream};
use crate::world::{World, bash};

/// The call by which the agent starts a subagent. The next turns of the script are the subagent's, until it says
/// something; then the agent goes on.
fn task() -> Turn {
    Turn::new().tool(
        "task",
        json!({ "description": "a part", "prompt": "do a part", "subagent_type": "general" }),
    )
}

fn run(command: &str) -> Turn {
    Turn::new().tool("bash", bash(command))
}

fn question() -> Turn {
    Turn::new().tool("question", questions())
}

fn questions() -> Value {
    let options =
        json!([{ "label": "A", "description": "a" }, { "label": "B", "description": "b" }]);
    json!({ "questions": [{ "question": "Which?", "header": "Letter", "options": options }] })
}

fn text(text: &str) -> Turn {
    Turn::new().text(text)
}

/// Creates a session whose `model_config` has these fields as well, and follows it.
fn begin(world: &World, id: &str, fields: &Value, turns: impl IntoIterator<Item = Turn>) -> Stream {
    world.script(id, turns);
    world.create_with(id, |body| add(body, fields));
    world.sidecar.stream(id, "")
}

fn add(body: &mut Value, fields: &Value) {
    for (name, value) in fields.as_object().unwrap() {
        body["model_config"][name] = value.clone();
    }
}

/// The next event of this type and state.
fn next(stream: &mut Stream, kind: &str, state: &str) -> Event {
    loop {
        let event = stream.next().unwrap();
        assert!(!event.is_terminal(), "the turn ended first: {event:?}");
        if event.kind == kind && event.data["state"] == state {
            return event;
        }
    }
}

fn asked(stream: &mut Stream) -> (String, Event) {
    let event = next(stream, "permission", "asked");
    (event.data["request_id"].as_str().unwrap().to_owned(), event)
}

fn reply(sidecar: &Sidecar, id: &str, request: &str, body: &Value) -> Response {
    let path = format!("/sessions/{id}/permissions/{request}");
    sidecar.post(&path, &body.to_string())
}

fn answer(sidecar: &Sidecar, id: &str, request: &str, body: &Value) -> Response {
    let path = format!("/sessions/{id}/questions/{request}");
    sidecar.post(&path, &body.to_string())
}

fn status(sidecar: &Sidecar, id: &str) -> Value {
    sidecar.get(&format!("/sessions/{id}/status")).json()
}

fn permissions(sidecar: &Sidecar, id: &str) -> Value {
    sidecar.get(&format!("/sessions/{id}/permissions")).json()
}

/// The results of the tool calls among the events.
fn results(events: &[Event]) -> Vec<&Value> {
    let results = events.iter().filter(|event| event.kind == "tool_result");
    results.map(|event| &event.data).collect()
}

/// What was said about permissions and questions: state, and answer or reason.
fn story(events: &[Event]) -> Vec<String> {
    let asks = events
        .iter()
        .filter(|event| matches!(&*event.kind, "permission" | "question"));
    asks.map(|event| {
        let data = &event.data;
        let word = |name: &str| data[name].as_str().unwrap_or_default().to_owned();
        [word("state"), word("reply"), word("by"), word("reason")]
            .into_iter()
            .filter(|word| !word.is_empty())
            .collect::<Vec<_>>()
            .join(" ")
    })
    .collect()
}

const ASK_BASH: &str = r#"{"permission_mode":"ask","ask_tools":["bash"]}"#;

fn ask_bash() -> Value {
    serde_json::from_str(ASK_BASH).unwrap()
}

/// A session whose agent may ask for both.
fn ask_both() -> Value {
    let mut fields = ask_bash();
    fields["questions"] = json!(true);
    fields
}

/// A permission for this command and a question, at once.
fn both(command: &str) -> Turn {
    run(command).tool("question", questions())
}

/// The ids of the next permission and of the next question, whichever comes first.
fn asked_both(stream: &mut Stream) -> [String; 2] {
    let mut found = [None, None];
    while found.iter().any(Option::is_none) {
        let event = stream.next().unwrap();
        assert!(!event.is_terminal(), "the turn ended first: {event:?}");
        if event.data["state"] == "asked" {
            let id = event.data["request_id"].as_str().unwrap().to_owned();
            found[usize::from(event.kind == "question")] = Some(id);
        }
    }
    found.map(Option::unwrap)
}

/// The next permission that is asked for in this turn.
fn asked_in(stream: &mut Stream, turn: u64) -> (String, Event) {
    loop {
        let event = stream.next().unwrap();
        if event.kind == "permission"
            && event.data["state"] == "asked"
            && event.data["turn"] == turn
        {
            return (event.data["request_id"].as_str().unwrap().to_owned(), event);
        }
    }
}
