//! Turns that do not end by themselves: stopped by the caller, by the shutdown, by the engine's death.

use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::json;

use crate::llm::{Scope, Turn};
use crate::support::processes;
use crate::support::sse::Event;
use crate::world::{World, bash};

/// A client that cancels gives up after this.
const CANCEL: Duration = Duration::from_secs(5);

fn chatter() -> Turn {
    Turn::new()
        .stream(400, Duration::from_millis(50))
        .text(&"word ".repeat(400))
}

fn speaks(event: &Event) -> bool {
    event.kind == "output"
}

/// Whether a process runs whose command line is this.
pub(crate) fn runs(world: &World, command: &str) -> bool {
    world.marked().iter().any(|pid| {
        std::fs::read(format!("/proc/{pid}/cmdline"))
            .is_ok_and(|line| String::from_utf8_lossy(&line).replace('\0', " ").trim() == command)
    })
}

/// OpenCode makes much of what its sessions share in the first turn of a process. One that is aborted then
/// used to break every later turn of that process.
#[test]
fn a_stop_in_the_first_moments_of_a_child_does_no_harm_to_later_turns() {
    let world = World::start();
    for (moment, round) in [0, 500].into_iter().zip(1..) {
        let (early, later) = (format!("early-{round}"), format!("later-{round}"));
        world.script(&early, [chatter()]);
        world.script(&later, [Turn::new().text("Here I am.")]);
        world.create(&early);
        // The moment is what is tried here: nothing tells how far the child is.
        std::thread::sleep(Duration::from_millis(moment));
        assert_eq!(world.stop(&early).json()["status"], "cancelled");
        world.create(&later);
        let seen = world.follow(&later);
        assert_eq!(seen.assert_complete()["final_message"], "Here I am.");
        let restarted = world.post("/engine/restart", "");
        assert_eq!(restarted.status, 200, "{restarted:?}");
    }
}

#[test]
fn a_stopped_turn_takes_its_model_call_and_all_its_processes_with_it() {
    let world = World::start();
    world.script("talker", [chatter()]);
    world.create("talker");
    world.stream("talker", "").until("text", speaks);
    let begun = Instant::now();
    let answer = world.stop("talker");
    assert!(begun.elapsed() < CANCEL);
    assert_eq!(answer.status, 200, "{answer:?}");
    assert_eq!(answer.json()["status"], "cancelled");
    assert!(answer.json()["cancelled_at"].is_string());
    world.runtime.block_on(world.llm.until_cut(1));
    let seen = world.follow("talker");
    assert_eq!(seen.last()["status"], "cancelled");
    // Again, by either route: the same answer.
    assert_eq!(world.stop("talker").json(), answer.json());
    let deleted = world.send("DELETE", "/sessions/talker", "");
    assert_eq!(deleted.json(), answer.json());

    let patient = "echo on; until [ -e go-on ]; do sleep 0.05; done; echo alive";
    world.script(
        "bystander",
        [
            Turn::new().tool("bash", bash(patient)),
            Turn::new().text("ok"),
        ],
    );
    let escape = "setsid sleep 1001 & sleep 1002 & echo started; sleep 1003";
    world.script("worker", [Turn::new().tool("bash", bash(escape))]);
    world.create("bystander");
    world.create("worker");
    world.stream("worker", "").until("output", speaks);
    world.stream("bystander", "").until("output", speaks);
    let escaped = ["sleep 1001", "sleep 1002", "sleep 1003"];
    world.until("all asleep", |_| {
        escaped.iter().all(|one| runs(&world, one))
    });
    let begun = Instant::now();
    assert_eq!(world.stop("worker").json()["status"], "cancelled");
    assert!(begun.elapsed() < CANCEL, "{:?}", begun.elapsed());
    for one in escaped {
        assert!(!runs(&world, one), "{one} survived");
    }
    let seen = world.follow("worker");
    assert_eq!(seen.last()["status"], "cancelled");
    assert_eq!(seen.result("bash")["is_error"], true);
    // Another session's command lives.
    std::fs::write(world.file("go-on"), "").unwrap();
    let other = world.follow("bystander");
    other.assert_complete();
    assert_eq!(other.text("tool"), "on\nalive\n");
    // A session that has ended says how.
    let late = world.stop("bystander");
    assert_eq!(
        (late.status, &late.json()["status"]),
        (200, &json!("completed"))
    );
}

