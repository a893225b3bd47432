//! The agent's directory goes away under it.

use std::time::{Duration, Instant};

use serde_json::json;

use crate::llm::Turn;
use crate::world::{World, bash};

#[test]
fn a_workspace_that_vanishes_ends_the_turn_with_that_reason() {
    let world = World::start();
    world.script("orphan", [Turn::new().text("I begin.").hang_here()]);
    world.create("orphan");
    let mut stream = world.stream("orphan", "?include=reasoning");
    stream.until("text", |event| event.kind == "output");
    let (here, elsewhere) = (world.workspace(), world.workspace().with_extension("away"));
    std::fs::rename(&here, &elsewhere).unwrap();
    let begun = Instant::now();
    let end = stream.rest().pop().unwrap();
    assert!(begun.elapsed() < Duration::from_secs(15), "soon");
    assert_eq!(end.data["code"], "workspace_unavailable", "{end:?}");
    assert_eq!(end.data["fatal"], true);
    assert_eq!(end.data["resumable"], true);
    let reason = format!(
        "workspace not accessible: {} does not exist; mount the volume there or set WORKSPACE_DIR",
        here.display()
    );
    assert_eq!(end.data["error"], reason);
    let refused = world.post_session(&world.body("next"));
    assert_eq!(refused.status, 503);
    assert_eq!(refused.json()["code"], "workspace_unavailable");
    assert_eq!(refused.json()["error"], json!(reason));
    // It is back: nothing needs to be restarted.
    std::fs::rename(&elsewhere, &here).unwrap();
    world.until("ready", |world| world.get("/ready").status == 200);
    let next = world.run(
        "next",
        [
            Turn::new().tool("bash", bash("pwd")),
            Turn::new().text("Here."),
        ],
    );
    next.assert_complete();
    assert_eq!(next.text("tool").trim(), here.to_string_lossy());
}

/// A directory that is moved for a moment, as some deployments do with a link, costs no turn.
#[test]
fn a_workspace_that_is_back_within_a_second_ends_nothing() {
    let world = World::start();
    world.script(
        "patient",
        [Turn::new().text("I begin.").wait(Duration::from_secs(5))],
    );
    world.create("patient");
    let mut stream = world.stream("patient", "?include=reasoning");
    stream.until("text", |event| event.kind == "output");
    let (here, elsewhere) = (world.workspace(), world.workspace().with_extension("away"));
    std::fs::rename(&here, &elsewhere).unwrap();
    world.until("seen", |world| world.get("/ready").status == 503);
    std::fs::rename(&elsewhere, &here).unwrap();
    world.follow("patient").assert_complete();
}
