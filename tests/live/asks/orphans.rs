//! Requests that nobody can answer any more.

use serde_json::json;

use super::{ask_bash, asked, asked_in, begin, next, reply, run, status, story, task, text};
use crate::prompting::{ends, stream_of, whole};
use crate::world::World;

#[test]
fn a_cancel_and_an_interrupt_withdraw_what_is_asked() {
    let world = World::start();
    let mut stream = begin(&world, "cancel", &ask_bash(), [run("echo x")]);
    let (request, _) = asked(&mut stream);
    assert_eq!(world.sidecar.post("/sessions/cancel/stop", "").status, 200);
    let rest = stream.rest();
    assert_eq!(story(&rest), ["withdrawn the turn was cancelled"]);
    assert_eq!(rest.last().unwrap().data["status"], "cancelled");
    let late = reply(
        &world.sidecar,
        "cancel",
        &request,
        &json!({ "reply": "once" }),
    );
    assert_eq!(
        (late.status, late.json()["code"].clone()),
        (409, json!("conflict"))
    );
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
            "withdrawn the turn was cancelled",
            "asked",
            "withdrawn the turn was cancelled"
        ]
    );
}

#[test]
fn a_child_that_dies_while_it_asks_asks_again_in_the_next_one() {
    let world = World::start();
    let turns = [run("echo x > x.txt"), run("echo x > x.txt"), text("done")];
    let mut stream = begin(&world, "killed", &ask_bash(), turns);
    let (first, _) = asked(&mut stream);
    crate::support::processes::kill(world.sidecar.engine_pid());
    let withdrawn = next(&mut stream, "permission", "withdrawn");
    assert_eq!(withdrawn.data["request_id"], *first);
    let (second, _) = asked(&mut stream);
    let late = reply(
        &world.sidecar,
        "killed",
        &first,
        &json!({ "reply": "once" }),
    );
    assert_eq!(late.status, 409, "{late:?}");
    let given = reply(
        &world.sidecar,
        "killed",
        &second,
        &json!({ "reply": "once" }),
    );
    assert_eq!(given.status, 200, "{given:?}");
    assert_eq!(stream.rest().last().unwrap().kind, "complete");
    assert!(world.sidecar.workspace().join("x.txt").exists());
}

#[test]
fn a_restart_of_the_sidecar_ends_what_was_asked() {
    let mut world = World::start();
    let turns = [task(), run("echo sub")];
    let mut stream = begin(&world, "restarted", &ask_bash(), turns);
    let (request, _) = asked(&mut stream);
    world.sidecar.signal(rustix::process::Signal::KILL);
    world.sidecar.restart();
    world
        .sidecar
        .until("ready", |sidecar| sidecar.get("/ready").status == 200);
    let events = world.sidecar.stream("restarted", "").rest();
    assert_eq!(
        story(&events),
        ["asked", "withdrawn the sidecar was restarted"]
    );
    let withdrawn = events
        .iter()
        .rfind(|event| event.kind == "permission")
        .unwrap();
    assert_eq!(withdrawn.data["request_id"], *request);
    assert_eq!(withdrawn.data["agent"]["name"], "general");
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
