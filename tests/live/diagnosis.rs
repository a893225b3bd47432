//! Every way to hang has its name, within ten seconds.

use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};

use crate::llm::Turn;
use crate::support::runbook;
use crate::world::World;

/// The bar: so soon the cause is known.
const WITHIN: Duration = Duration::from_secs(10);

fn ask(world: &World, id: &str) -> Value {
    let answer = world.sidecar.get(&format!("/sessions/{id}/diagnosis"));
    assert_eq!(answer.status, 200, "{answer:?}");
    answer.json()
}

/// Asks until `cause` is found, which is in time.
fn found(world: &World, id: &str, cause: &str, holds: impl Fn(&Value) -> bool) -> Value {
    let begun = Instant::now();
    loop {
        let found = ask(world, id);
        if found["cause"] == cause && holds(&found) {
            runbook::assert_has(cause, found["sentence"].as_str().unwrap());
            return found;
        }
        assert!(begun.elapsed() < WITHIN, "{id} is not {cause}: {found}");
        std::thread::sleep(Duration::from_millis(100));
    }
}

/// The turn made one call of the model, of which these are fields.
fn assert_only_call(found: &Value, fields: &Value) {
    let calls = found["model"]["calls"].as_array().unwrap();
    assert_eq!(calls.len(), 1, "{found}");
    for (name, value) in fields.as_object().unwrap() {
        assert_eq!(&calls[0][name], value, "{name}: {found}");
    }
}

fn signal(pid: i32, signal: Signal) {
    kill_process(Pid::from_raw(pid).unwrap(), signal).unwrap();
}

#[test]
fn what_a_session_waits_for_is_named() {
    let world = World::with(|options| options.env("STALL_AFTER", "2"));
    let bash = |command: &str| Turn::new().tool("bash", json!({ "command": command }));

    // A provider that says nothing.
    world.script("mute", [Turn::hang_before_headers()]);
    world.create("mute");
    let mute = found(&world, "mute", "waiting_for_provider", |_| true);
    let sentence = mute["sentence"].as_str().unwrap();
    assert!(
        sentence.contains("nothing has come from custom at 127.0.0.1:"),
        "{mute}"
    );
    assert_eq!(mute["model"]["state"], "asked");
    assert_eq!(mute["next"]["at"], mute["model"]["until"]);
    let asked =
        json!({ "status": "asked", "bytes": 0, "first_byte_ms": null, "duration_ms": null });
    assert_only_call(&mute, &asked);
    // The stream says the same.
    let stalled = world
        .sidecar
        .stream("mute", "")
        .until("the stall", |event| event.data["phase"] == "stalled");
    let reason = stalled.last().unwrap().data["reason"].clone();
    assert_eq!(reason, mute["sentence"]);
    assert!(world.sidecar.log().contains("a turn is silent"));
    assert_eq!(world.stop("mute").status, 200);
    assert_eq!(ask(&world, "mute")["cause"], "ended");

    // One that stops in the middle.
    world.script("half", [Turn::new().text("half an answer").hang_here()]);
    world.create("half");
    let half = found(&world, "half", "waiting_for_provider", |found| {
        found["model"]["state"] == "answering"
    });
    let sentence = half["sentence"].as_str().unwrap();
    assert!(
        sentence.contains("has fallen silent in the middle of an answer"),
        "{half}"
    );
    assert!(
        half["model"]["answer_bytes"].as_u64().unwrap() > 10,
        "{half}"
    );
    let bytes = &half["model"]["answer_bytes"];
    assert_only_call(&half, &json!({ "status": "answering", "bytes": bytes }));
    assert_eq!(world.stop("half").status, 200);

    // One that wants to be asked later.
    world.script(
        "later",
        [Turn::error(429, "slow down").header("retry-after", "30")],
    );
    world.create("later");
    let later = found(&world, "later", "provider_retry", |_| true);
    assert!(
        later["sentence"].as_str().unwrap().contains("slow down"),
        "{later}"
    );
    let failed = json!({ "status": "provider_error", "attempt": 1, "subagent": false });
    assert_only_call(&later, &failed);
    assert_eq!(world.stop("later").status, 200);

    // A tool that sleeps, with its processes.
    world.script("tool", [bash("echo so far; sleep 1009")]);
    world.create("tool");
    let tool = found(&world, "tool", "tool_running", |found| {
        let processes = found["processes"].as_array().unwrap();
        let sleeps = processes.iter().any(|process| process["name"] == "sleep");
        sleeps && !found["last_output"].is_null()
    });
    assert_eq!(tool["last_output"]["text"], "so far\n", "{tool}");
    assert_eq!(tool["tools"]["calls"], json!({ "bash": 1 }));
    assert_eq!(tool["tools"]["repeated"]["times"], 1);
    assert_only_call(&tool, &json!({ "status": "ok" }));
    let events = tool["recent_events"].as_array().unwrap();
    assert_eq!(events.last().unwrap()["id"], tool["last_event_id"]);
    assert!(events.iter().any(|event| event["event"] == "tool_call"));
    let process = tool["processes"].as_array().unwrap().iter();
    let sleep = process
        .clone()
        .find(|process| process["name"] == "sleep")
        .unwrap();
    assert_eq!(sleep["state"], "sleeping", "{tool}");
    assert!(
        tool["sentence"]
            .as_str()
            .unwrap()
            .starts_with("the tool bash is running")
    );
    assert_eq!(tool["current_tool"], "bash");

    // The child itself, which is stopped: its tool goes on, and nobody answers.
    let child = world.sidecar.engine_pid();
    signal(child, Signal::STOP);
    let wedged = found(&world, "tool", "child_wedged", |_| true);
    assert!(
        wedged["sentence"]
            .as_str()
            .unwrap()
            .contains("health check"),
        "{wedged}"
    );
    signal(child, Signal::CONT);
    found(&world, "tool", "tool_running", |_| true);
    assert_eq!(world.stop("tool").status, 200);
}