#[test]
fn a_stop_reaches_a_subagent_and_a_turn_that_waits_for_its_provider() {
    let world = World::start();
    let delegate =
        json!({ "description": "sub", "prompt": "the work below", "subagent_type": "general" });
    let below = "echo below; setsid sleep 1007 & sleep 1008";
    world.llm.reply_to(
        Scope::prompt("the work below"),
        Turn::new().tool("bash", bash(below)),
    );
    world.script("parent", [Turn::new().tool("task", delegate)]);
    let later = Turn::error(429, "much later").header("retry-after", "50");
    world.script("waiting", [later]);
    world.create("parent");
    world.create("waiting");
    world
        .stream("parent", "")
        .until("output", |event| event.data["text"] == "below\n");
    world
        .stream("waiting", "")
        .until("retry", |event| event.kind == "error");
    world.until("asleep", |_| runs(&world, "sleep 1007"));
    for id in ["parent", "waiting"] {
        let begun = Instant::now();
        assert_eq!(world.stop(id).json()["status"], "cancelled");
        assert!(begun.elapsed() < CANCEL, "{id}: {:?}", begun.elapsed());
        assert_eq!(world.follow(id).last()["status"], "cancelled");
    }
    assert!(!runs(&world, "sleep 1007") && !runs(&world, "sleep 1008"));
}

#[test]
fn a_stop_is_answered_in_time_by_a_child_that_hangs() {
    let world = World::start();
    world.script("frozen", [chatter()]);
    world.create("frozen");
    world.stream("frozen", "").until("text", speaks);
    let child = Pid::from_raw(world.engine_pid()).unwrap();
    kill_process(child, Signal::STOP).unwrap();
    let begun = Instant::now();
    let answer = world.stop("frozen");
    assert!(begun.elapsed() < CANCEL, "{:?}", begun.elapsed());
    assert_eq!(answer.json()["status"], "cancelled", "{answer:?}");
    kill_process(child, Signal::CONT).unwrap();
    assert_eq!(world.follow("frozen").last()["status"], "cancelled");
}

#[test]
fn a_turn_that_is_not_to_go_on_ends_with_its_engine_and_the_next_one_works() {
    let world = World::with(|options| options.env("ON_ENGINE_CRASH", "fail"));
    world.script(
        "orphan",
        [Turn::new()
            .text("I work.")
            .tool("bash", bash("echo begun; sleep 1004"))],
    );
    world.create("orphan");
    world
        .stream("orphan", "")
        .until("output", |event| event.data["source"] == "tool");
    processes::kill(world.engine_pid());
    let seen = world.follow("orphan");
    let error = seen.assert_failed("engine_lost");
    assert_eq!(error["resumable"], true);
    assert_eq!(
        seen.result("bash")["is_error"],
        true,
        "an open call is closed"
    );
    assert_eq!(seen.text("assistant"), "I work.");
    assert_eq!(seen.text("tool"), "begun\n");
    world.until("swept", |_| !runs(&world, "sleep 1004"));

    let list = world.get("/sessions?status=failed").json();
    assert_eq!(list["sessions"][0]["session_id"], "orphan", "{list}");
    assert_eq!(list["sessions"][0]["error"]["code"], "engine_lost");
    // Not ready yet: the creation waits for the next child.
    world
        .run("heir", [Turn::new().text("Here I am.")])
        .assert_complete();
    let list = world.get("/sessions").json();
    let ids: Vec<_> = list["sessions"]
        .as_array()
        .unwrap()
        .iter()
        .map(|one| &one["session_id"])
        .collect();
    assert_eq!(ids, ["heir", "orphan"]);
}

