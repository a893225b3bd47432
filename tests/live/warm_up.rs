//! What a child has done before the sidecar is ready, and what it leaves behind.

use std::time::Duration;

use rusqlite::OpenFlags;
use serde_json::json;

use crate::llm::Turn;
use crate::support::processes;
use crate::world::{World, bash};

#[test]
fn ready_means_that_a_turn_has_run_and_left_nothing() {
    let world = World::with(|options| {
        let made = std::process::Command::new("git")
            .args(["init", "-q"])
            .arg(options.dir.path().join("workspace"))
            .status();
        assert!(made.unwrap().success());
        options
    });
    let engine = world.engine();
    let warm_up = &engine["warm_up"];
    assert_eq!(warm_up["mode"], "turn", "{engine}");
    let first_output = warm_up["first_output_ms"].as_u64().unwrap();
    assert!(first_output > 0, "{engine}");
    assert!(warm_up["ms"].as_u64().unwrap() > first_output, "{engine}");

    assert_eq!(world.get("/sessions").json()["sessions"], json!([]));
    assert!(world.llm.requests().is_empty(), "nobody was asked");
    assert_eq!(sessions_of_opencode(&world), 0);
    let metrics = world.get("/metrics").body;
    let counted = [
        "sidecar_sessions{",
        "sidecar_sessions_active ",
        "sidecar_journal_events_total ",
    ];
    for name in counted {
        let mut lines = metrics
            .lines()
            .filter(|line| line.starts_with(name))
            .peekable();
        assert!(lines.peek().is_some(), "{name} is not in {metrics}");
        lines.for_each(|line| assert!(line.ends_with(" 0"), "{line}"));
    }
    let files: Vec<_> = std::fs::read_dir(world.workspace())
        .unwrap()
        .map(|entry| entry.unwrap().file_name())
        .collect();
    assert_eq!(files, [".git"]);
    assert_eq!(world.marked(), [world.engine_pid()], "its runner has ended");
}

#[test]
fn less_can_be_asked_for() {
    for mode in ["session", "off"] {
        let world = World::with(|options| options.env("WARM_UP", mode));
        let warm_up = &world.engine()["warm_up"];
        assert_eq!(warm_up["mode"], mode);
        assert_eq!(warm_up["first_output_ms"], json!(null));
        world
            .run("first", [Turn::new().text("Here I am.")])
            .assert_complete();
    }
}

/// Turns that wait for the next child are not kept waiting by a turn of ours.
#[test]
fn a_turn_that_goes_on_in_the_next_child_does_not_wait_for_a_test_turn() {
    let world = World::start();
    world.script(
        "going-on",
        [
            Turn::new().tool("bash", bash("echo begun; sleep 1013")),
            Turn::new().text("And on."),
        ],
    );
    world.create("going-on");
    world
        .stream("going-on", "")
        .until("output", |event| event.data["source"] == "tool");
    processes::kill(world.engine_pid());
    world.follow("going-on").assert_complete();
    assert_eq!(world.engine()["warm_up"]["mode"], "session");
}

/// A first turn that was aborted in its first second used to leave a child that could do no turn any more.
#[test]
fn a_first_session_may_be_aborted_at_any_moment() {
    #[expect(
        clippy::disallowed_methods,
        reason = "a test has no configuration of its own"
    )]
    let rounds: u32 = std::env::var("ABORT_ROUNDS").map_or(4, |rounds| rounds.parse().unwrap());
    for round in 0..rounds {
        let world = World::start();
        let slow = Turn::new().text("I work.").tool("bash", bash("sleep 1014"));
        world.script("first", [slow]);
        world.create("first");
        // From at once to a second later: there is no event for "in the middle of what the first turn loads".
        std::thread::sleep(Duration::from_secs(1) * round / rounds);
        assert_eq!(world.stop("first").json()["status"], "cancelled");
        let next = world.run(
            "next",
            [
                Turn::new().tool("bash", bash("echo fine")),
                Turn::new().text("Fine."),
            ],
        );
        next.assert_complete();
        assert_eq!(next.text("tool"), "fine\n");
        assert_eq!(world.engine()["generation"], 1, "round {round}");
    }
}

/// The catalogue of models in OpenCode's binary takes 200 MiB, and a busy time leaves 100 MiB of garbage.
#[test]
fn an_idle_child_gives_back_what_it_does_not_need() {
    let world = World::start();
    let ids = ["one", "two", "three", "four", "five"];
    for id in ids {
        world.script(
            id,
            [
                Turn::new()
                    .stream(100, Duration::from_millis(10))
                    .text(&"some words ".repeat(200))
                    .tool("bash", bash("seq 20000")),
                Turn::new().text("Done."),
            ],
        );
        world.create(id);
    }
    for id in ids {
        world.follow(id).assert_complete();
    }
    world.until("small again", |world| {
        world.engine()["rss_bytes"].as_u64().unwrap() < 430 << 20
    });
}

fn sessions_of_opencode(world: &World) -> u64 {
    let database = world.data_dir().join("engine/share/opencode/opencode.db");
    let database =
        rusqlite::Connection::open_with_flags(database, OpenFlags::SQLITE_OPEN_READ_ONLY).unwrap();
    let count = database.query_row("SELECT count(*) FROM session", [], |row| row.get(0));
    count.unwrap()
}
