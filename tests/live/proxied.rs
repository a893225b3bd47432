//! Streams and a WebSocket behind proxies as other people run them: every event once, in order.

use std::fmt::Write as _;
use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use serde_json::json;

use crate::llm::Turn;
use crate::support::TEST_TIMEOUT;
use crate::support::bad_proxy::{BadProxy, Habit};
use crate::support::sse::Event;
use crate::support::ws::{Received, Socket};
use crate::world::World;

const SECRET: &str = "hunter2-s3cret";
const TOKEN: [(&str, &str); 2] = [
    // What a proxy strips, or fills with its own.
    ("authorization", "Bearer of-another"),
    ("x-sidecar-token", SECRET),
];

/// An event as it was sent: its id and its data.
type Piece = (String, serde_json::Value);

/// What came of one answer of a stream, as far as it came whole, and whether there is no more. It is read until it ends, or
/// until the turn does.
fn read_once(address: SocketAddr, path: &str, cursor: Option<&str>) -> (Vec<Piece>, bool) {
    let mut socket = TcpStream::connect(address).unwrap();
    socket.set_read_timeout(Some(TEST_TIMEOUT)).unwrap();
    let mut request = format!("GET {path} HTTP/1.1\r\nhost: {address}\r\n");
    let cursor = cursor.map(|cursor| ("last-event-id", cursor));
    for (name, value) in TOKEN.into_iter().chain(cursor) {
        write!(request, "{name}: {value}\r\n").unwrap();
    }
    request.push_str("connection: close\r\n\r\n");
    socket.write_all(request.as_bytes()).unwrap();
    let mut answer = Vec::new();
    let mut bytes = vec![0; 1 << 16];
    // An end in the middle is an error, or none.
    while let Ok(count @ 1..) = socket.read(&mut bytes) {
        answer.extend_from_slice(bytes.get(..count).unwrap());
        if pieces(&answer).0.last().is_some_and(is_end) {
            break;
        }
    }
    pieces(&answer)
}

fn is_end((_, data): &Piece) -> bool {
    data.get("final_message").is_some()
}

/// What an answer has so far, and whether it says that there is no more.
fn pieces(answer: &[u8]) -> (Vec<Piece>, bool) {
    let Some(body) = answer.windows(4).position(|four| four == b"\r\n\r\n") else {
        return (Vec::new(), false);
    };
    let (head, body) = answer.split_at(body + 4);
    let head = String::from_utf8(head.to_vec()).unwrap();
    if head.starts_with("HTTP/1.1 204") {
        return (Vec::new(), true);
    }
    assert!(head.starts_with("HTTP/1.1 200"), "{head}");
    (blocks(&unchunked(body)), false)
}

/// The chunks as far as they came.
fn unchunked(mut rest: &[u8]) -> Vec<u8> {
    let mut whole = Vec::new();
    while let Some(end) = rest.windows(2).position(|two| two == b"\r\n") {
        let size = std::str::from_utf8(rest.get(..end).unwrap()).unwrap();
        let size = usize::from_str_radix(size, 16).unwrap();
        rest = rest.get(end + 2..).unwrap();
        whole.extend_from_slice(rest.get(..size.min(rest.len())).unwrap());
        rest = rest.get(size + 2..).unwrap_or_default();
    }
    whole
}

/// The events that came to their empty line: a client dispatches no other.
fn blocks(mut text: &[u8]) -> Vec<Piece> {
    let mut found = Vec::new();
    while let Some(end) = text.windows(2).position(|two| two == b"\n\n") {
        let (block, rest) = text.split_at(end + 2);
        text = rest;
        let block = std::str::from_utf8(block).unwrap();
        let field = |name: &str| block.lines().find_map(|line| line.strip_prefix(name));
        if let (Some(id), Some(data)) = (field("id: "), field("data: ")) {
            found.push((id.to_owned(), serde_json::from_str(data).unwrap()));
        }
    }
    found
}

fn over_the_stream(proxy: &BadProxy, id: &str) -> Vec<Piece> {
    let path = format!("/sessions/{id}/stream");
    let mut all: Vec<Piece> = Vec::new();
    loop {
        let cursor = all.last().map(|(id, _)| id.clone());
        let (pieces, ended) = read_once(proxy.address, &path, cursor.as_deref());
        all.extend(pieces);
        if ended {
            return all;
        }
        assert!(proxy.connections() < 300, "it comes no further: {all:?}");
    }
}

/// The same events out of the stream of all sessions, under the ids that they have in their own.
fn over_all_events(proxy: &BadProxy, id: &str) -> Vec<Piece> {
    let path = format!("/events?session_id={id}");
    let mut all: Vec<Piece> = Vec::new();
    while !all.last().is_some_and(is_end) {
        let cursor = all.last().map(|(id, _)| id.clone());
        all.extend(read_once(proxy.address, &path, cursor.as_deref()).0);
        assert!(proxy.connections() < 300, "it comes no further: {all:?}");
    }
    own(all, id)
}

