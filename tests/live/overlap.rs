//! Many sessions, many readers.

use std::time::Duration;

use serde_json::json;

use crate::llm::Turn;
use crate::world::{World, bash};

#[test]
fn twenty_sessions_at_once_keep_to_themselves() {
    let world = World::with(|options| options.env("MAX_CONCURRENT_SESSIONS", "20"));
    let ids: Vec<String> = (0..20).map(|n| format!("one-of-{n}")).collect();
    for id in &ids {
        let path = world.file(&format!("{id}.txt"));
        world.script(
            id,
            [
                Turn::new()
                    .stream(20, Duration::from_millis(10))
                    .text(&format!("I am {id}. ").repeat(10))
                    .tool("bash", bash(&format!("echo {id}; sleep 0.1; echo {id}")))
                    .tool("write", json!({ "filePath": path, "content": id })),
                Turn::new().text(&format!("{id} is done.")),
            ],
        );
    }
    std::thread::scope(|scope| {
        for id in &ids {
            let world = &world;
            scope.spawn(move || {
                world.create(id);
                let seen = world.follow(id);
                let complete = seen.assert_complete();
                assert_eq!(complete["final_message"], format!("{id} is done."));
                assert_eq!(
                    complete["files_modified"],
                    json!([world.file(&format!("{id}.txt"))])
                );
                assert_eq!(complete["usage"]["input_tokens"], 200);
                assert_eq!(
                    seen.text("assistant"),
                    format!("I am {id}. ").repeat(10) + &format!("{id} is done.")
                );
                assert_eq!(seen.text("tool"), format!("{id}\n{id}\n"));
            });
        }
    });
    for id in &ids {
        let keys: usize = world
            .llm
            .requests()
            .iter()
            .filter(|call| call.key == *id)
            .count();
        assert_eq!(keys, 2, "{id}");
    }
}

/// Whatever was seen last, a reader gets exactly the rest, while the turn runs and after it.
#[test]
fn every_place_in_a_session_can_be_gone_on_from() {
    let world = World::start();
    world.script(
        "rich",
        [
            Turn::new()
                .reasoning("Hm.")
                .stream(10, Duration::from_millis(30))
                .text("some words that come slowly")
                .tool("bash", bash("for i in 1 2 3; do echo $i; sleep 0.1; done"))
                .tool("read", json!({ "filePath": "/nowhere" })),
            Turn::new().text("And the end."),
        ],
    );
    world.create("rich");
    // A reader that is cut after every event, and comes back.
    let mut patchwork = Vec::new();
    let mut cursor = String::new();
    loop {
        let mut stream =
            world.stream_from("rich", "?include=reasoning", &[("last-event-id", &cursor)]);
        if stream.status == 204 {
            break;
        }
        let event = stream.next().unwrap();
        cursor = event.id.clone().unwrap();
        patchwork.push(event);
    }
    let seen = world.follow("rich");
    assert_eq!(patchwork, seen.0);

    let (epoch, _) = cursor.split_once('-').unwrap();
    for s in 0..seen.0.len() {
        let query = format!("?include=reasoning&last_event_id={epoch}-{s}");
        let replayed = world.stream("rich", &query).rest();
        assert_eq!(replayed, seen.0[s..], "from {s}");
    }
    let ahead = world
        .stream(
            "rich",
            &format!("?include=reasoning&last_event_id={epoch}-9999"),
        )
        .rest();
    assert_eq!(ahead[0].kind, "gap");
    assert_eq!(ahead[0].data["reason"], "ahead");
    assert_eq!(ahead[1..], seen.0);
    let head = world.send("HEAD", "/sessions/rich/stream", "");
    assert_eq!((head.status, head.body.as_str()), (200, ""));
    assert_eq!(head.header("sidecar-epoch"), Some(epoch));
}
