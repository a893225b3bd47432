//! What an agent does in a turn, and what of it a client sees.

use std::time::Duration;

use serde_json::json;

use crate::llm::{Scope, Turn};
use crate::world::{World, bash};

/// One of everything, in one session after another.
#[test]
fn text_commands_files_and_plans_are_told_as_they_happen() {
    let world = World::start();

    let text = world.run(
        "plain",
        [Turn::new()
            .stream(5, Duration::from_millis(20))
            .text("Hello from the model.")],
    );
    assert_eq!(text.text("assistant"), "Hello from the model.");
    assert_eq!(text.0[0].data["status"], "running");
    let complete = text.assert_complete();
    assert_eq!(complete["final_message"], "Hello from the model.");
    assert_eq!(complete["usage"]["input_tokens"], 100);
    assert_eq!(complete["usage"]["output_tokens"], 20);
    assert_eq!(complete["files_modified"], json!([]));
    assert_eq!(world.status("plain")["model_calls"]["calls"], 1);

    let lines = "for i in 1 2 3 4; do echo line $i; sleep 0.15; done; exit 3";
    let command = world.run(
        "command",
        [
            Turn::new().text("I run it.").tool("bash", bash(lines)),
            Turn::new().text("It ran."),
        ],
    );
    assert_eq!(
        command.text("tool"),
        "line 1\nline 2\nline 3\nline 4\n",
        "every byte once"
    );
    let pieces = command.of("output").filter(|data| data["source"] == "tool");
    assert!(pieces.count() > 1, "it comes while the command runs");
    let result = command.result("bash");
    assert_eq!(result["result"]["exit_code"], 3);
    assert_eq!(
        result["result"]["stdout"],
        "line 1\nline 2\nline 3\nline 4\n"
    );
    assert_eq!(
        command.of("tool_call").next().unwrap()["args"]["command"],
        lines
    );
    assert!(
        command
            .of("status")
            .any(|data| data["current_tool"] == "bash")
    );
    assert_eq!(command.assert_complete()["final_message"], "It ran.");

    let path = world.file("notes.txt");
    let files = world.run(
        "files",
        [
            Turn::new().tool(
                "write",
                json!({ "filePath": path, "content": "one\ntwo\n" }),
            ),
            Turn::new().tool("read", json!({ "filePath": path })),
            Turn::new().tool(
                "edit",
                json!({ "filePath": path, "oldString": "two", "newString": "three" }),
            ),
            Turn::new().text("Written."),
        ],
    );
    assert_eq!(std::fs::read_to_string(&path).unwrap(), "one\nthree\n");
    let content = files.result("read")["result"]["content"].as_str().unwrap();
    assert!(content.contains("two"), "{content}");
    assert_eq!(files.assert_complete()["files_modified"], json!([path]));
    assert_eq!(world.status("files")["files_modified"], json!([path]));

    let plan = |states: [&str; 2]| {
        let item = |content: &str, status: &str| json!({ "content": content, "status": status, "priority": "high" });
        json!({ "todos": [item("look", states[0]), item("act", states[1])] })
    };
    let planned = world.run(
        "planned",
        [
            Turn::new().tool("todowrite", plan(["in_progress", "pending"])),
            Turn::new().tool("todowrite", plan(["completed", "in_progress"])),
            Turn::new().text("Half done."),
        ],
    );
    assert_eq!(planned.of("todo").count(), 2);
    let half =
        |data: &&serde_json::Value| data["progress"].as_u64().is_some_and(|p| p > 0 && p < 100);
    assert!(planned.of("status").any(|data| half(&data)), "{planned:#?}");
    planned.assert_complete();
}

