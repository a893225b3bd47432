//! The token: in a header, as a subprotocol, or in the first message.

use std::time::{Duration, Instant};

use super::*;
use crate::support::http;

fn guarded() -> Sidecar {
    running(
        Options::stub()
            .env("OPENCODE_SHARED_SECRET", SECRET)
            .env("LOG_LEVEL", "trace"),
    )
}

fn with<'a>(name: &'a str, value: &'a str) -> impl Fn(&Sidecar) -> Socket + 'a {
    move |sidecar| Socket::open(sidecar.address, PATH, &[(name, value)])
}

#[test]
fn the_token_is_taken_from_three_places_and_said_back_in_none() {
    let sidecar = guarded();
    let protocol = format!("opencode-sidecar, bearer.{SECRET}");
    let bearer = format!("Bearer {SECRET}");
    for (name, value, echoed) in [
        ("authorization", &*bearer, None),
        ("x-sidecar-token", SECRET, None),
        (
            "sec-websocket-protocol",
            &*protocol,
            Some("opencode-sidecar"),
        ),
        ("sec-websocket-protocol", &*format!("bearer.{SECRET}"), None),
    ] {
        let mut socket = with(name, value)(&sidecar);
        assert_eq!(socket.status, 101, "{name}: {value}");
        let mut lines = socket.head.lines();
        let said = lines.find_map(|line| line.strip_prefix("sec-websocket-protocol: "));
        assert_eq!(said, echoed);
        assert!(!socket.head.contains(SECRET));
        assert_eq!(socket.event().seq(), 1);
    }
    let mut socket = Socket::open(
        sidecar.address,
        PATH,
        &[("sec-websocket-protocol", "opencode-sidecar")],
    );
    assert!(
        socket
            .head
            .contains("sec-websocket-protocol: opencode-sidecar")
    );
    socket.say(&json!({"type": "auth", "token": SECRET, "ref": 1}));
    assert_eq!(
        socket.next(),
        Received::Answer(json!({"type": "ack", "ref": 1}))
    );
    assert_eq!(socket.event().seq(), 1);
    socket.say(&json!({"type": "cancel", "ref": 2}));
    assert_eq!(socket.answer()["result"]["status"], "cancelled");
    assert!(!sidecar.log().contains(SECRET), "{}", sidecar.log());
}

#[test]
fn a_token_that_is_not_ours_is_refused_wherever_it_stands() {
    let sidecar = guarded();
    for (name, value) in [
        ("authorization", "Bearer nope"),
        ("x-sidecar-token", "nope"),
        ("sec-websocket-protocol", "opencode-sidecar, bearer.nope"),
        ("sec-websocket-protocol", "bearer."),
    ] {
        let socket = with(name, value)(&sidecar);
        assert_eq!(socket.status, 401, "{name}: {value}");
    }
    // Neither is a request that asks for no socket, and nobody learns which sessions there are.
    let plain = http::send(sidecar.address, "GET", PATH, &[], b"").unwrap();
    assert_eq!(plain.status, 401);
    let post = http::send(sidecar.address, "POST", PATH, &[], b"").unwrap();
    assert_eq!(post.status, 401);
    let unknown = Socket::open(sidecar.address, "/sessions/nope/ws", &[]);
    assert_eq!(unknown.status, 101);
}

