//! Requests that nobody can answer any more.

use serde_json::json;

use super::{
    answer, ask_both, asked_both, asked_in, begin, both, questions, reply, run, status, story,
    task, text,
};
use crate::prompting::{ends, stream_of, whole};
use crate::world::World;

#[test]
fn a_cancel_and_an_interrupt_withdraw_what_is_asked() {
    let world = World::start();
    let mut stream = begin(&world, "cancel", &ask_both(), [both("echo x")]);
    let [permission, question] = asked_both(&mut stream);
    assert_eq!(world.sidecar.post("/sessions/cancel/stop", "").status, 200);
    let rest = stream.rest();
    assert_eq!(story(&rest), ["withdrawn the turn was cancelled"; 2]);
    assert_eq!(rest.last().unwrap().data["status"], "cancelled");
    let once = json!({ "reply": "once" });
    let answers = json!({ "answers": [["A"]] });
    for late in [
        reply(&world.sidecar, "cancel", &permission, &once),
        answer(&world.sidecar, "cancel", &question, &answers),
    ] {
        assert_eq!(
            (late.status, late.json()["code"].clone()),
            (409, json!("conflict"))
        );
    }
    // Nothing of it comes back in the next turn.
    world.script("cancel", [run("echo y"), text("done")]);
    let mut body = world.body("cancel");
    body["session_id"].take();
    assert_eq!(
        world
            .sidecar
            .post("/sessions/cancel/resume", &body.to_string())
            .status,
        200
    );
    let mut stream = world.sidecar.stream("cancel", "?follow=1");
    let (_, event) = asked_in(&mut stream, 2);
    assert_eq!(event.data["patterns"], json!(["echo y"]));
    drop(stream);
    let urgent = json!({ "prompt": "urgent", "on_busy": "interrupt" });
    let third = stream_of(&world, "cancel", &urgent).rest();
    assert_eq!(third.last().unwrap().data["final_message"], "done");
    let events = whole(&world, "cancel");
    let expected = [(1, "cancelled"), (2, "cancelled"), (3, "complete")];
    assert_eq!(
        ends(&events),
        expected.map(|(turn, how)| (turn, how.to_owned()))
    );
    assert_eq!(
        story(&events),
        [
            "asked",
            "asked",
            "withdrawn the turn was cancelled",
            "withdrawn the turn was cancelled",
            "asked",
            "withdrawn the turn was cancelled"
        ]
    );
}

#[test]
fn a_child_that_dies_while_it_asks_asks_again_in_the_next_one() {
    let world = World::start();
    let turns = [both("echo x > x.txt"), both("echo x > x.txt"), text("done")];
    let mut stream = begin(&world, "killed", &ask_both(), turns);
    let first = asked_both(&mut stream);
    crate::support::processes::kill(world.sidecar.engine_pid());
    let second = asked_both(&mut stream);
    let once = json!({ "reply": "once" });
    let answers = json!({ "answers": [["A"]] });
    for ([permission, question], status) in [(&first, 409), (&second, 200)] {
        let given = reply(&world.sidecar, "killed", permission, &once);
        assert_eq!(given.status, status, "{given:?}");
        let given = answer(&world.sidecar, "killed", question, &answers);
        assert_eq!(given.status, status, "{given:?}");
    }
    assert_eq!(stream.rest().last().unwrap().kind, "complete");
    let all = world.follow("killed").0;
    let withdrawn: Vec<&str> = all
        .iter()
        .filter(|event| event.data["state"] == "withdrawn")
        .filter_map(|event| event.data["request_id"].as_str())
        .collect();
    assert_eq!(withdrawn.len(), 2, "{all:#?}");
    assert!(first.iter().all(|id| withdrawn.contains(&&**id)));
    assert!(world.sidecar.workspace().join("x.txt").exists());
}

#[test]
fn a_restart_of_the_sidecar_ends_what_was_asked() {
    let mut world = World::start();
    let turns = [task().tool("question", questions()), run("echo sub")];
    let mut stream = begin(&world, "restarted", &ask_both(), turns);
    let [request, question] = asked_both(&mut stream);
    world.sidecar.signal(rustix::process::Signal::KILL);
    world.sidecar.restart();
    world
        .sidecar
        .until("ready", |sidecar| sidecar.get("/ready").status == 200);
    let events = world.sidecar.stream("restarted", "").rest();
    let ended = "withdrawn the sidecar was restarted";
    assert_eq!(story(&events), ["asked", "asked", ended, ended]);
    let last = |kind: &str| events.iter().rfind(|event| event.kind == kind).unwrap();
    let withdrawn = last("permission");
    assert_eq!(withdrawn.data["request_id"], *request);
    assert_eq!(withdrawn.data["agent"]["name"], "general");
    assert_eq!(last("question").data["request_id"], *question);
    assert_eq!(status(&world.sidecar, "restarted")["asks"], json!([]));
    // The rules are still those of the session.
    world.script("restarted", [run("echo again"), text("done")]);
    let mut body = world.body("restarted");
    body["session_id"].take();
    let resumed = world
        .sidecar
        .post("/sessions/restarted/resume", &body.to_string());
    assert_eq!(resumed.status, 200, "{resumed:?}");
    let mut stream = world.sidecar.stream("restarted", "");
    let (request, _) = asked_in(&mut stream, 2);
    reply(
        &world.sidecar,
        "restarted",
        &request,
        &json!({ "reply": "always" }),
    );
    let rest = stream.rest();
    assert_eq!(rest.last().unwrap().kind, "complete", "{rest:#?}");
}