#[test]
fn what_a_subagent_does_is_marked_and_its_files_count() {
    let world = World::start();
    let path = world.file("from-below.txt");
    let delegate =
        json!({ "description": "sub", "prompt": "the delegated work", "subagent_type": "general" });
    let below = Scope::prompt("the delegated work");
    world.llm.reply_to(
        below.clone(),
        Turn::new().tool("write", json!({ "filePath": path, "content": "deep" })),
    );
    world.llm.reply_to(below, Turn::new().text("Done below."));
    let seen = world.run(
        "parent",
        [
            Turn::new().text("I delegate.").tool("task", delegate),
            Turn::new().text("All done."),
        ],
    );
    let complete = seen.assert_complete();
    assert_eq!(complete["final_message"], "All done.");
    assert_eq!(complete["files_modified"], json!([path]));
    assert_eq!(complete["usage"]["input_tokens"], 400, "all four calls");
    let write = seen
        .of("tool_call")
        .find(|data| data["tool"] == "write")
        .unwrap();
    assert_eq!(write["agent"]["name"], "general", "{write}");
    let remote = world.status("parent")["remote_session_id"].clone();
    assert_eq!(write["agent"]["parent"], remote);
    let task = seen
        .of("tool_call")
        .find(|data| data["tool"] == "task")
        .unwrap();
    assert!(task["agent"].is_null(), "{task}");
    let said: Vec<_> = seen
        .of("output")
        .filter(|data| data["text"] == "Done below.")
        .collect();
    assert!(
        said.len() == 1 && said[0]["agent"]["name"] == "general",
        "{said:?}"
    );
}

#[test]
fn reasoning_is_told_only_to_those_who_ask() {
    let world = World::start();
    let seen = world.run(
        "thinker",
        [Turn::new().reasoning("Hm, let me think.").text("Yes.")],
    );
    assert_eq!(seen.text("reasoning"), "Hm, let me think.");
    assert_eq!(seen.text("assistant"), "Yes.");
    let plain = world.stream("thinker", "").rest();
    let expected: Vec<_> = seen
        .0
        .iter()
        .filter(|event| event.data["source"] != "reasoning")
        .cloned()
        .collect();
    assert_eq!(plain, expected);
}

#[test]
fn the_other_dialects_say_the_same() {
    let world = World::start();
    for (id, provider) in [("messages", "anthropic"), ("chat", "openai")] {
        world.script(
            id,
            [
                Turn::new().text("I look.").tool("bash", bash("echo seen")),
                Turn::new().text("It is there."),
            ],
        );
        world.create_with(id, |body| {
            body["model_config"]["provider"] = provider.into();
        });
        let seen = world.follow(id);
        assert_eq!(seen.text("assistant"), "I look.It is there.");
        assert_eq!(seen.text("tool"), "seen\n");
        assert_eq!(seen.assert_complete()["usage"]["output_tokens"], 40);
    }
    let paths: Vec<String> = world
        .llm
        .requests()
        .iter()
        .map(|call| call.path.clone())
        .collect();
    assert!(paths.contains(&"/v1/messages".to_owned()), "{paths:?}");
}

#[test]
fn a_tool_that_may_not_be_used_is_refused_and_the_turn_goes_on() {
    let world = World::start();
    world.script(
        "narrow",
        [
            Turn::new().tool(
                "write",
                json!({ "filePath": world.file("no.txt"), "content": "no" }),
            ),
            Turn::new().tool("summon", json!({ "what": "a demon" })),
            Turn::new().text("So be it."),
        ],
    );
    world.create_with("narrow", |body| {
        body["model_config"]["enabled_tools"] = json!(["bash", "read"]);
    });
    let seen = world.follow("narrow");
    assert_eq!(seen.assert_complete()["final_message"], "So be it.");
    assert!(!world.workspace().join("no.txt").exists());
    let refused: Vec<_> = seen.of("tool_result").collect();
    assert_eq!(refused.len(), 2, "{seen:#?}");
    let offered = world.llm.requests()[0].tools();
    assert_eq!(offered, ["bash", "read"]);
    // Whoever reads the stream sees what was tried.
    let tried: Vec<_> = seen
        .of("tool_call")
        .map(|call| (call["tool"].clone(), call["args"].clone()))
        .collect();
    let write = json!({ "filePath": world.file("no.txt"), "content": "no" });
    let summon = json!({ "what": "a demon" });
    assert_eq!(
        tried,
        [(json!("write"), write), (json!("summon"), summon.clone())]
    );
    for (id, provider) in [("messages", "anthropic"), ("chat", "openai")] {
        world.script(
            id,
            [
                Turn::new().tool("summon", summon.clone()),
                Turn::new().text("So be it."),
            ],
        );
        world.create_with(id, |body| {
            body["model_config"]["provider"] = provider.into();
        });
        let seen = world.follow(id);
        assert_eq!(seen.of("tool_call").next().unwrap()["args"], summon);
    }
}

