//! The connection between the sidecar and its child breaks in the middle of a turn.

use std::time::{Duration, Instant};

use serde_json::json;

use crate::llm::Turn;
use crate::support::{Options, real_opencode, runbook};
use crate::world::{World, bash};

/// The real OpenCode behind the stub, which cuts every connection while `DATA_DIR/cut` exists.
pub(crate) fn fragile() -> World {
    World::of(
        Options::stub()
            .env("ENGINE_START_TIMEOUT", "60s")
            .script(json!({ "front_of": real_opencode(), "cut_when": "cut" })),
    )
}

/// Cuts, for the `round`th time.
pub(crate) fn cut(world: &World, round: usize) {
    std::fs::write(world.data_dir().join("cut"), "").unwrap();
    logged(world, "lost the engine's event stream", round);
}

/// How long it took until the sidecar heard the child again.
pub(crate) fn mend(world: &World, round: usize) -> Duration {
    std::fs::remove_file(world.data_dir().join("cut")).unwrap();
    let mended = Instant::now();
    logged(world, "event stream is open again", round);
    mended.elapsed()
}

fn logged(world: &World, words: &str, times: usize) {
    world.until(words, |world| world.log().matches(words).count() >= times);
}

fn words(count: u32) -> String {
    let words: Vec<String> = (0..count).map(|n| format!("word-{n}")).collect();
    words.join(" ")
}

#[test]
fn a_cut_in_a_text_leaves_no_hole_and_repeats_nothing() {
    let world = fragile();
    world.script(
        "talker",
        [Turn::new()
            .stream(60, Duration::from_millis(50))
            .text(&words(300))],
    );
    world.create("talker");
    let mut stream = world.stream("talker", "");
    stream.until("text", |event| event.kind == "output");
    cut(&world, 1);
    mend(&world, 1);
    let seen = world.follow("talker");
    assert_eq!(seen.text("assistant"), words(300));
    assert_eq!(seen.assert_complete()["final_message"], words(300));
}

#[test]
fn what_happens_while_nobody_listens_is_told_afterwards() {
    let world = fragile();
    let path = world.file("unseen.txt");
    world.script(
        "worker",
        [
            Turn::new()
                .text("Before. ")
                .tool("bash", bash("echo one; sleep 1; echo two")),
            Turn::new()
                .text("Unseen. ")
                .tool("write", json!({ "filePath": path, "content": "x" })),
            Turn::new().text("After."),
        ],
    );
    world.create("worker");
    world
        .stream("worker", "")
        .until("output", |event| event.data["source"] == "tool");
    cut(&world, 1);
    // Health checks fail too; which of the two is known first is chance.
    world.until("diagnosed", |world| {
        let found = world.get("/sessions/worker/diagnosis").json();
        let (cause, sentence) = (&found["cause"], found["sentence"].as_str().unwrap());
        let known = ["feed_silent", "child_wedged"].contains(&cause.as_str().unwrap());
        known.then(|| runbook::assert_has(cause.as_str().unwrap(), sentence));
        known
    });
    // The model's calls do not pass here: the turn goes on to its end.
    world.runtime.block_on(world.llm.until_requests(3));
    world.runtime.block_on(world.llm.until_idle());
    mend(&world, 1);
    let seen = world.follow("worker");
    assert_eq!(seen.assert_complete()["final_message"], "After.");
    assert_eq!(seen.text("assistant"), "Before. Unseen. After.");
    assert_eq!(seen.text("tool"), "one\ntwo\n");
    assert_eq!(seen.result("write")["is_error"], false);
    assert_eq!(seen.last()["files_modified"], json!([path]));
    assert_eq!(seen.last()["usage"]["input_tokens"], 300);
}

#[test]
fn two_sessions_and_three_cuts() {
    let world = fragile();
    for id in ["left", "right"] {
        let text = format!("{id} ").repeat(200);
        world.script(
            id,
            [
                Turn::new()
                    .stream(40, Duration::from_millis(40))
                    .text(&text)
                    .tool(
                        "bash",
                        bash("for i in 1 2 3 4 5 6; do echo $i; sleep 0.2; done"),
                    ),
                Turn::new()
                    .stream(20, Duration::from_millis(30))
                    .text(&text),
            ],
        );
        world.create(id);
    }
    let mut stream = world.stream("left", "");
    let mut waits = Vec::new();
    for round in 1..=3 {
        stream.until("output", |event| event.kind == "output");
        cut(&world, round);
        waits.push(mend(&world, round));
    }
    // The quickest: on a busy machine the child itself may be slow to answer.
    let quickest = waits.iter().min().unwrap();
    assert!(*quickest < Duration::from_secs(1), "{waits:?}");
    for id in ["left", "right"] {
        let seen = world.follow(id);
        seen.assert_complete();
        assert_eq!(seen.text("assistant"), format!("{id} ").repeat(400));
        assert_eq!(seen.text("tool"), "1\n2\n3\n4\n5\n6\n");
    }
}
