//! The WebSocket of a session from outside: who may open it, what it says, and how it ends.

mod authentication;
mod http2;
mod many;

use rustix::process::Signal;
use serde_json::{Value, json};

use crate::support::ws::{CLOSE, Received, Socket, TEXT, frame};
use crate::support::{Options, Sidecar};

/// A sidecar with the session `s1`, whose turn runs.
fn running(options: Options) -> Sidecar {
    // The turn never ends by itself.
    let mut sidecar = options.env("DRAIN_TIMEOUT", "4s").start().ready();
    if sidecar.get("/sessions").status == 401 {
        sidecar.token = Some(SECRET.to_owned());
    }
    create(&sidecar, "s1");
    sidecar
}

const SECRET: &str = "hunter2-s3cret";
const PATH: &str = "/sessions/s1/ws";

fn create(sidecar: &Sidecar, id: &str) {
    let body = json!({
        "session_id": id, "prompt": "Hello",
        "model_config": { "provider": "local", "model": "llama3" },
    });
    let created = sidecar.post("/sessions", &body.to_string());
    assert_eq!(created.status, 201, "{created:?}");
}

fn open(sidecar: &Sidecar, query: &str) -> Socket {
    let socket = Socket::open(sidecar.address, &format!("{PATH}{query}"), &[]);
    assert_eq!(socket.status, 101, "{}", socket.head);
    socket
}

/// A figure of `/metrics`.
fn figure(sidecar: &Sidecar, name: &str) -> u64 {
    let page = sidecar.get("/metrics").body;
    let line = page.lines().find_map(|line| line.strip_prefix(name));
    line.unwrap().trim().parse().unwrap()
}

const OPEN: &str = "sidecar_websockets_open ";

fn all_gone(sidecar: &Sidecar) {
    sidecar.until("without sockets", |sidecar| figure(sidecar, OPEN) == 0);
}

#[test]
fn the_events_come_and_a_cancel_goes_and_the_socket_stays_for_the_next_turn() {
    let sidecar = running(Options::stub());
    let mut socket = open(&sidecar, "");
    let first = socket.event();
    assert_eq!(
        (&*first.kind, &first.data["status"]),
        ("status", &json!("running"))
    );
    let epoch = first.id.unwrap().strip_suffix("-1").unwrap().to_owned();
    assert!(
        socket
            .head
            .contains(&format!("sidecar-last-event-id: {epoch}-0"))
    );
    assert!(socket.head.contains(&format!("sidecar-epoch: {epoch}")));

    socket.say(&json!({"type": "cancel", "ref": "stop it"}));
    // The end and the answer, in whatever order.
    let (mut end, mut answer) = (None, None);
    while end.is_none() || answer.is_none() {
        match socket.next() {
            Received::Event(event) => end = Some(event),
            Received::Answer(said) => answer = Some(said),
            other => panic!("{other:?}"),
        }
    }
    let (end, answer) = (end.unwrap(), answer.unwrap());
    assert_eq!((end.seq(), end.is_terminal()), (2, true));
    assert_eq!(
        (&answer["type"], &answer["ref"]),
        (&json!("ack"), &json!("stop it"))
    );
    let stopped = sidecar.post("/sessions/s1/stop", "").json();
    assert_eq!(answer["result"], stopped);

    socket.say(&json!({"type": "ping", "ref": 1}));
    assert_eq!(socket.answer(), json!({"type": "ack", "ref": 1}));
    socket.send(CLOSE, &1000_u16.to_be_bytes());
    assert_eq!(socket.next(), Received::Close(1000, String::new()));
    assert_eq!(socket.next(), Received::End);
    all_gone(&sidecar);
}

