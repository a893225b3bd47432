//! Reading a conversation again: messages, subagents, plan, changes of files.

use std::path::Path;
use std::process::{Command, Stdio};

use serde_json::{Value, json};

use crate::insider;
use crate::llm::{Scope, Turn};
use crate::support::Options;
use crate::world::{World, bash};

fn get(world: &World, path: &str) -> Value {
    let answer = world.sidecar.get(&format!("/sessions/{path}"));
    assert_eq!(answer.status, 200, "{path}: {answer:?}");
    answer.json()
}

/// Another turn of a session that has ended, to its end.
pub(crate) fn resume(world: &World, id: &str, prompt: &str, turns: impl IntoIterator<Item = Turn>) {
    world.script(id, turns);
    let mut body = world.body(id);
    body["prompt"] = json!(prompt);
    let answer = world.post(&format!("/sessions/{id}/resume"), &body.to_string());
    assert_eq!(answer.status, 200, "{answer:?}");
    let cursor = answer.json()["last_event_id"].as_str().unwrap().to_owned();
    let events = world.stream(id, &format!("?last_event_id={cursor}")).rest();
    assert_eq!(events.last().unwrap().kind, "complete", "{events:#?}");
}

/// A sidecar whose workspace is a git work tree. OpenCode looks for one when it starts.
pub(crate) fn with_git() -> World {
    with_git_and(|options| options)
}

pub(crate) fn with_git_and(adapt: impl FnOnce(Options) -> Options) -> World {
    World::with(|options| {
        git_init(&options.dir.path().join("workspace"));
        adapt(options)
    })
}

fn git_init(workspace: &Path) {
    std::fs::write(workspace.join("base.txt"), "base\n").unwrap();
    for arguments in [
        &["init", "-q"][..],
        &["add", "."],
        &[
            "-c",
            "user.email=a@b.c",
            "-c",
            "user.name=A",
            "commit",
            "-qm",
            "one",
        ],
    ] {
        let git = Command::new("git")
            .args(arguments)
            .current_dir(workspace)
            .status();
        assert!(git.unwrap().success(), "{arguments:?}");
    }
}

/// `git apply` of a patch in the workspace.
fn applies(world: &World, patch: &str, reverse: bool) -> bool {
    use std::io::Write as _;
    let mut git = Command::new("git");
    git.args(["apply", "--check"]).args(reverse.then_some("-R"));
    let git = git
        .current_dir(world.workspace())
        .stdin(Stdio::piped())
        .spawn();
    let mut git = git.unwrap();
    git.stdin
        .take()
        .unwrap()
        .write_all(patch.as_bytes())
        .unwrap();
    git.wait().unwrap().success()
}

#[test]
fn the_messages_of_all_turns_are_listed_with_their_tools_a_page_at_a_time() {
    let world = World::start();
    let path = world.file("notes.txt");
    world
        .run(
            "said",
            [
                Turn::new()
                    .reasoning("I think.")
                    .text("I write.")
                    .tool("write", json!({ "filePath": path, "content": "one\n" })),
                Turn::new().tool("bash", bash("echo out; exit 3")),
                Turn::new().text("Written."),
            ],
        )
        .assert_complete();
    resume(
        &world,
        "said",
        "and now?",
        [Turn::new().text("Nothing more.")],
    );

    let all = get(&world, "said/messages?include=reasoning");
    assert_eq!(all["next_cursor"], Value::Null);
    let messages = all["messages"].as_array().unwrap();
    let shown: Vec<_> = messages
        .iter()
        .map(|message| {
            (
                &message["turn"],
                message["role"].as_str().unwrap(),
                message["text"].as_str().unwrap(),
            )
        })
        .collect();
    let (one, two) = (&json!(1), &json!(2));
    let expected = [
        (two, "assistant", "Nothing more."),
        (two, "user", "and now?"),
        (one, "assistant", "Written."),
        (one, "assistant", ""),
        (one, "assistant", "I write."),
        (one, "user", "please do said"),
    ];
    assert_eq!(shown, expected);
    let (command, first) = (&messages[3]["tools"][0], &messages[4]);
    assert_eq!(
        command["result"],
        json!({ "exit_code": 3, "stdout": "out\n", "stderr": "" })
    );
    assert_eq!(
        (&command["status"], &command["is_error"]),
        (&json!("completed"), &json!(true))
    );
    assert_eq!(first["reasoning"], "I think.");
    assert_eq!(first["tools"][0]["args"]["filePath"], path);
    assert_eq!(first["usage"]["input_tokens"], 100);
    assert_eq!(first["agent"], "build");
    assert!(first["completed_at"].is_string() && messages[5]["completed_at"].is_null());
    assert!(get(&world, "said/messages")["messages"][4]["reasoning"].is_null());

    // The pages join to the whole, whatever their size.
    for limit in [1, 2, 4, 5] {
        let (mut joined, mut cursor) = (Vec::new(), String::new());
        loop {
            let page = get(
                &world,
                &format!("said/messages?include=reasoning&limit={limit}{cursor}"),
            );
            let messages = page["messages"].as_array().unwrap();
            assert!((1..=limit).contains(&messages.len()));
            joined.extend(messages.iter().cloned());
            match page["next_cursor"].as_str() {
                Some(next) => cursor = format!("&cursor={next}"),
                None => break,
            }
        }
        assert_eq!(&joined, messages, "limit {limit}");
    }
    for cursor in ["bm9uc2Vuc2U", "x"] {
        let refused = world.get(&format!("/sessions/said/messages?cursor={cursor}"));
        assert_eq!(
            (refused.status, refused.json()["details"]["field"].as_str()),
            (400, Some("cursor"))
        );
    }
}