/// OpenCode has one permission for both, so this is the plugin's refusal.
#[test]
fn a_tool_that_shares_its_permission_with_an_enabled_one_is_refused() {
    let world = World::start();
    let write = json!({ "filePath": world.file("no.txt"), "content": "no" });
    let turns = [
        Turn::new().tool("write", write),
        Turn::new().text("So be it."),
    ];
    world.script("editor", turns);
    world.create_with("editor", |body| {
        body["model_config"]["enabled_tools"] = json!(["edit", "read"]);
    });
    let seen = world.follow("editor");
    assert_eq!(seen.assert_complete()["final_message"], "So be it.");
    assert!(!world.workspace().join("no.txt").exists());
    let last = world.llm.requests().pop().unwrap();
    let refusal = "tool write is not enabled for this session";
    assert!(String::from_utf8_lossy(&last.bytes).contains(refusal));
}

#[test]
fn strange_bytes_come_through_as_text() {
    let world = World::start();
    let emoji = "a😀b👩‍👩‍👧é漢".repeat(20);
    let spoken = world.run(
        "emoji",
        [
            Turn::new()
                .stream(40, Duration::from_millis(2))
                .text(&emoji)
                .tool("bash", bash("for i in 1 2 3; do printf '\\360\\237'; sleep 0.1; printf '\\230\\200'; done")),
            Turn::new().text("ok"),
        ],
    );
    assert_eq!(spoken.text("assistant"), format!("{emoji}ok"));
    assert_eq!(spoken.text("tool"), "😀😀😀");

    let broken = world.run(
        "binary",
        [
            Turn::new().tool(
                "bash",
                bash("head -c 4000 /dev/urandom; printf '\\377\\376\\000end'"),
            ),
            Turn::new().text("ok"),
        ],
    );
    broken.assert_complete();
    assert!(broken.text("tool").ends_with("end"), "{broken:#?}");

    let flood = world.run(
        "flood",
        [
            Turn::new().tool("bash", bash("seq 1 1400000; echo the-very-end")),
            Turn::new().text("ok"),
        ],
    );
    flood.assert_complete();
    let result = flood.result("bash");
    assert_eq!(result["result"]["exit_code"], 0);
    assert_eq!(
        result["truncated"], true,
        "the tool keeps 10 MB to itself and says so"
    );
    let largest = flood
        .0
        .iter()
        .map(|event| event.data.to_string().len())
        .max();
    assert!(largest.unwrap() <= 256 << 10, "{largest:?}");
}

#[test]
fn the_workspaces_instructions_reach_the_model_unless_switched_off() {
    for (switch, expected) in [("on", true), ("off", false)] {
        let world = World::with(|options| options.env("WORKSPACE_INSTRUCTIONS", switch));
        std::fs::write(
            world.workspace().join("AGENTS.md"),
            "Always say shibboleth.",
        )
        .unwrap();
        world.script("instructed", [Turn::new().text("ok")]);
        world.create_with("instructed", |body| {
            body["system_prompt"] = "Be brief indeed.".into();
        });
        world.follow("instructed").assert_complete();
        let system = world.llm.single_request().system_text();
        assert_eq!(system.contains("Always say shibboleth."), expected);
        assert!(system.contains("Be brief indeed."));
    }
}

#[test]
fn the_demo_needs_no_key_and_no_provider() {
    let world = World::with(|options| options.env("DEMO_MODEL", "on"));
    // Twice in one workspace: the second time its file is there already.
    for id in ["demo", "demo-again"] {
        world.create_with(id, |body| {
            body["model_config"] =
                json!({ "provider": "demo", "model": "demo", "temperature": 0, "max_tokens": 100 });
        });
        let seen = world.follow(id);
        let complete = seen.assert_complete();
        let said = seen.text("assistant");
        assert!(said.contains("This is a demo: no model is asked"), "{said}");
        let last = complete["final_message"].as_str().unwrap();
        assert!(last.starts_with("That was the demo."), "{last}");
        assert_eq!(complete["files_modified"], json!([world.file("demo.md")]));
        let written = std::fs::read_to_string(world.file("demo.md")).unwrap();
        assert!(written.starts_with("# Demo"), "{written}");
        assert_eq!(seen.of("tool_result").count(), seen.of("tool_call").count());
        assert!(seen.of("tool_result").all(|data| data["is_error"] == false));
        assert_eq!(world.status(id)["model_calls"]["calls"], 4);
    }
    assert!(world.llm.requests().is_empty());
}

