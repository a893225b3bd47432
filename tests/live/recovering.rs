//! The engine dies in the middle of turns, and the turns go on in the next one.

use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};

use crate::llm::{Recorded, Scope, Turn};
use crate::stopping::runs;
use crate::support::sse::Event;
use crate::support::{Options, processes};
use crate::world::{Seen, World, bash};

/// What the continuation prompt begins with.
const CONTINUES: &str = "The process you run in died in the middle of this task";

fn words(count: u32) -> String {
    let words: Vec<String> = (0..count).map(|n| format!("word-{n} ")).collect();
    words.concat()
}

/// Speaks for longer than any test waits, so that a kill is always in the middle.
fn chatter() -> Turn {
    Turn::new()
        .stream(600, Duration::from_millis(100))
        .text(&words(600))
}

fn speaks(event: &Event) -> bool {
    event.kind == "output"
}

fn recovering(event: &Event) -> bool {
    event.data["phase"] == "recovering"
}

/// The calls of this session's model, in order.
fn calls(world: &World, id: &str) -> Vec<Recorded> {
    let mut calls = world.llm.requests();
    calls.retain(|call| call.key == id);
    calls
}

/// Whether this call tells the agent to go on, with all that was said before and everything it needs.
fn assert_continues(call: &Recorded, id: &str) {
    assert!(
        call.last_user_text().starts_with(CONTINUES),
        "{}",
        call.last_user_text()
    );
    assert!(
        String::from_utf8_lossy(&call.bytes).contains(&format!("please do {id}")),
        "the conversation so far"
    );
    assert_eq!(call.model(), "model-of-the-test");
    assert_eq!(call.body["temperature"], 0.5);
    assert_eq!(call.limit().map(|(_, limit)| limit), Some(4096));
    assert!(call.system_text().contains("Speak plainly."));
}

fn create(world: &World, id: &str) {
    world.create_with(id, |body| body["system_prompt"] = "Speak plainly.".into());
}

fn recoveries(seen: &Seen) -> Vec<&Value> {
    let mut reasons: Vec<&Value> = seen
        .of("status")
        .filter(|data| data["phase"] == "recovering")
        .map(|data| &data["reason"])
        .collect();
    reasons.dedup();
    reasons
}

#[test]
fn a_turn_killed_in_its_text_goes_on_without_a_word_doubled_or_lost() {
    let world = World::start();
    world.script("talker", [chatter(), Turn::new().text("The rest.")]);
    create(&world, "talker");
    let mut stream = world.stream("talker", "");
    stream.until("text", speaks);
    processes::kill(world.engine_pid());
    stream.until("the news", recovering);
    let status = world.status("talker");
    assert_eq!(status["status"], "running", "{status}");
    assert_eq!(status["phase"], "recovering", "{status}");
    let seen = world.follow("talker");
    let complete = seen.assert_complete();
    assert_eq!(complete["final_message"], "The rest.");
    assert_eq!(
        complete["usage"]["input_tokens"], 100,
        "of the call that ended"
    );
    let text = seen.text("assistant");
    let before = text.strip_suffix("The rest.").unwrap();
    assert!(
        !before.is_empty() && words(600).starts_with(before),
        "{text}"
    );
    assert_eq!(recoveries(&seen).len(), 1);
    let calls = calls(&world, "talker");
    assert_eq!(calls.len(), 2);
    assert_continues(&calls[1], "talker");
    assert!(world.status("talker")["phase"].is_null());
    world.runtime.block_on(world.llm.until_cut(1));
    assert_eq!(
        world.log().matches("the engine died during a turn").count(),
        1
    );
}