#[test]
fn subagents_are_listed_and_their_messages_can_be_read() {
    let world = World::start();
    let delegate =
        json!({ "description": "sub", "prompt": "the delegated work", "subagent_type": "general" });
    let plan =
        json!({ "todos": [{ "content": "look", "status": "in_progress", "priority": "high" }] });
    world.llm.reply_to(
        Scope::prompt("the delegated work"),
        Turn::new().text("Done below."),
    );
    world.run(
        "above",
        [
            Turn::new()
                .tool("todowrite", plan.clone())
                .tool("task", delegate),
            Turn::new().text("All done."),
        ],
    );
    let children = get(&world, "above/children");
    let child = &children["children"][0];
    assert_eq!(children["children"].as_array().unwrap().len(), 1);
    assert_eq!(child["name"], "general");
    assert_eq!(child["parent"], world.status("above")["remote_session_id"]);
    assert_eq!(
        (&child["running"], &child["usage"]["input_tokens"]),
        (&json!(false), &json!(100))
    );
    let id = child["id"].as_str().unwrap();
    let below = get(&world, &format!("above/messages?agent={id}"));
    assert_eq!(below["messages"][0]["text"], "Done below.");
    assert_eq!(below["messages"][1]["text"], "the delegated work");
    assert_eq!(get(&world, "above/todos")["items"], plan["todos"]);

    // Another session's subagent is nobody's business, nor is another session.
    world.run("other", [Turn::new().text("Hello.")]);
    let other = world.status("other")["remote_session_id"]
        .as_str()
        .unwrap()
        .to_owned();
    for (session, agent) in [("other", id), ("above", &other), ("above", "ses_unknown")] {
        let refused = world.get(&format!("/sessions/{session}/messages?agent={agent}"));
        assert_eq!(refused.status, 404, "{session} {agent}: {refused:?}");
    }
}

#[test]
fn the_changes_of_each_turn_are_patches_that_apply() {
    let world = with_git();
    let (new, base) = (world.file("new ü.txt"), world.file("base.txt"));
    world.run(
        "changes",
        [
            Turn::new()
                .tool("write", json!({ "filePath": new, "content": "one\ntwo" }))
                .tool(
                    "bash",
                    bash("echo more >> base.txt; printf '\\0' > bin; rm -f none"),
                ),
            Turn::new().text("Done."),
        ],
    );
    resume(
        &world,
        "changes",
        "now remove it",
        [
            Turn::new().tool("bash", bash("rm base.txt")),
            Turn::new().text("Gone."),
        ],
    );
    let diff = get(&world, "changes/diff");
    let changes = diff["changes"].as_array().unwrap();
    assert_eq!(changes.len(), 2, "{diff:#}");
    assert_eq!(
        (&changes[0]["turn"], &changes[1]["turn"]),
        (&json!(1), &json!(2))
    );
    assert_eq!(changes[0]["source"], "snapshots");
    let files = |turn: usize| {
        let files = changes[turn]["files"].as_array().unwrap().iter();
        files
            .map(|file| {
                (
                    file["path"].as_str().unwrap(),
                    file["status"].as_str().unwrap(),
                )
            })
            .collect::<Vec<_>>()
    };
    assert_eq!(
        files(0),
        [
            ("base.txt", "modified"),
            ("bin", "added"),
            ("new ü.txt", "added")
        ]
    );
    assert_eq!(files(1), [("base.txt", "deleted")]);
    assert!(changes[0]["files"][1]["patch"].is_null(), "a binary file");
    let patch = |turn: usize, file: usize| changes[turn]["files"][file]["patch"].as_str().unwrap();
    // What is there now is what the patches lead to.
    assert!(applies(&world, patch(0, 2), true), "{diff:#}");
    assert!(applies(&world, patch(1, 0), true), "{diff:#}");
    std::fs::write(&base, "base\n").unwrap();
    assert!(applies(&world, patch(0, 0), false), "{diff:#}");
    assert_eq!(
        get(&world, "changes/diff?turn=2")["changes"]
            .as_array()
            .unwrap()[..],
        changes[1..]
    );
    assert_eq!(get(&world, "changes/diff?turn=3")["changes"], json!([]));
}

