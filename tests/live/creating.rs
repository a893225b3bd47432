//! How sessions begin, and when they do not.

use std::io::Write as _;
use std::net::TcpStream;
use std::time::{Duration, Instant};

use rusqlite::OpenFlags;
use rustix::process::{Pid, Signal, kill_process};
use serde_json::json;

use crate::llm::Turn;
use crate::support::http::{self, Response};
use crate::support::sse::Stream;
use crate::support::{Options, Sidecar, real_opencode};
use crate::world::World;

fn keyed(world: &World, key: &str, body: &serde_json::Value) -> Response {
    let headers = [("idempotency-key", key)];
    http::send(
        world.address,
        "POST",
        "/sessions",
        &headers,
        body.to_string().as_bytes(),
    )
    .unwrap()
}

#[test]
fn a_request_that_is_repeated_is_one_session() {
    let world = World::start();
    world.script("once", [Turn::new().text("Only once.")]);
    let body = world.body("once");
    let answers: Vec<Response> = std::thread::scope(|scope| {
        let asks: Vec<_> = (0..4)
            .map(|_| scope.spawn(|| keyed(&world, "key-1", &body)))
            .collect();
        asks.into_iter().map(|ask| ask.join().unwrap()).collect()
    });
    for answer in &answers {
        assert_eq!((answer.status, answer.json()), (201, answers[0].json()));
    }
    assert_eq!(answers[0].header("location"), Some("/sessions/once"));
    world.follow("once").assert_complete();
    assert_eq!(
        keyed(&world, "key-1", &body).json(),
        answers[0].json(),
        "after its end too"
    );
    assert_eq!(world.llm.requests().len(), 1);

    let mut other = body.clone();
    other["prompt"] = "something else".into();
    let refused = keyed(&world, "key-1", &other);
    assert_eq!(
        (refused.status, &refused.json()["code"]),
        (422, &json!("idempotency_mismatch"))
    );
    assert_eq!(
        keyed(&world, "key-2", &body).status,
        409,
        "another key is another request"
    );
    assert_eq!(world.post_session(&body).status, 409);
}

#[test]
fn a_session_without_an_id_gets_a_uuid_and_only_one_if_it_is_repeated() {
    let world = World::start();
    world.script(
        "unnamed",
        ["One.", "Two."].map(|text| Turn::new().text(text)),
    );
    let mut body = world.body("unnamed");
    body.as_object_mut().unwrap().remove("session_id");
    let first = keyed(&world, "key-1", &body);
    let id = first.json()["session_id"].as_str().unwrap().to_owned();
    assert_eq!(uuid::Uuid::parse_str(&id).unwrap().get_version_num(), 4);
    assert_eq!(
        first.header("location"),
        Some(format!("/sessions/{id}").as_str())
    );
    assert_eq!(keyed(&world, "key-1", &body).json(), first.json());
    let other = world.post_session(&body).json();
    assert_ne!(other["session_id"], id.as_str());
    for id in [id.as_str(), other["session_id"].as_str().unwrap()] {
        world.follow(id).assert_complete();
    }
}

#[test]
fn an_id_is_taken_and_the_limit_counts_from_the_moment_a_creation_begins() {
    let world = World::with(|options| options.env("MAX_CONCURRENT_SESSIONS", "1"));
    world.script("slow", [Turn::new().text("Nobody waited, and yet.")]);
    let child = Pid::from_raw(world.engine_pid()).unwrap();
    kill_process(child, Signal::STOP).unwrap();
    let body = world.body("slow").to_string();
    // A client that gives up before its answer comes.
    let mut socket = TcpStream::connect(world.address).unwrap();
    write!(
        socket,
        "POST /sessions HTTP/1.1\r\nhost: x\r\ncontent-length: {}\r\n\r\n{body}",
        body.len()
    )
    .unwrap();
    world.until("pending", |world| {
        world.get("/sessions").json()["sessions"][0]["status"] == "pending"
    });
    let duplicate = world.post_session(&world.body("slow"));
    assert_eq!(
        (duplicate.status, &duplicate.json()["code"]),
        (409, &json!("conflict"))
    );
    let full = world.post_session(&world.body("one-too-many"));
    assert_eq!(
        (full.status, &full.json()["code"]),
        (503, &json!("too_many_sessions"))
    );
    assert!(full.header("retry-after").unwrap().parse::<u64>().unwrap() > 0);
    drop(socket);
    kill_process(child, Signal::CONT).unwrap();
    let seen = world.follow("slow");
    assert_eq!(
        seen.assert_complete()["final_message"],
        "Nobody waited, and yet."
    );
    // Its place is free again.
    world
        .run("next", [Turn::new().text("ok")])
        .assert_complete();
}