#[test]
fn who_is_waited_for_and_what_waits_is_named() {
    let world = World::start();
    let tool = |name: &str, arguments: Value| Turn::new().tool(name, arguments);
    let begin = |id: &str, turn: Turn, fields: Value| {
        world.script(id, [turn]);
        world.create_with(id, |body| {
            for (name, value) in fields.as_object().unwrap() {
                body["model_config"][name] = value.clone();
            }
        });
    };

    let fields = json!({ "permission_mode": "ask", "ask_tools": ["bash"] });
    begin("leave", tool("bash", json!({ "command": "true" })), fields);
    let leave = found(&world, "leave", "waiting_permission", |_| true);
    let asks = world.status("leave")["asks"].clone();
    assert_eq!(leave["next"]["at"], asks[0]["deadline"], "{leave}");
    assert_eq!(leave["since"], asks[0]["asked_at"]);
    let words = leave["sentence"].as_str().unwrap();
    let request = asks[0]["request_id"].as_str().unwrap();
    assert!(words.contains("a permission: bash") && words.contains(request));

    let options = json!([{ "label": "A", "description": "a" }]);
    let questions =
        json!({ "questions": [{ "question": "Which?", "header": "Letter", "options": options }] });
    begin(
        "question",
        tool("question", questions),
        json!({ "questions": true }),
    );
    found(&world, "question", "waiting_question", |_| true);

    // A tool that computes, and one that waits for input which nobody gives.
    let state = |wanted: &'static str| {
        move |found: &Value| {
            let processes = found["processes"].as_array().unwrap();
            processes.iter().any(|process| process["state"] == wanted)
        }
    };
    let busy = json!({ "command": "timeout 20 sh -c 'while :; do :; done'" });
    begin("busy", tool("bash", busy), json!({}));
    found(&world, "busy", "tool_running", state("running"));
    let input = json!({ "command": "mkfifo in; cat < in" });
    begin("input", tool("bash", input), json!({}));
    found(&world, "input", "tool_running", state("sleeping"));

    // A prompt behind a turn that hangs.
    assert_eq!(world.stop("busy").status, 200);
    let body = json!({ "prompt": "and then" }).to_string();
    let answer = world.sidecar.post("/sessions/input/prompt", &body);
    assert_eq!(answer.json()["status"], "queued", "{answer:?}");
    let behind = found(&world, "input", "tool_running", |found| {
        found["also"][0]["cause"] == "queued"
    });
    let words = behind["also"][0]["sentence"].as_str().unwrap();
    runbook::assert_has("queued", words);
    assert_eq!(words, "turn 2 is queued until this one ends");

    // A summary that does not come.
    world.llm.on_compaction(Turn::hang_before_headers());
    let done = world.run("sums", [Turn::new().text("done")]);
    done.assert_complete();
    let answer = world.sidecar.post("/sessions/sums/compact", "{}");
    assert_eq!(answer.status, 202, "{answer:?}");
    found(&world, "sums", "compacting", |_| true);
}