#[test]
fn a_cursor_means_what_it_means_to_a_stream() {
    let sidecar = running(Options::stub());
    sidecar.post("/sessions/s1/stop", "");
    let events = sidecar.stream("s1", "").rest();
    let first = events[0].id.clone().unwrap();

    let mut behind = open(&sidecar, &format!("?last_event_id={first}&follow=0"));
    assert_eq!(behind.event(), events[1]);
    assert_eq!(behind.closed(), 1000);
    let last = events[1].id.clone().unwrap();
    let mut idle = open(&sidecar, &format!("?last_event_id={last}&follow=0"));
    assert_eq!(idle.closed(), 1000);

    let mut unreadable = open(&sidecar, "?last_event_id=nonsense&follow=0");
    let gap = unreadable.event();
    assert_eq!(
        (gap.id, &*gap.kind, &gap.data["reason"]),
        (None, "gap", &json!("invalid"))
    );
    assert_eq!(unreadable.event(), events[0]);
    let strict = Socket::open(
        sidecar.address,
        &format!("{PATH}?last_event_id=nonsense&strict=1"),
        &[],
    );
    assert_eq!(strict.status, 409);
    assert!(strict.body.contains("\"conflict\""));
    drop((behind, idle, unreadable));
    all_gone(&sidecar);
}

#[test]
fn what_is_no_handshake_is_a_426_that_says_what_is_missing() {
    let sidecar = running(Options::stub());
    let plain = sidecar.get(PATH);
    assert_eq!(plain.status, 426);
    assert_eq!(plain.json()["code"], "upgrade_required");
    assert_eq!(plain.header("upgrade"), Some("websocket"));
    assert_eq!(plain.header("sec-websocket-version"), Some("13"));
    assert!(plain.error().contains("`Upgrade: websocket`"));
    let old = Socket::open(sidecar.address, PATH, &[("sec-websocket-version", "8")]);
    assert_eq!(old.status, 101, "the first of two counts");
    let unknown = Socket::open(sidecar.address, "/sessions/nope/ws", &[]);
    assert_eq!(unknown.status, 404);
    let other = sidecar.post(PATH, "{}");
    assert_eq!(
        (other.status, other.header("allow")),
        (405, Some("GET,HEAD"))
    );
}

#[test]
fn a_page_or_a_name_that_is_foreign_opens_nothing() {
    let sidecar = running(Options::stub().env("CORS_ALLOW_ORIGINS", "https://dash.example.com"));
    let own = format!("http://{}", sidecar.address);
    for path in [PATH, "/events/ws"] {
        for (name, value, expected) in [
            ("origin", "https://evil.example", 403),
            ("origin", "null", 403),
            ("sec-fetch-site", "cross-site", 403),
            ("origin", "https://dash.example.com", 101),
            ("origin", &*own, 101),
            ("host", "rebound.example", 421),
        ] {
            let answer = Socket::open(sidecar.address, path, &[(name, value)]);
            assert_eq!(answer.status, expected, "{path}, {name}: {value}");
        }
    }
    all_gone(&sidecar);
}

#[test]
fn the_agent_s_own_processes_open_nothing() {
    let options = Options::stub();
    let dir = options.dir.path().join("workspace");
    let curl = "curl -s -o /dev/null -w %{http_code} -H 'connection: upgrade' -H 'upgrade: websocket' \
        -H 'sec-websocket-version: 13' -H 'sec-websocket-key: dGhlIHNhbXBsZSBub25jZQ=='";
    let command = format!(
        "cd {}; until [ -s port ]; do sleep 0.02; done; {curl} http://127.0.0.1:$(cat port){PATH} >new; mv new said",
        dir.display()
    );
    let sidecar = running(options.script(json!({ "tools": [command] })));
    std::fs::write(dir.join("new-port"), sidecar.address.port().to_string()).unwrap();
    std::fs::rename(dir.join("new-port"), dir.join("port")).unwrap();
    sidecar.until("said", |_| dir.join("said").exists());
    assert_eq!(std::fs::read_to_string(dir.join("said")).unwrap(), "403");
}