#[test]
fn without_git_the_tools_say_what_changed() {
    let world = World::start();
    let (new, old) = (world.file("new.txt"), world.file("old.txt"));
    std::fs::write(&old, "a\nb\nc\n").unwrap();
    let delegate =
        json!({ "description": "sub", "prompt": "the delegated work", "subagent_type": "general" });
    let below = Scope::prompt("the delegated work");
    let deep = json!({ "filePath": world.file("deep.txt"), "content": "deep\n" });
    world
        .llm
        .reply_to(below.clone(), Turn::new().tool("write", deep));
    world.llm.reply_to(below, Turn::new().text("Done below."));
    world.run(
        "plain",
        [
            Turn::new()
                .tool("write", json!({ "filePath": new, "content": "one\n" }))
                .tool("read", json!({ "filePath": old })),
            Turn::new().tool(
                "edit",
                json!({ "filePath": old, "oldString": "b", "newString": "B" }),
            ),
            Turn::new().tool("task", delegate),
            Turn::new().text("Done."),
        ],
    );
    let diff = get(&world, "plain/diff");
    let turn = &diff["changes"][0];
    assert_eq!(
        (&turn["source"], &turn["turn"]),
        (&json!("tools"), &json!(1))
    );
    let paths: Vec<_> = turn["files"]
        .as_array()
        .unwrap()
        .iter()
        .map(|file| file["path"].clone())
        .collect();
    assert_eq!(paths, ["deep.txt", "new.txt", "old.txt"]);
    let edited = &turn["files"][2];
    assert_eq!(
        edited["patch"],
        "--- a/old.txt\n+++ b/old.txt\n@@ -1,3 +1,3 @@\n a\n-b\n+B\n c\n"
    );
    assert_eq!(
        turn["files"][1]["patch"],
        "--- /dev/null\n+++ b/new.txt\n@@ -0,0 +1,1 @@\n+one\n"
    );
}

#[test]
fn a_conversation_is_read_while_its_turn_runs() {
    let world = World::start();
    world.script(
        "busy",
        [Turn::new().tool("bash", bash("touch ready; sleep 60"))],
    );
    world.create("busy");
    world.until("running its command", |sidecar| {
        sidecar.workspace().join("ready").exists()
    });
    let tools = |world: &World| get(world, "busy/messages")["messages"][0]["tools"].clone();
    assert_eq!(tools(&world)[0]["status"], "running");
    assert!(tools(&world)[0]["result"].is_null());
    for path in ["busy/children", "busy/todos", "busy/diff"] {
        get(&world, path);
    }
    assert_eq!(world.stop("busy").status, 200);
    assert_ne!(tools(&world)[0]["status"], "running");
}

#[test]
fn no_view_of_a_conversation_holds_a_secret() {
    let world = World::start();
    let key = format!("sk-viewed-{}", std::process::id());
    let scope = Scope::key(&key);
    world.llm.reply_to(
        scope.clone(),
        Turn::new().tool("bash", bash("env; cat /proc/$PPID/environ")),
    );
    world.llm.reply_to(
        scope,
        Turn::error(401, &format!("Incorrect API key provided: {key}")),
    );
    world.create_with("seen", |body| body["model_config"]["api_key"] = json!(key));
    world.follow("seen").assert_failed("provider_auth");
    let (gateway, token) = insider::gateway(&world.sidecar);
    let password = insider::password(&world.sidecar);
    let views = ["messages?include=reasoning", "children", "todos", "diff"];
    for path in views {
        let shown = get(&world, &format!("seen/{path}")).to_string();
        for secret in [&key, &token, &password, &gateway] {
            assert!(!shown.contains(secret), "{path} has {secret}: {shown}");
        }
    }
    let messages = get(&world, "seen/messages");
    assert_eq!(
        messages["messages"][0]["error"]["code"], "provider_auth",
        "{messages:#}"
    );
}
