//! The sidecar is killed in the middle of turns, and the next one ends them.

use rustix::process::Signal;
use serde_json::{Value, json};

use crate::llm::{Scope, Turn};
use crate::support::http::Response;
use crate::support::runbook;
use crate::support::sse::Event;
use crate::world::{World, bash};

/// Kills the sidecar once `reached` holds of an event of session `id`, and starts the next one.
fn kill_at(world: &mut World, id: &str, reached: impl Fn(&Event) -> bool) {
    world.stream(id, "").until("the moment to kill", reached);
    world.sidecar.signal(Signal::KILL);
    world.sidecar.restart();
    world.until("ready", |sidecar| sidecar.get("/ready").status == 200);
}

fn resume(world: &World, id: &str) -> Response {
    let mut body = world.body(id);
    for field in ["session_id", "prompt"] {
        body.as_object_mut().unwrap().remove(field);
    }
    body["system_prompt"] = "Speak plainly.".into();
    world.post(&format!("/sessions/{id}/resume"), &body.to_string())
}

/// A turn that writes, and delegates; its subagent runs a command that does not end by itself.
fn script(world: &World, id: &str) {
    let write = json!({ "filePath": world.file(&format!("{id}.txt")), "content": "x" });
    let prompt = format!("the work below {id}");
    let delegate = json!({ "description": "sub", "prompt": prompt, "subagent_type": "general" });
    world.llm.reply_to(
        Scope::prompt(&prompt),
        Turn::new()
            .text("Below. ")
            .tool("bash", bash("echo deep; sleep 1016")),
    );
    world.script(
        id,
        [
            Turn::new().text("Above. ").tool("write", write),
            Turn::new().text("More. ").tool("task", delegate),
        ],
    );
}

/// Whether the moment to kill has come.
type Reached = fn(&Event) -> bool;

/// What one turn says, in order.
const TEXTS: [&str; 3] = ["Above. ", "More. ", "Below. "];

#[test]
fn a_turn_of_a_killed_sidecar_is_published_to_its_end_wherever_it_was_cut() {
    let mut world = World::start();
    let moments: [(&str, Reached); 5] = [
        ("text", |event| event.data["text"] == "Above. "),
        ("result", |event| event.kind == "tool_result"),
        ("delegation", |event| event.data["tool"] == "task"),
        ("subagent", |event| event.data["text"] == "Below. "),
        ("command", |event| event.data["text"] == "deep\n"),
    ];
    for (id, reached) in moments {
        script(&world, id);
        world.create(id);
        if id == "delegation" {
            let answer = world.post("/sessions/delegation/prompt", r#"{"prompt":"and then"}"#);
            assert_eq!(answer.json()["status"], "queued", "{answer:?}");
        }
        kill_at(&mut world, id, reached);
        let seen = world.follow(id);
        let error = seen.assert_failed("interrupted");
        assert_eq!(error["resumable"], true, "{id}: {error}");
        let said = seen.text("assistant");
        assert!(TEXTS.concat().starts_with(&said), "{id}: {said}");
        assert!(!said.is_empty(), "{id}");
        // Only what was running was interrupted: in all cases but the first, the file was written by then.
        for result in seen.of("tool_result") {
            let interrupted = result["tool"] != "write" || id == "text";
            assert!(result["is_error"] == false || interrupted, "{id}: {result}");
        }
        if id != "text" {
            let files = &world.status(id)["files_modified"];
            assert_eq!(*files, json!([world.file(&format!("{id}.txt"))]), "{id}");
        }
        if id == "delegation" {
            // The prompt behind it waits for a key, which only its client has.
            let found = world.get("/sessions/delegation/diagnosis").json();
            assert_eq!(
                (&found["cause"], &found["queued"]),
                (&json!("queued"), &json!(1))
            );
            runbook::assert_has("queued", found["sentence"].as_str().unwrap());
        }
        if id == "command" {
            assert_eq!(said, TEXTS.concat());
            let tools: Vec<&Value> = seen.of("tool_call").map(|data| &data["tool"]).collect();
            assert_eq!(tools, ["write", "task", "bash"]);
            assert!(seen.result("bash")["agent"]["id"].is_string());
        }
    }
    assert_goes_on(&world, "command");
}

/// Another turn of the session knows what was before, and publishes nothing of it.
fn assert_goes_on(world: &World, id: &str) {
    world.script(id, [Turn::new().text("Resumed.")]);
    let before = world.follow(id).0.len();
    let answer = resume(world, id);
    assert_eq!(answer.status, 200, "{answer:?}");
    let from = answer.json()["last_event_id"].as_str().unwrap().to_owned();
    let headers = [("last-event-id", from.as_str())];
    let events = world.stream_from(id, "", &headers).rest();
    let texts: Vec<&Value> = events
        .iter()
        .filter(|event| event.kind == "output")
        .map(|event| &event.data["text"])
        .collect();
    assert_eq!(texts, ["Resumed."], "{before} events before");
    assert!(!events.iter().any(|event| event.kind.starts_with("tool_")));
    let status = world.status(id);
    assert_eq!(status["turn_usage"]["input_tokens"], 100, "{status}");
    let requests = world.llm.requests();
    let call = requests.iter().rfind(|call| call.key == id).unwrap();
    let told = call.last_user_text();
    assert!(
        told.starts_with("Your last turn ended before this task was done"),
        "{told}"
    );
    assert!(call.system_text().contains("Speak plainly."));
    assert!(String::from_utf8_lossy(&call.bytes).contains(&format!("please do {id}")));
}

#[test]
fn a_session_the_next_sidecars_engine_does_not_know_cannot_be_resumed() {
    let mut world = World::start();
    script(&world, "lost");
    world.create("lost");
    let spoken = |event: &Event| event.data["text"] == "deep\n";
    world.stream("lost", "").until("the command", spoken);
    world.sidecar.signal(Signal::KILL);
    world.sidecar.exit();
    std::fs::remove_dir_all(world.data_dir().join("engine/share")).unwrap();
    world.sidecar.restart();
    world.until("ready", |sidecar| sidecar.get("/ready").status == 200);
    let seen = world.follow("lost");
    let error = seen.assert_failed("interrupted");
    assert_eq!(error["resumable"], false, "{error}");
    let refused = resume(&world, "lost");
    assert_eq!(refused.status, 409, "{refused:?}");
    assert!(
        refused
            .error()
            .contains("the agent has nothing of this session")
    );
}