#[test]
fn a_creation_outlives_the_child_that_was_to_carry_it_out() {
    let world = World::start();
    world
        .run("first", [Turn::new().text("ok")])
        .assert_complete();
    let child = Pid::from_raw(world.engine_pid()).unwrap();
    kill_process(child, Signal::STOP).unwrap();
    world.script("unlucky", [Turn::new().text("In the next one.")]);
    std::thread::scope(|scope| {
        let create = scope.spawn(|| world.create("unlucky"));
        world.until("pending", |world| {
            world.get("/sessions/unlucky/status").status == 200
        });
        kill_process(child, Signal::KILL).unwrap();
        create.join().unwrap();
    });
    world.follow("unlucky").assert_complete();
    assert_eq!(world.engine()["generation"], 2);
}

#[test]
fn a_session_stopped_while_it_begins_leaves_its_id_free() {
    let world = World::start();
    let child = Pid::from_raw(world.engine_pid()).unwrap();
    kill_process(child, Signal::STOP).unwrap();
    std::thread::scope(|scope| {
        let create = scope.spawn(|| world.post_session(&world.body("early")));
        world.until("pending", |world| {
            world.get("/sessions/early/status").status == 200
        });
        let begun = Instant::now();
        let stopped = world.stop("early");
        assert!(begun.elapsed() < Duration::from_secs(5));
        assert_eq!(
            (stopped.status, &stopped.json()["status"]),
            (200, &json!("cancelled"))
        );
        let refused = create.join().unwrap();
        assert_eq!(refused.status, 409, "{refused:?}");
    });
    kill_process(child, Signal::CONT).unwrap();
    world
        .run("early", [Turn::new().text("Now.")])
        .assert_complete();
}

/// The agent has made its session, and its answer has not come: the moment in which a cancelled creation
/// would be forgotten.
#[test]
fn a_session_stopped_while_the_agent_makes_it_leaves_nothing_in_the_agent() {
    let hold = "hold-answers";
    let world = World::of(
        Options::stub()
            .env("ENGINE_START_TIMEOUT", "60s")
            .script(json!({ "front_of": real_opencode(), "hold_when": hold })),
    );
    // So that the sidecar listens to the agent before its answers are held back.
    world
        .run("first", [Turn::new().text("ok")])
        .assert_complete();
    let hold = world.data_dir().join(hold);
    std::fs::write(&hold, "").unwrap();
    std::thread::scope(|scope| {
        let create = scope.spawn(|| world.post_session(&world.body("early")));
        world.until("made", |world| conversations(world, "early").len() == 1);
        let stopped = world.stop("early");
        assert_eq!(stopped.json()["status"], "cancelled", "{stopped:?}");
        assert_eq!(create.join().unwrap().status, 409);
    });
    std::fs::remove_file(&hold).unwrap();
    world.until("nothing left in the agent", |world| {
        conversations(world, "early").is_empty()
    });
    assert_eq!(world.llm.requests().len(), 1, "nobody was prompted");
    world
        .run("early", [Turn::new().text("Now.")])
        .assert_complete();
    assert_eq!(conversations(&world, "early").len(), 1);
}

/// OpenCode's own sessions that were made for session `id`, as its database has them.
fn conversations(sidecar: &Sidecar, id: &str) -> Vec<String> {
    let database = sidecar.data_dir().join("engine/share/opencode/opencode.db");
    let database =
        rusqlite::Connection::open_with_flags(database, OpenFlags::SQLITE_OPEN_READ_ONLY).unwrap();
    let mut query = database
        .prepare("SELECT id FROM session WHERE title = ?1")
        .unwrap();
    let rows = query.query_map([id], |row| row.get(0)).unwrap();
    rows.map(Result::unwrap).collect()
}

#[test]
fn create_and_follow_is_one_request_and_old_sessions_are_gone() {
    let world = World::with(|options| options.env("SESSION_RETENTION", "2s"));
    world.script("brief", [Turn::new().text("Hello.")]);
    let body = world.body("brief").to_string();
    let headers = [
        ("accept", "text/event-stream"),
        ("content-type", "application/json"),
    ];
    let mut stream = Stream::open(world.address, "POST", "/sessions", &headers, &body);
    assert_eq!(stream.status, 201);
    assert!(
        stream
            .head
            .to_ascii_lowercase()
            .contains("location: /sessions/brief")
    );
    let events = stream.rest();
    assert_eq!(events.last().unwrap().kind, "complete");
    assert_eq!(events, world.follow("brief").0);

    let remote = world.status("brief")["remote_session_id"].clone();
    assert!(remote.is_string());
    world.until("gone", |world| {
        world.get("/sessions/brief/status").status == 410
    });
    for answer in [world.get("/sessions/brief/stream"), world.stop("brief")] {
        assert_eq!(
            (answer.status, &answer.json()["code"]),
            (410, &json!("gone"))
        );
    }
    assert_eq!(world.get("/sessions").json()["sessions"], json!([]));
    assert_eq!(world.get("/sessions/never/status").status, 404);
    // The id may be used anew.
    world
        .run("brief", [Turn::new().text("Again.")])
        .assert_complete();
}