#[test]
fn a_turn_killed_in_its_command_goes_on_after_everything_it_started_is_gone() {
    let world = World::start();
    let path = world.file("done.txt");
    let look = "for p in /proc/[0-9]*; do { tr '\\0' ' ' < $p/cmdline; } 2>/dev/null | grep -qx 'sleep 101[12] ' && echo left; done; echo looked";
    world.script(
        "worker",
        [
            Turn::new()
                .text("First. ")
                .tool("write", json!({ "filePath": path, "content": "x" })),
            Turn::new()
                .text("I work. ")
                .tool("bash", bash("setsid sleep 1011 & echo begun; sleep 1012")),
            Turn::new().text("Again. ").tool("bash", bash(look)),
            Turn::new().text("Done."),
        ],
    );
    create(&world, "worker");
    world
        .stream("worker", "")
        .until("output", |event| event.data["source"] == "tool");
    world.until("asleep", |_| {
        runs(&world, "sleep 1011") && runs(&world, "sleep 1012")
    });
    processes::kill(world.engine_pid());
    let seen = world.follow("worker");
    let complete = seen.assert_complete();
    assert_eq!(complete["final_message"], "Done.");
    assert_eq!(
        complete["files_modified"],
        json!([path]),
        "of the whole turn"
    );
    // The step that was cut off is not in OpenCode's count; the gateway's has every call.
    assert_eq!(complete["usage"]["input_tokens"], 300);
    let counted = &world.status("worker")["model_calls"];
    assert_eq!(
        (&counted["calls"], &counted["total_tokens"]),
        (&json!(4), &json!(480))
    );
    assert_eq!(seen.text("assistant"), "First. I work. Again. Done.");
    assert_eq!(seen.text("tool"), "begun\nlooked\n", "nothing was left");
    let results: Vec<&Value> = seen
        .of("tool_result")
        .filter(|data| data["tool"] == "bash")
        .collect();
    assert_eq!(results.len(), 2, "{results:?}");
    assert_eq!(
        results[0]["result"]["error"],
        "the tool was interrupted before it finished"
    );
    assert_eq!(results[1]["result"]["exit_code"], 0);
    let calls = calls(&world, "worker");
    assert_eq!(calls.len(), 4);
    assert_continues(&calls[2], "worker");
}

#[test]
fn a_subagent_of_a_dead_engine_is_closed_with_its_texts_and_calls() {
    let world = World::start();
    let delegate =
        json!({ "description": "sub", "prompt": "the work below", "subagent_type": "general" });
    let below = Scope::prompt("the work below");
    world.llm.reply_to(
        below,
        Turn::new()
            .text("Below. ")
            .tool("bash", bash("echo deep; sleep 1013")),
    );
    world.script(
        "parent",
        [
            Turn::new().text("Above. ").tool("task", delegate),
            Turn::new().text("I did it myself."),
        ],
    );
    create(&world, "parent");
    world
        .stream("parent", "")
        .until("output", |event| event.data["text"] == "deep\n");
    processes::kill(world.engine_pid());
    let seen = world.follow("parent");
    assert_eq!(seen.assert_complete()["final_message"], "I did it myself.");
    for tool in ["task", "bash"] {
        assert_eq!(seen.result(tool)["is_error"], true, "{tool}");
    }
    assert!(seen.result("bash")["agent"]["id"].is_string());
    assert_eq!(seen.text("assistant"), "Above. Below. I did it myself.");
    assert_continues(calls(&world, "parent").last().unwrap(), "parent");
    assert!(!runs(&world, "sleep 1013"));
}

/// OpenCode takes a prompt before it stores it. Whether it had or not, the agent is told what is asked.
#[test]
fn a_turn_killed_at_its_very_beginning_is_not_forgotten() {
    let world = World::start();
    for round in 0..3 {
        let id = format!("early-{round}");
        world.script(&id, vec![Turn::new().text("Hello."); 2]);
        create(&world, &id);
        processes::kill(world.engine_pid());
        let seen = world.follow(&id);
        assert_eq!(seen.assert_complete()["final_message"], "Hello.");
        let last = calls(&world, &id).pop().unwrap();
        let body = String::from_utf8_lossy(&last.bytes).into_owned();
        assert_eq!(
            body.matches(&format!("please do {id}")).count(),
            1,
            "{body}"
        );
        assert!(last.system_text().contains("Speak plainly."));
    }
}