/// An image that the agent reads reaches a model that can see, also with an empty catalogue of models.
#[test]
fn an_image_that_the_agent_reads_reaches_the_model() {
    const DOT: &[u8] = b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR\0\0\0\x01\0\0\0\x01\x08\x06\0\0\0\x1f\x15\xc4\x89\0\0\0\rIDATx\xdac\xfc\xcf\xc0P\x0f\0\x04\x85\x01\x80\x84\xa9\x8c!\0\0\0\0IEND\xaeB`\x82";
    let world = World::start();
    std::fs::write(world.file("dot.png"), DOT).unwrap();
    let read = Turn::new().tool("read", json!({ "filePath": world.file("dot.png") }));
    world.script("viewer", [read, Turn::new().text("A dot.")]);
    world.create_with("viewer", |body| {
        body["model_config"]["provider"] = "anthropic".into();
    });
    world.follow("viewer").assert_complete();
    let last = world.llm.requests().pop().unwrap().body.to_string();
    assert!(last.contains("iVBORw0KGgo"), "{last}");
}

/// The engine's own summary in the middle of a turn is no end of it.
#[test]
fn a_conversation_that_outgrows_the_model_is_summarised_and_goes_on() {
    let world = World::start();
    world.script(
        "long",
        [
            Turn::new()
                .tool("bash", bash("echo first"))
                .usage(31_000, 500, 0, 0),
            Turn::new().text("Going on after the summary."),
            Turn::new().text("And done."),
        ],
    );
    world.create_with("long", |body| {
        body["model_config"]["context_window"] = 32_000.into();
    });
    let seen = world.follow("long");
    seen.assert_complete();
    assert!(
        seen.of("status").any(|data| data["phase"] == "compacting"),
        "{seen:#?}"
    );
    assert!(
        !seen.text("assistant").contains("Summary: work was done."),
        "{seen:#?}"
    );
}

/// What clients ask for during a turn is what has happened until then.
#[test]
fn the_status_is_live_during_a_turn() {
    let world = World::start();
    let path = world.file("live.txt");
    world.script(
        "live",
        [
            Turn::new()
                .tool("write", json!({ "filePath": path, "content": "x" }))
                .usage(700, 30, 0, 0),
            Turn::new().text("Now I think.").hang_here(),
        ],
    );
    world.create("live");
    let mut stream = world.stream("live", "");
    stream.until("text", |event| event.data["source"] == "assistant");
    let status = world.status("live");
    assert_eq!(status["status"], "running");
    assert_eq!(status["files_modified"], json!([path]));
    assert_eq!(status["usage"]["input_tokens"], 700, "{status}");
    assert_eq!(world.stop("live").status, 200);
}

/// What a session asks for and no model gets is said when it begins, and is what the real binary does.
#[test]
fn tools_that_opencode_does_not_offer_are_said_in_the_201() {
    let world = World::start();
    let all = [
        "apply_patch",
        "bash",
        "edit",
        "glob",
        "grep",
        "list",
        "read",
        "task",
        "todowrite",
        "webfetch",
        "websearch",
        "write",
    ];
    for (id, provider) in [
        ("compat", "custom"),
        ("messages", "anthropic"),
        ("chat", "openai"),
    ] {
        world.script(id, [Turn::new().text("ok")]);
        let mut body = world.body(id);
        body["model_config"]["provider"] = provider.into();
        body["model_config"]["enabled_tools"] = json!(all);
        let created = world.post_session(&body).json();
        world.follow(id).assert_complete();
        let missing = created["tools_not_offered"].as_array().unwrap();
        let calls = world.llm.requests();
        let offered = calls.last().unwrap().tools();
        let expected: Vec<&str> = all
            .into_iter()
            .filter(|tool| !missing.contains(&json!(tool)))
            .collect();
        assert_eq!(offered, expected, "{provider}: {created}");
    }
    world.script("groups", [Turn::new().text("ok")]);
    let mut body = world.body("groups");
    body["model_config"]["enabled_tools"] = json!(["file_ops", "web_search"]);
    let created = world.post_session(&body).json();
    let missing = json!(["apply_patch", "list", "websearch"]);
    assert_eq!(created["tools_not_offered"], missing);
    world.follow("groups").assert_complete();
    world.script("every", [Turn::new().text("ok")]);
    let created = world.post_session(&world.body("every")).json();
    assert_eq!(
        created["tools_not_offered"],
        json!([]),
        "nothing was asked for by its name"
    );
    world.follow("every").assert_complete();
}
