//! Turns that are no prompt: a summary of the conversation, a command of the client, a prompt with a name.

use serde_json::{Value, json};

use crate::llm::Turn;
use crate::support::http::send;
use crate::support::sse::Event;
use crate::world::{World, bash};

/// A turn that is begun at `path` of session `id`, to its end.
fn run(world: &World, id: &str, path: &str, body: &Value) -> Vec<Event> {
    let answer = world.post(&format!("/sessions/{id}/{path}"), &body.to_string());
    assert_eq!(answer.status, 202, "{answer:?}");
    let answer = answer.json();
    assert_eq!(answer["status"], "running");
    let cursor = answer["last_event_id"].as_str().unwrap();
    let events = world.stream(id, &format!("?last_event_id={cursor}")).rest();
    assert!(
        events
            .iter()
            .all(|event| event.data["turn"] == answer["turn"]),
        "{events:#?}"
    );
    let terminal = events.iter().filter(|event| event.is_terminal()).count();
    assert!(
        terminal == 1 && events.last().unwrap().is_terminal(),
        "{events:#?}"
    );
    events
}

fn kinds(events: &[Event]) -> Vec<&str> {
    events.iter().map(|event| event.kind.as_str()).collect()
}

#[test]
fn a_conversation_goes_on_from_its_summary() {
    let world = World::start();
    world
        .run("long", [Turn::new().text("A long answer.")])
        .assert_complete();
    world
        .llm
        .on_compaction(Turn::new().text("What was said, in short."));
    let events = run(&world, "long", "compact", &json!({}));
    assert_eq!(events.last().unwrap().kind, "complete", "{events:#?}");
    let calls = world.status("long")["model_calls"]["calls"].clone();
    assert_eq!(calls, 2, "the summary is a call of the session's model");
    let messages = world.get("/sessions/long/messages").json();
    assert_eq!(messages["messages"][0]["text"], "What was said, in short.");
    assert_eq!(messages["messages"][0]["compaction"], true);
    assert_eq!(messages["messages"][0]["turn"], 2);

    world.script("long", [Turn::new().text("I go on.")]);
    let events = run(&world, "long", "prompt", &json!({ "prompt": "and then?" }));
    assert_eq!(events.last().unwrap().kind, "complete");
    let asked = world.llm.requests().pop().unwrap().body.to_string();
    assert!(
        asked.contains("What was said, in short.") && !asked.contains("please do long"),
        "{asked}"
    );
}