#[test]
fn two_deaths_are_survived_and_the_third_ends_the_turn() {
    let world = World::start();
    world.script("cat", [chatter(), chatter(), chatter()]);
    world.script("mouse", [chatter(), chatter(), Turn::new().text("Safe.")]);
    create(&world, "cat");
    create(&world, "mouse");
    let (mut cat, mut mouse) = (world.stream("cat", ""), world.stream("mouse", ""));
    for round in 1..=3 {
        // Not what is still on its way from before the last death.
        if round > 1 {
            let back = |event: &Event| event.kind == "status" && event.data["phase"].is_null();
            cat.until("it to go on", back);
            if round < 3 {
                mouse.until("it to go on", back);
            }
        }
        cat.until("text", speaks);
        if round < 3 {
            mouse.until("text", speaks);
        } else {
            world.follow("mouse").assert_complete();
        }
        processes::kill(world.engine_pid());
        if round < 3 {
            cat.until("the news", recovering);
            mouse.until("the news", recovering);
        }
    }
    let seen = world.follow("cat");
    let error = seen.assert_failed("engine_lost");
    assert_eq!(error["resumable"], true, "{error}");
    assert_eq!(
        error["error"],
        "the agent's process died 3 times during the turn (MAX_TURN_RECOVERIES)"
    );
    assert_eq!(recoveries(&seen).len(), 2);
    let seen = world.follow("mouse");
    assert_eq!(seen.last()["final_message"], "Safe.");
    assert_eq!(recoveries(&seen).len(), 2);
    assert_eq!(calls(&world, "mouse").len(), 3);
}

#[test]
fn five_turns_go_on_at_once_each_with_its_own_key() {
    let world = World::start();
    let ids: Vec<String> = (0..5).map(|n| format!("one-of-{n}")).collect();
    for id in &ids {
        let path = world.file(&format!("{id}.txt"));
        world.script(
            id,
            [
                Turn::new()
                    .text(&format!("I am {id}. "))
                    .tool("bash", bash(&format!("echo {id}; sleep 1014"))),
                Turn::new().tool("write", json!({ "filePath": path, "content": id })),
                Turn::new().text(&format!("{id} is done.")),
            ],
        );
        create(&world, id);
    }
    for id in &ids {
        world
            .stream(id, "")
            .until("output", |event| event.data["source"] == "tool");
    }
    processes::kill(world.engine_pid());
    for id in &ids {
        let seen = world.follow(id);
        let complete = seen.assert_complete();
        assert_eq!(complete["final_message"], format!("{id} is done."));
        assert_eq!(complete["usage"]["input_tokens"], 200, "{id}");
        assert_eq!(seen.text("assistant"), format!("I am {id}. {id} is done."));
        assert_eq!(seen.text("tool"), format!("{id}\n"));
        let calls = calls(&world, id);
        assert_eq!(calls.len(), 3, "{id}");
        assert_continues(&calls[1], id);
        assert_eq!(
            std::fs::read_to_string(world.file(&format!("{id}.txt"))).unwrap(),
            **id
        );
    }
}

/// The next child is a long time coming.
fn patient(options: Options) -> Options {
    options
        .env("ENGINE_BACKOFF_MIN", "10m")
        .env("ENGINE_BACKOFF_MAX", "10m")
}

#[test]
fn a_turn_between_two_engines_can_be_stopped_and_a_stopped_engine_ends_it() {
    let world = World::with(patient);
    for id in ["stopped", "left"] {
        world.script(id, [chatter()]);
        create(&world, id);
        world.stream(id, "").until("text", speaks);
    }
    processes::kill(world.engine_pid());
    for id in ["stopped", "left"] {
        world.stream(id, "").until("the news", recovering);
    }
    let begun = Instant::now();
    assert_eq!(world.stop("stopped").json()["status"], "cancelled");
    assert!(
        begun.elapsed() < Duration::from_secs(5),
        "{:?}",
        begun.elapsed()
    );
    assert_eq!(world.follow("stopped").last()["status"], "cancelled");
    assert_eq!(world.status("left")["phase"], "recovering");
    assert_eq!(world.post("/engine/stop", "").status, 200);
    let seen = world.follow("left");
    let error = seen.assert_failed("engine_lost");
    assert_eq!(error["resumable"], true);
    let text = error["error"].as_str().unwrap();
    assert!(
        text.ends_with("the next one does not come: engine stopped"),
        "{text}"
    );
}

