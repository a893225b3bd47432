//! What providers do wrong, and how a client hears of it.

use serde_json::json;

use crate::llm::Turn;
use crate::world::{World, bash};

/// At once, because OpenCode waits seconds between its attempts.
#[test]
fn every_fault_of_a_provider_is_named_or_survived() {
    let world = World::with(|options| {
        options
            .env("MODEL_HEADER_TIMEOUT", "1s")
            .env("MODEL_IDLE_TIMEOUT", "1s")
            .env("MAX_CONCURRENT_SESSIONS", "20")
    });
    let answer = || Turn::new().text("At last.");
    world.script("denied", [Turn::error(401, "Incorrect API key provided")]);
    let limited = Turn::error(429, "slow down").header("retry-after", "1");
    world.script("limited", [limited, answer()]);
    // OpenCode doubles its own pauses up to 30 s; the header keeps them, and this test, short.
    let burning = Turn::error(500, "the provider is on fire").header("retry-after", "1");
    world.script("broken", vec![burning; 12]);
    world.script(
        "dropped",
        [Turn::new().text("I was say").drop_here(), answer()],
    );
    world.script("silent", [Turn::hang_before_headers(), answer()]);
    world.script("stuck", [Turn::new().text("Then ").hang_here(), answer()]);
    let all = ["denied", "limited", "broken", "dropped", "silent", "stuck"];
    for id in all {
        world.create(id);
    }

    let denied = world.follow("denied");
    let error = denied.assert_failed("provider_auth");
    assert!(
        error["error"]
            .as_str()
            .unwrap()
            .contains("Incorrect API key"),
        "{error}"
    );

    let limited = world.follow("limited");
    limited.assert_complete();
    let retry = limited.of("error").next().unwrap();
    assert_eq!(retry["fatal"], false);
    assert_eq!(retry["code"], "provider_retry");
    assert!(
        retry["retry_after"].as_u64().is_some_and(|secs| secs <= 3),
        "{retry}"
    );
    assert!(
        limited
            .of("status")
            .any(|data| data["phase"] == "provider_retry")
    );
    assert_eq!(limited.text("assistant"), "At last.");

    let broken = world.follow("broken");
    broken.assert_failed("provider_unavailable");
    assert!(broken.of("error").any(|data| data["fatal"] == false));

    for id in ["dropped", "silent", "stuck"] {
        let seen = world.follow(id);
        assert_eq!(seen.assert_complete()["final_message"], "At last.", "{id}");
        assert!(
            seen.text("assistant").ends_with("At last."),
            "{id}: {seen:#?}"
        );
        assert!(seen.of("error").all(|data| data["fatal"] == false));
        assert!(seen.of("error").next().is_some(), "{id}: {seen:#?}");
    }
}

#[test]
fn what_is_spent_is_spent() {
    let world = World::start();
    let again = || Turn::new().tool("bash", bash("date +%N"));
    world.script("calls", [again(), again(), again()]);
    world.create_with("calls", |body| body["model_config"]["max_calls"] = 2.into());
    let seen = world.follow("calls");
    seen.assert_failed("budget_exceeded");
    assert_eq!(seen.of("tool_call").count(), 2);
    assert_eq!(world.llm.requests().len(), 2, "the third call never left");

    world.script("tokens", [again(), again()]);
    world.create_with("tokens", |body| {
        body["model_config"]["max_total_tokens"] = 100.into();
    });
    world.follow("tokens").assert_failed("budget_exceeded");
    assert_eq!(world.status("tokens")["model_calls"]["total_tokens"], 120);
}

#[test]
fn a_tool_called_again_and_again_ends_the_turn() {
    let world = World::with(|options| options.env("TOOL_LOOP_LIMIT", "3"));
    world
        .llm
        .reply_always(Turn::new().tool("bash", bash("echo round and round")));
    world.create("loop");
    let seen = world.follow("loop");
    let error = seen.assert_failed("tool_loop");
    assert!(error["error"].as_str().unwrap().contains("bash"), "{error}");
    let calls = seen.of("tool_call").count();
    assert!((3..=4).contains(&calls), "{calls}");
    assert_eq!(error["resumable"], json!(true));
}

#[test]
fn silence_is_explained_and_a_long_turn_is_ended() {
    let world = World::with(|options| {
        options
            .env("STALL_AFTER", "1s")
            .env("SESSION_TIMEOUT", "12s")
    });
    world.script("slow-model", [Turn::hang_before_headers()]);
    world.script(
        "slow-tool",
        [
            Turn::new().tool("bash", bash("until [ -e go-on ]; do sleep 0.05; done")),
            Turn::new().text("ok"),
        ],
    );
    world.script(
        "endless",
        [Turn::new().tool("bash", bash("echo on; setsid sleep 1009"))],
    );
    world.create("endless");
    world.create("slow-model");
    world.create("slow-tool");

    world.stream("slow-tool", "").until("the stall", |event| {
        event.data["phase"] == "stalled" && event.data["current_tool"] == "bash"
    });
    std::fs::write(world.file("go-on"), "").unwrap();
    let tool = world.follow("slow-tool");
    tool.assert_complete();
    let stalls = |data: &&serde_json::Value| data["phase"] == "stalled";
    let reason = tool.of("status").rfind(stalls).unwrap()["reason"].clone();
    let reason = reason.as_str().unwrap();
    assert!(reason.starts_with("the tool bash is running"), "{reason}");

    let model = world.follow("slow-model");
    let error = model.assert_failed("timeout");
    assert_eq!(error["resumable"], true);
    // On a busy machine the first reason may be that the agent has not called its model yet.
    let stalled = model.of("status").rfind(stalls).unwrap();
    let reason = stalled["reason"].as_str().unwrap();
    assert!(
        reason.starts_with("waiting for the model provider until 20"),
        "{reason}"
    );
    world.runtime.block_on(world.llm.until_cut(1));

    let endless = world.follow("endless");
    endless.assert_failed("timeout");
    assert_eq!(endless.result("bash")["is_error"], true);
    assert_eq!(world.marked(), [world.engine_pid()], "its command is gone");
}