/// Cancelled is cancelled, whatever became of the engine meanwhile.
#[test]
fn a_stopped_turn_is_cancelled_even_if_the_engine_dies_of_it() {
    let world = World::start();
    world.script("doomed", [chatter()]);
    world.create("doomed");
    world.stream("doomed", "").until("text", speaks);
    let pid = world.engine_pid();
    kill_process(Pid::from_raw(pid).unwrap(), Signal::STOP).unwrap();
    std::thread::scope(|scope| {
        let stop = scope.spawn(|| world.stop("doomed"));
        // The gateway cuts the model's call when the abort was given up.
        world.runtime.block_on(world.llm.until_cut(1));
        processes::kill(pid);
        assert_eq!(stop.join().unwrap().json()["status"], "cancelled");
    });
    assert_eq!(world.follow("doomed").last()["status"], "cancelled");
}

#[test]
fn a_running_turn_may_finish_while_the_sidecar_leaves() {
    let mut world = World::start();
    world.script(
        "last",
        [
            Turn::new().tool("bash", bash("echo on; sleep 1; echo off")),
            Turn::new().text("Finished."),
        ],
    );
    world.create("last");
    let mut stream = world.stream("last", "");
    let mut events = stream.until("output", speaks);
    world.signal(Signal::TERM);
    world.until("draining", |world| world.get("/ready").status == 503);
    let refused = world.post_session(&world.body("too-late"));
    assert_eq!(refused.status, 503, "{refused:?}");
    assert!(refused.header("retry-after").is_some());
    events.extend(stream.rest());
    assert_eq!(events.last().unwrap().data["final_message"], "Finished.");
    assert_eq!(world.sidecar.exit().code(), Some(0));
    assert!(world.marked().is_empty());
}

#[test]
fn a_drain_is_answered_when_the_running_turn_has_finished() {
    let mut world = World::start();
    world.script(
        "last",
        [
            Turn::new().tool(
                "bash",
                bash("echo on; until [ -e go-on ]; do sleep 0.05; done"),
            ),
            Turn::new().text("Finished."),
        ],
    );
    world.create("last");
    let mut stream = world.stream("last", "");
    stream.until("output", speaks);
    let answer = std::thread::scope(|scope| {
        let drain = scope.spawn(|| world.post("/drain", ""));
        world.until("draining", |world| world.get("/ready").status == 503);
        assert!(!drain.is_finished());
        std::fs::write(world.file("go-on"), "").unwrap();
        drain.join().unwrap()
    });
    assert_eq!(answer.status, 200, "{answer:?}");
    assert_eq!(answer.json()["sessions_interrupted"], 0);
    let events = stream.rest();
    assert_eq!(events.last().unwrap().data["final_message"], "Finished.");
    assert_eq!(world.sidecar.exit().code(), Some(0));
    assert!(world.marked().is_empty());
}

#[test]
fn a_turn_that_does_not_finish_in_time_ends_with_the_sidecar_and_says_so() {
    let mut world = World::with(|options| options.env("DRAIN_TIMEOUT", "12s"));
    world.script("talker", [chatter()]);
    world.script(
        "worker",
        [Turn::new().tool("bash", bash("echo on; sleep 1005"))],
    );
    let streams = ["talker", "worker"].map(|id| {
        world.create(id);
        let mut stream = world.stream(id, "");
        stream.until("output", speaks);
        stream
    });
    let begun = Instant::now();
    world.signal(Signal::TERM);
    for mut stream in streams {
        let events = stream.rest();
        let last = events.last().unwrap();
        assert_eq!(last.data["code"], "shutting_down", "{events:#?}");
        assert_eq!(last.data["resumable"], true);
        assert_eq!(events.iter().filter(|event| event.is_terminal()).count(), 1);
    }
    assert_eq!(world.sidecar.exit().code(), Some(0));
    assert!(
        begun.elapsed() < Duration::from_secs(13),
        "{:?}",
        begun.elapsed()
    );
    assert!(world.marked().is_empty());
}