#[test]
fn a_turn_between_two_engines_ends_in_time() {
    let world = World::with(|options| patient(options).env("SESSION_TIMEOUT", "30s"));
    world.script("late", [chatter()]);
    create(&world, "late");
    world.stream("late", "").until("text", speaks);
    processes::kill(world.engine_pid());
    let seen = world.follow("late");
    seen.assert_failed("timeout");
    assert_eq!(recoveries(&seen).len(), 1);
}

#[test]
fn a_shutdown_ends_a_turn_between_two_engines() {
    let mut world = World::with(|options| patient(options).env("DRAIN_TIMEOUT", "9s"));
    world.script("last", [chatter()]);
    create(&world, "last");
    let mut stream = world.stream("last", "");
    stream.until("text", speaks);
    processes::kill(world.engine_pid());
    stream.until("the news", recovering);
    world.signal(Signal::TERM);
    let events = stream.rest();
    let last = events.last().unwrap();
    assert_eq!(last.data["code"], "shutting_down", "{events:#?}");
    assert_eq!(events.iter().filter(|event| event.is_terminal()).count(), 1);
    assert_eq!(world.sidecar.exit().code(), Some(0));
}

#[test]
fn a_wedged_engine_is_replaced_and_its_turn_goes_on() {
    let world = World::with(|options| {
        options
            .env("ENGINE_PROBE_INTERVAL", "200ms")
            // Three misses: a busy machine must not look like a wedged child.
            .env("ENGINE_PROBE_TIMEOUT", "6s")
    });
    // The ladder thaws it before it kills it: an answer that is whole by then would be the end.
    let endless = chatter().hang_here();
    world.script("frozen", [endless, Turn::new().text("Thawed.")]);
    create(&world, "frozen");
    world.stream("frozen", "").until("text", speaks);
    kill_process(Pid::from_raw(world.engine_pid()).unwrap(), Signal::STOP).unwrap();
    let seen = world.follow("frozen");
    assert_eq!(seen.assert_complete()["final_message"], "Thawed.");
    assert_continues(&calls(&world, "frozen")[1], "frozen");
}

#[test]
fn an_engine_restarted_by_a_person_costs_no_turn() {
    let world = World::start();
    world.script(
        "worker",
        [
            Turn::new().tool("bash", bash("echo begun; sleep 1015")),
            Turn::new().text("Still here."),
        ],
    );
    create(&world, "worker");
    world.stream("worker", "").until("output", speaks);
    assert_eq!(world.post("/engine/restart", "").status, 200);
    let seen = world.follow("worker");
    assert_eq!(seen.assert_complete()["final_message"], "Still here.");
    assert_eq!(seen.result("bash")["is_error"], true);
}

#[test]
fn a_session_the_next_engine_does_not_know_is_lost() {
    let world = World::with(|options| options.env("ENGINE_BACKOFF_MIN", "10s"));
    world.script("talker", [chatter()]);
    create(&world, "talker");
    let mut stream = world.stream("talker", "");
    stream.until("text", speaks);
    processes::kill(world.engine_pid());
    stream.until("the news", recovering);
    world.until("the engine to be gone", |world| {
        world.engine()["state"] == "restarting"
    });
    std::fs::remove_dir_all(world.data_dir().join("engine/share")).unwrap();
    let seen = world.follow("talker");
    let error = seen.assert_failed("engine_lost");
    assert_eq!(error["resumable"], false, "{error}");
}
