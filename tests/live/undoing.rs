//! Copying a conversation, and undoing a part of it.

use serde_json::{Value, json};

use crate::conversation::{resume, with_git};
use crate::llm::Turn;
use crate::support::http::Response;
use crate::world::{World, bash};

fn post(world: &World, path: &str, body: &Value) -> Response {
    world.post(&format!("/sessions/{path}"), &body.to_string())
}

fn texts(world: &World, id: &str) -> Vec<String> {
    let answer = world.get(&format!("/sessions/{id}/messages"));
    assert_eq!(answer.status, 200, "{answer:?}");
    let messages = answer.json()["messages"].as_array().unwrap().clone();
    let texts = messages.iter().map(|message| {
        let text = message["text"].as_str().unwrap().to_owned();
        if message["reverted"] == true {
            format!("({text})")
        } else {
            text
        }
    });
    texts.collect()
}

fn two_turns(world: &World, id: &str) {
    let file = world.file("notes.txt");
    world.run(
        id,
        [
            Turn::new().tool("write", json!({ "filePath": file, "content": "one\n" })),
            Turn::new().text("First."),
        ],
    );
    resume(
        world,
        id,
        "second please",
        [
            Turn::new().tool("bash", bash("echo two > notes.txt; echo made > more.txt")),
            Turn::new().text("Second."),
        ],
    );
}

#[test]
fn in_a_git_work_tree_undoing_restores_the_files_and_can_be_taken_back() {
    let world = with_git();
    two_turns(&world, "undo");
    let notes = || std::fs::read_to_string(world.file("notes.txt")).ok();
    let more = || world.workspace().join("more.txt").exists();

    let undone = post(&world, "undo/revert", &json!({ "turn": 2 }));
    assert_eq!(undone.status, 200, "{undone:?}");
    let undone = undone.json();
    assert_eq!(
        (&undone["files_restored"], &undone["reverted"]["turn"]),
        (&json!(true), &json!(2))
    );
    assert!(
        undone["diff"].as_str().unwrap().contains("more.txt"),
        "{undone}"
    );
    assert_eq!((notes().as_deref(), more()), (Some("one\n"), false));
    assert_eq!(
        texts(&world, "undo"),
        [
            "(Second.)",
            "()",
            "(second please)",
            "First.",
            "",
            "please do undo"
        ]
    );
    assert_eq!(world.status("undo")["reverted"], undone["reverted"]);
    let changes = world.get("/sessions/undo/diff").json()["changes"]
        .as_array()
        .unwrap()
        .len();
    assert_eq!(changes, 1, "what is undone has changed nothing");

    let back = post(&world, "undo/unrevert", &json!({}));
    assert_eq!(
        (back.status, &back.json()["reverted"]),
        (200, &Value::Null),
        "{back:?}"
    );
    assert_eq!((notes().as_deref(), more()), (Some("two\n"), true));
    assert_eq!(
        post(&world, "undo/unrevert", &json!({})).status,
        409,
        "nothing is undone"
    );

    // Undone again, it is final with the next prompt, and the model does not see it.
    let first = undone["reverted"]["message_id"].as_str().unwrap();
    assert_eq!(
        post(&world, "undo/revert", &json!({ "message_id": first })).status,
        200
    );
    resume(&world, "undo", "third please", [Turn::new().text("Third.")]);
    assert_eq!(
        texts(&world, "undo"),
        ["Third.", "third please", "First.", "", "please do undo"]
    );
    assert_eq!(world.status("undo")["reverted"], Value::Null);
    assert_eq!(post(&world, "undo/unrevert", &json!({})).status, 409);

    // The log says it, and its last event is known to the status.
    let events = world.stream("undo", "").rest();
    let reasons: Vec<_> = events
        .iter()
        .filter_map(|event| event.data["reason"].as_str())
        .collect();
    assert_eq!(reasons.len(), 3, "{reasons:?}");
    assert!(
        reasons[0].contains("is undone") && reasons[1].contains("there again"),
        "{reasons:?}"
    );
}

#[test]
fn without_git_only_the_conversation_is_undone() {
    let world = World::start();
    two_turns(&world, "plain");
    let undone = post(&world, "plain/revert", &json!({ "turn": 2 })).json();
    assert_eq!(
        (&undone["files_restored"], &undone["diff"]),
        (&json!(false), &Value::Null)
    );
    assert_eq!(
        std::fs::read_to_string(world.file("notes.txt")).unwrap(),
        "two\n"
    );
    assert_eq!(
        texts(&world, "plain")[3..],
        ["First.", "", "please do plain"]
    );
    for (place, status) in [
        (json!({ "turn": 3 }), 404),
        (json!({ "message_id": "msg_unknown" }), 404),
        (json!({ "message_id": "../x" }), 400),
    ] {
        assert_eq!(
            post(&world, "plain/revert", &place).status,
            status,
            "{place}"
        );
    }
}