#[test]
fn the_first_message_has_to_be_the_token() {
    let sidecar = guarded();
    let stranger = |path: &str| {
        // A proxy's own header is no token.
        let socket = Socket::open(
            sidecar.address,
            path,
            &[("authorization", "Basic cHJveHk=")],
        );
        assert_eq!(socket.status, 101);
        socket
    };
    for (message, status) in [
        (json!({"type": "auth", "token": "nope", "ref": "a"}), 401),
        (json!({"type": "auth", "ref": "a"}), 400),
        (json!({"type": "auth", "token": 7, "ref": "a"}), 400),
        (json!({"type": "cancel", "ref": "a"}), 401),
        (json!({"ref": "a"}), 400),
    ] {
        let mut socket = stranger(PATH);
        socket.say(&message);
        let Received::Answer(answer) = socket.next() else {
            panic!("an answer to {message}");
        };
        assert_eq!(
            (code(&answer).1, &answer["ref"]),
            (status, &json!("a")),
            "{message}"
        );
        assert_eq!(u64::from(socket.closed()), 4000 + status, "{message}");
    }
    let mut nowhere = stranger("/sessions/nope/ws");
    nowhere.say(&json!({"type": "auth", "token": SECRET}));
    assert_eq!(code(&nowhere.answer()), ("not_found", 404));
    assert_eq!(nowhere.closed(), 4404);
    let mut large = stranger(PATH);
    large.send(TEXT, &vec![b' '; 17_000]);
    assert_eq!(large.closed(), 1009);
    let session = sidecar.get("/sessions/s1/status").json();
    assert_eq!(session["status"], "running", "nobody stopped it");
}

#[test]
fn strangers_have_five_seconds_and_64_places_and_hold_up_nobody_else() {
    let sidecar = guarded();
    let start = Instant::now();
    let mut strangers: Vec<Socket> = (0..100)
        .map(|_| Socket::open(sidecar.address, PATH, &[]))
        .collect();
    let opened = strangers
        .iter()
        .filter(|socket| socket.status == 101)
        .count();
    assert_eq!(opened, 64);
    let refused = strangers
        .iter()
        .find(|socket| socket.status != 101)
        .unwrap();
    assert_eq!(refused.status, 429);
    assert!(refused.head.contains("retry-after: 5"), "{}", refused.head);
    let mut known = with("x-sidecar-token", SECRET)(&sidecar);
    assert_eq!(known.event().seq(), 1);
    // Pings are no token.
    strangers[0].send(crate::support::ws::PING, b"x");
    for socket in strangers.iter_mut().filter(|socket| socket.status == 101) {
        assert_eq!(socket.closed(), 4401);
    }
    assert!(start.elapsed() >= Duration::from_secs(5));
    let mut next = Socket::open(sidecar.address, PATH, &[]);
    next.say(&json!({"type": "auth", "token": SECRET}));
    assert_eq!(next.answer(), json!({"type": "ack", "ref": null}));
    assert_eq!(figure(&sidecar, OPEN), 2);
}

#[test]
fn every_route_takes_the_token_as_x_sidecar_token_too() {
    let sidecar = guarded();
    let status = |path: &str, headers: &[(&str, &str)]| {
        http::send(sidecar.address, "GET", path, headers, b"")
            .unwrap()
            .status
    };
    for path in [
        "/sessions",
        "/engine/status",
        "/metrics",
        "/openapi.json",
        "/sessions/s1/status",
    ] {
        assert_eq!(status(path, &[("x-sidecar-token", SECRET)]), 200, "{path}");
        let beside = [
            ("authorization", "Bearer of-a-proxy"),
            ("x-sidecar-token", SECRET),
        ];
        assert_eq!(status(path, &beside), 200, "{path}");
        assert_eq!(status(path, &[("x-sidecar-token", "nope")]), 401, "{path}");
        assert_eq!(status(path, &[("x-sidecar-token", "")]), 401, "{path}");
        let protocol = format!("bearer.{SECRET}");
        let protocol = [("sec-websocket-protocol", &*protocol)];
        assert_eq!(status(path, &protocol), 401, "{path}: only for WebSockets");
    }
    assert!(!sidecar.log().contains(SECRET));
}

#[test]
fn without_a_secret_a_token_is_not_asked_for_and_does_no_harm() {
    let sidecar = running(Options::stub());
    let mut socket = with("sec-websocket-protocol", "bearer.whatever")(&sidecar);
    assert_eq!(socket.status, 101);
    socket.say(&json!({"type": "auth", "token": "whatever", "ref": 1}));
    assert_eq!(socket.answer(), json!({"type": "ack", "ref": 1}));
}
