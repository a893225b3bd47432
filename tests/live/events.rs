//! `GET /events` while real turns run and the sidecar is killed: one follower sees everything once.

use std::collections::BTreeMap;

use rustix::process::Signal;

use crate::llm::Turn;
use crate::support::sse::{Event, Stream};
use crate::world::{World, bash};

fn open(world: &World, cursor: Option<&str>) -> Stream {
    let headers: Vec<(&str, &str)> = cursor.map(|id| ("last-event-id", id)).into_iter().collect();
    Stream::open(
        world.address,
        "GET",
        "/events?include=reasoning",
        &headers,
        "",
    )
}

/// What a client has that reconnects with the last id it saw.
#[derive(Default)]
struct Follower(Vec<Event>);

impl Follower {
    /// Reads on, over a connection of its own, until `reached`.
    fn read(&mut self, world: &World, what: &str, reached: impl Fn(&Event) -> bool) {
        let cursor = self.0.last().map(|event| event.id.clone().unwrap());
        let mut seen = open(world, cursor.as_deref()).until(what, reached);
        seen.retain(|event| event.kind != "heartbeat");
        self.0.extend(seen);
    }
}

fn text(session: &'static str, words: &'static str) -> impl Fn(&Event) -> bool {
    move |event| event.data["session_id"] == session && event.data["text"] == words
}

fn end(session: &'static str) -> impl Fn(&Event) -> bool {
    move |event| event.data["session_id"] == session && event.is_terminal()
}

#[test]
fn one_follower_sees_every_event_of_every_session_once_though_the_sidecar_is_killed() {
    let mut world = World::start();
    let mut follower = Follower::default();
    world.script(
        "first",
        [
            Turn::new()
                .text("One. ")
                .tool("bash", bash("echo made; exit 0")),
            Turn::new()
                .text("Two. ")
                .tool("bash", bash("echo deep; sleep 1017")),
        ],
    );
    world.script(
        "second",
        [Turn::new()
            .text("Three. ")
            .tool("bash", bash("echo low; sleep 1018"))],
    );
    world.create("first");
    world.create("second");
    follower.read(&world, "a result", text("first", "made\n"));
    follower.read(&world, "a command", text("first", "deep\n"));
    let is_low = |event: &Event| text("second", "low\n")(event);
    if !follower.0.iter().any(is_low) {
        follower.read(&world, "the other command", is_low);
    }
    for _ in 0..2 {
        world.sidecar.signal(Signal::KILL);
        world.sidecar.restart();
        world.until("ready", |sidecar| sidecar.get("/ready").status == 200);
        // The first time round the next sidecar ends both turns; then there is one more session.
        let (id, said) = if follower.0.iter().any(end("first")) {
            ("fourth", "Five.")
        } else {
            ("third", "Four.")
        };
        world.script(id, [Turn::new().text(said)]);
        world.create(id);
        let is_ended = |session| move |event: &Event| end(session)(event);
        for session in ["first", "second", id] {
            if !follower.0.iter().any(is_ended(session)) {
                follower.read(&world, session, is_ended(session));
            }
        }
    }
    let all = &follower.0;
    let positions: Vec<u64> = all.iter().map(Event::seq).collect();
    assert_eq!(
        positions,
        (1..=positions.len() as u64).collect::<Vec<_>>(),
        "no gap and no repeat"
    );
    let mut own: BTreeMap<&str, Vec<Event>> = BTreeMap::new();
    for event in all {
        let mut data = event.data.clone();
        let id = data["event_id"].as_str().unwrap().to_owned();
        data.as_object_mut()
            .unwrap()
            .retain(|field, _| !matches!(field.as_str(), "event_id" | "session_id"));
        let session = event.data["session_id"].as_str().unwrap();
        own.entry(session).or_default().push(Event {
            id: Some(id),
            kind: event.kind.clone(),
            data,
        });
    }
    assert_eq!(
        own.keys().copied().collect::<Vec<_>>(),
        ["first", "fourth", "second", "third"]
    );
    for (session, events) in own {
        assert_eq!(world.follow(session).0, events, "{session}");
    }
}