#[test]
fn while_a_turn_runs_it_can_be_copied_and_not_undone() {
    let world = World::start();
    world.script(
        "busy",
        [Turn::new().tool("bash", bash("touch ready; sleep 60"))],
    );
    world.create("busy");
    world.until("running its command", |sidecar| {
        sidecar.workspace().join("ready").exists()
    });
    for path in ["busy/revert", "busy/unrevert"] {
        let refused = post(&world, path, &json!({ "turn": 1 }));
        assert_eq!(
            (refused.status, &refused.json()["code"]),
            (409, &json!("conflict")),
            "{path}"
        );
    }
    assert_eq!(
        post(&world, "busy/fork", &json!({ "session_id": "copy" })).status,
        201
    );
    assert_eq!(world.status("busy")["status"], "running");
    assert_eq!(world.status("copy")["status"], "completed");
    resume(&world, "copy", "go on", [Turn::new().text("I go on.")]);
    assert_eq!(world.stop("busy").status, 200);
}

#[test]
fn a_fork_goes_on_by_itself_with_the_same_tools() {
    let mut world = World::start();
    world.script("source", [Turn::new().text("First.")]);
    world.create_with("source", |body| {
        body["model_config"]["enabled_tools"] = json!(["read"]);
        body["title"] = json!("the source");
        body["metadata"] = json!({ "ticket": 7 });
    });
    world.follow("source").assert_complete();
    resume(
        &world,
        "source",
        "second please",
        [Turn::new().text("Second.")],
    );

    let forked = post(
        &world,
        "source/fork",
        &json!({ "session_id": "fork", "turn": 1, "title": "a try" }),
    );
    assert_eq!(forked.status, 201, "{forked:?}");
    assert_eq!(forked.header("location"), Some("/sessions/fork"));
    assert_eq!(texts(&world, "fork"), ["First.", "please do source"]);
    let status = world.status("fork");
    assert_eq!(status["forked_from"], forked.json()["forked_from"]);
    assert_eq!(
        (&status["forked_from"]["session_id"], &status["turn"]),
        (&json!("source"), &json!(0))
    );
    assert_eq!(
        (&status["title"], &status["metadata"]),
        (&json!("a try"), &Value::Null)
    );
    let events = world.stream("fork", "").rest();
    assert_eq!(events.len(), 1);
    assert_eq!(
        events[0].data["reason"],
        "forked from session source after turn 1"
    );
    assert_eq!(
        post(&world, "source/fork", &json!({ "session_id": "fork" })).status,
        409
    );
    assert_eq!(
        post(&world, "source/fork", &json!({ "turn": 9 })).status,
        404
    );

    // A tool that the source may not use runs in the fork neither.
    world.script(
        "fork",
        [
            Turn::new().tool("bash", bash("touch denied")),
            Turn::new().text("I may not."),
        ],
    );
    let answer = post(&world, "fork/resume", &world.body("fork"));
    assert_eq!(
        (answer.status, &answer.json()["turn"]),
        (200, &json!(1)),
        "{answer:?}"
    );
    world.stream("fork", "").rest();
    assert!(!world.workspace().join("denied").exists());
    assert_eq!(
        texts(&world, "source"),
        ["Second.", "second please", "First.", "please do source"]
    );

    // All of it outlives the sidecar.
    let patched = world.send("PATCH", "/sessions/source", r#"{"metadata":{"ticket":8}}"#);
    assert_eq!(
        patched.json()["metadata"],
        json!({ "ticket": 8 }),
        "{patched:?}"
    );
    assert_eq!(
        post(&world, "source/revert", &json!({ "turn": 2 })).status,
        200
    );
    world.signal(rustix::process::Signal::KILL);
    world.sidecar.restart();
    let source = world.status("source");
    assert_eq!(
        (&source["title"], &source["metadata"]["ticket"]),
        (&json!("the source"), &json!(8))
    );
    assert_eq!(source["reverted"]["turn"], 2);
    assert_eq!(world.status("fork")["forked_from"]["session_id"], "source");
}