#[test]
fn a_command_of_the_client_runs_in_the_sandbox_and_needs_no_key() {
    let world = World::with(|options| options.env("CREDENTIAL_RETENTION", "0"));
    world
        .run("shell", [Turn::new().text("Hello.")])
        .assert_complete();
    assert_eq!(
        world
            .post("/sessions/shell/prompt", r#"{"prompt":"x"}"#)
            .status,
        409,
        "the key is gone"
    );
    let command = "echo out; echo made > made.txt; cat /etc/shadow; echo x > /etc/sidecar-was-here";
    let events = run(&world, "shell", "shell", &json!({ "command": command }));
    let result = events
        .iter()
        .find(|event| event.kind == "tool_result")
        .unwrap();
    assert_eq!(events.last().unwrap().kind, "complete", "{events:#?}");
    assert_eq!(result.data["tool"], "bash");
    let stdout = result.data["result"]["stdout"].as_str().unwrap();
    assert!(stdout.starts_with("out\n"), "{stdout}");
    assert_eq!(stdout.matches("Permission denied").count(), 2, "{stdout}");
    assert_eq!(
        result.data["is_error"], false,
        "OpenCode does not say how it exited"
    );
    assert_eq!(
        std::fs::read_to_string(world.file("made.txt")).unwrap(),
        "made\n"
    );
    assert_eq!(
        world.status("shell")["model_calls"]["calls"],
        1,
        "no model is called"
    );

    // Stopped, it is over, and so is what it started.
    let begun = world.post(
        "/sessions/shell/shell",
        r#"{"command":"touch ready; sleep 60; touch late"}"#,
    );
    assert_eq!(begun.status, 202, "{begun:?}");
    world.until("running", |sidecar| {
        sidecar.workspace().join("ready").exists()
    });
    for path in ["shell", "compact"] {
        let refused = world.post(&format!("/sessions/shell/{path}"), r#"{"command":"true"}"#);
        assert_eq!(refused.status, 409, "{path}: a turn runs");
    }
    assert_eq!(world.stop("shell").json()["status"], "cancelled");
    assert!(!world.workspace().join("late").exists());

    let limited = json!({ "command": "sleep 60", "timeout_secs": 1 });
    let events = run(&world, "shell", "shell", &limited);
    assert_eq!(
        events.last().unwrap().data["code"],
        "timeout",
        "{:?}",
        kinds(&events)
    );
}

#[test]
fn a_session_without_bash_runs_no_command() {
    let world = World::start();
    world.script("none", [Turn::new().text("Hello.")]);
    world.create_with("none", |body| {
        body["model_config"]["enabled_tools"] = json!(["read"]);
    });
    world.follow("none").assert_complete();
    let refused = world.post("/sessions/none/shell", r#"{"command":"touch made"}"#);
    assert_eq!(
        (refused.status, &refused.json()["code"]),
        (409, &json!("conflict"))
    );
    assert!(!world.workspace().join("made").exists());
    assert_eq!(world.status("none")["turn"], 1);
}

#[test]
fn a_command_that_opencode_has_is_a_prompt() {
    let world = World::start();
    world
        .run("named", [Turn::new().text("Hello.")])
        .assert_complete();
    world.script(
        "named",
        [
            Turn::new().tool("bash", bash("echo made > AGENTS.md")),
            Turn::new().text("Made."),
        ],
    );
    let events = run(
        &world,
        "named",
        "command",
        &json!({ "command": "init", "arguments": "be very brief" }),
    );
    assert_eq!(
        events.last().unwrap().data["final_message"],
        "Made.",
        "{events:#?}"
    );
    let messages = world.get("/sessions/named/messages").json();
    let prompt = messages["messages"]
        .as_array()
        .unwrap()
        .iter()
        .find(|message| message["role"] == "user");
    let prompt = prompt.unwrap();
    assert!(
        prompt["text"].as_str().unwrap().contains("be very brief"),
        "{prompt}"
    );
    assert_eq!(prompt["turn"], 2);
    world.script("named", [Turn::new().text("Again.")]);
    let with_key = |body: &str| {
        let headers = [("idempotency-key", "k-1")];
        let path = "/sessions/named/command";
        send(world.address, "POST", path, &headers, body.as_bytes()).unwrap()
    };
    for _ in 0..2 {
        let answer = with_key(r#"{"command":"init","arguments":"again"}"#);
        assert_eq!(answer.json()["turn"], 3, "{answer:?}");
    }
    let another = with_key(r#"{"command":"init","arguments":"something else"}"#);
    assert_eq!(another.status, 422, "{another:?}");
    let refused = world.post("/sessions/named/command", r#"{"command":"nonsense"}"#);
    assert_eq!(
        (refused.status, refused.json()["details"]["field"].as_str()),
        (400, Some("command"))
    );
    assert!(
        refused.error().contains("the commands are") && refused.error().contains("init"),
        "{refused:?}"
    );
}

#[test]
fn a_command_whose_engine_dies_ends_its_turn() {
    let world = World::start();
    world
        .run("dies", [Turn::new().text("Hello.")])
        .assert_complete();
    let begun = world
        .post(
            "/sessions/dies/shell",
            r#"{"command":"touch ready; sleep 60"}"#,
        )
        .json();
    world.until("running", |sidecar| {
        sidecar.workspace().join("ready").exists()
    });
    crate::support::processes::kill(world.engine_pid());
    let cursor = begun["last_event_id"].as_str().unwrap();
    let events = world
        .stream("dies", &format!("?last_event_id={cursor}"))
        .rest();
    assert_eq!(
        events.last().unwrap().data["code"],
        "engine_lost",
        "{events:#?}"
    );
    let results = events
        .iter()
        .filter(|event| event.kind == "tool_result")
        .count();
    assert_eq!(results, 1, "{:?}", kinds(&events));
}