#[test]
fn a_sidecar_that_leaves_closes_every_socket_and_waits_for_none() {
    let mut sidecar = running(Options::stub().env("OPENCODE_SHARED_SECRET", SECRET));
    let token = [("x-sidecar-token", SECRET)];
    let mut reading = Socket::open(sidecar.address, PATH, &token);
    // One that never answers, one that never said its token, and one in the middle of a message.
    let mut deaf = Socket::open(sidecar.address, PATH, &token);
    let mut stranger = Socket::open(sidecar.address, PATH, &[]);
    let mut half = Socket::open(sidecar.address, PATH, &token);
    let message = frame(true, TEXT, br#"{"type":"ping"}"#);
    half.raw(message.split_at(9).0);
    sidecar.signal(Signal::TERM);
    let shut_down = |socket: &mut Socket| {
        let event = socket.event();
        assert_eq!(event.data["status"], "running");
        let end = socket.event();
        assert_eq!(
            (&*end.kind, &end.data["code"]),
            ("error", &json!("shutting_down"))
        );
    };
    shut_down(&mut reading);
    shut_down(&mut deaf);
    assert_eq!(reading.closed(), 1001);
    assert!(matches!(deaf.next(), Received::Close(1001, _)));
    assert_eq!(stranger.closed(), 1001);
    assert_eq!(half.closed(), 1001);
    assert_eq!(sidecar.exit().code(), Some(0));
    assert!(
        !sidecar
            .log()
            .contains("closing connections that are still busy")
    );
}

/// Every way of going, and what each would leave.
#[test]
fn nothing_of_a_socket_stays_however_it_goes() {
    let sidecar = running(Options::stub());
    let _one_stays = open(&sidecar, "");
    let files = || figure(&sidecar, "process_open_fds ");
    let before = files();
    for round in 0..30 {
        let mut sockets: Vec<Socket> = (0..6).map(|_| open(&sidecar, "")).collect();
        sockets[0].raw(&frame(true, TEXT, b"{}").split_at(3).0.repeat(round));
        sockets[1].send(CLOSE, &1001_u16.to_be_bytes());
        sockets[2].raw(&[0xff; 200]);
        sockets[3].say(&json!({"type": "ping"}));
        assert_eq!(sockets[3].answer()["type"], "ack");
        sockets[4].send(2, b"bytes");
        assert_eq!(sockets[4].closed(), 1003);
    }
    sidecar.until("without them", |sidecar| {
        figure(sidecar, OPEN) == 1 && files() <= before
    });
}

/// What a JSON of an error has to say.
fn code(answer: &Value) -> (&str, u64) {
    (
        answer["code"].as_str().unwrap(),
        answer["status"].as_u64().unwrap(),
    )
}

/// A key in a message is in no log and no answer, whether the message was right or wrong.
#[test]
fn a_provider_s_key_in_a_message_is_told_to_nobody() {
    const KEY: &str = "sk-of-a-provider-1234";
    let sidecar = running(Options::stub().env("LOG_LEVEL", "trace"));
    let mut socket = open(&sidecar, "");
    let config = json!({ "provider": "custom", "model": "m", "api_key": KEY, "api_endpoint": "http://x.invalid/v1" });
    let mut wrong = config.clone();
    wrong["temperature"] = json!(7);
    for (model_config, kind) in [(&config, "ack"), (&wrong, "error")] {
        socket.say(&json!({"type": "prompt", "ref": KEY.len(), "prompt": "go on", "model_config": model_config}));
        let answer = socket.answer();
        assert_eq!(answer["type"], kind, "{answer}");
        assert!(!answer.to_string().contains(KEY));
    }
    socket.send(
        TEXT,
        format!("{{\"type\":\"prompt\",\"api_key\":\"{KEY}\"").as_bytes(),
    );
    let answer = socket.answer();
    assert!(
        answer["type"] == "error" && !answer.to_string().contains(KEY),
        "{answer}"
    );
    socket.say(&json!({"type": "cancel"}));
    assert_eq!(socket.answer()["type"], "ack");
    assert!(!sidecar.log().contains(KEY), "{}", sidecar.log());
}