/// Events of the order of all, as their session has them.
fn own(all: Vec<Piece>, id: &str) -> Vec<Piece> {
    let own = |(_, mut data): Piece| {
        let fields = data.as_object_mut().unwrap();
        assert_eq!(fields.remove("session_id").unwrap(), id);
        let own = fields.remove("event_id").unwrap();
        (own.as_str().unwrap().to_owned(), data)
    };
    all.into_iter().map(own).collect()
}

/// The same over a WebSocket, which no more than the stream ends with the turn.
fn over_the_socket_of_all_events(proxy: &BadProxy, id: &str) -> Vec<Piece> {
    let mut all: Vec<Piece> = Vec::new();
    while !all.last().is_some_and(is_end) {
        let cursor = all.last().map_or("earliest", |(id, _)| id);
        let path = format!("/events/ws?session_id={id}&last_event_id={cursor}");
        let mut socket = Socket::open(proxy.address, &path, &TOKEN);
        assert_eq!(socket.status, 101, "{}", socket.head);
        while !all.last().is_some_and(is_end) {
            match socket.next() {
                Received::Event(Event { id, kind, data }) => {
                    assert_ne!(kind, "gap");
                    all.extend(id.map(|id| (id, data)));
                }
                Received::End => break,
                Received::Ping => {}
                other => panic!("{other:?}"),
            }
        }
        assert!(proxy.connections() < 300, "it comes no further: {all:?}");
    }
    own(all, id)
}

fn over_a_websocket(proxy: &BadProxy, id: &str) -> Vec<Piece> {
    let mut all: Vec<Piece> = Vec::new();
    loop {
        let cursor = all.last().map_or("earliest", |(id, _)| id);
        let path = format!("/sessions/{id}/ws?follow=0&last_event_id={cursor}");
        let mut socket = Socket::open(proxy.address, &path, &TOKEN);
        assert_eq!(socket.status, 101, "{}", socket.head);
        loop {
            match socket.next() {
                Received::Event(Event { id, kind, data }) => {
                    assert_ne!(kind, "gap");
                    all.extend(id.map(|id| (id, data)));
                }
                Received::Close(code, _) => {
                    assert_eq!(code, 1000);
                    return all;
                }
                Received::End => break,
                Received::Ping => {}
                other => panic!("{other:?}"),
            }
        }
        assert!(proxy.connections() < 300, "it comes no further: {all:?}");
    }
}

#[test]
fn behind_any_proxy_every_event_comes_once_and_in_order() {
    let mut world = World::with(|options| options.env("OPENCODE_SHARED_SECRET", SECRET));
    world.sidecar.token = Some(SECRET.to_owned());
    let text = ["Grüße, 世界 🌍!"; 40].join(" ");
    let turn = Turn::new()
        .stream(50, Duration::from_millis(120))
        .text(&text);
    world.script("proxied", [turn]);
    world.create("proxied");
    let habits = [
        Habit::CutAfter(Duration::from_secs(2)),
        Habit::Buffer(4096),
        Habit::CutInCharacter,
        Habit::StripAuthorization,
    ];
    let proxies = habits.map(|habit| BadProxy::start(world.sidecar.address, habit));
    let with_habits = proxies.iter().zip(habits);
    let readers: Vec<_> = std::thread::scope(|scope| {
        let mut readers = Vec::new();
        for (proxy, habit) in with_habits {
            readers.push((habit, scope.spawn(|| over_the_stream(proxy, "proxied"))));
            readers.push((habit, scope.spawn(|| over_a_websocket(proxy, "proxied"))));
            // Nothing gets the last bytes of a stream without an end out of a proxy that waits for more of them.
            if !matches!(habit, Habit::Buffer(_)) {
                readers.push((habit, scope.spawn(|| over_all_events(proxy, "proxied"))));
                let socket = || over_the_socket_of_all_events(proxy, "proxied");
                readers.push((habit, scope.spawn(socket)));
            }
        }
        readers
            .into_iter()
            .map(|(habit, reader)| (habit, reader.join().unwrap()))
            .collect()
    });
    let mut direct = world
        .sidecar
        .stream_from("proxied", "", &[("x-sidecar-token", SECRET)]);
    let expected: Vec<Piece> = direct
        .rest()
        .into_iter()
        .map(|event| (event.id.unwrap(), event.data))
        .collect();
    assert_eq!(expected.last().unwrap().1["final_message"], json!(text));
    for (habit, seen) in &readers {
        assert_eq!(*seen, expected, "{habit:?}");
    }
    // They did cut: four readers, and more connections.
    assert!(proxies[0].connections() > 8 && proxies[2].connections() > 8);
    assert!(!world.sidecar.log().contains(SECRET));
}
