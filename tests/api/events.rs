//! `GET /events`: all sessions as one stream, over cuts, kills and restarts.

use std::collections::BTreeMap;

use rustix::process::Signal;
use serde_json::{Value, json};

use crate::support::sse::{Event, Stream};
use crate::support::ws::{Received, Socket};
use crate::support::{Options, Sidecar};

fn events(sidecar: &Sidecar, query: &str, cursor: Option<&str>) -> Stream {
    let headers: Vec<(&str, &str)> = cursor.map(|id| ("last-event-id", id)).into_iter().collect();
    let path = format!("/events{query}");
    Stream::open(sidecar.address, "GET", &path, &headers, "")
}

/// So many events; then the connection is cut.
fn take(sidecar: &Sidecar, query: &str, cursor: Option<&str>, count: usize) -> Vec<Event> {
    let mut stream = events(sidecar, query, cursor);
    assert_eq!(stream.status, 200, "{}", stream.head);
    (0..count).map(|_| stream.next().unwrap()).collect()
}

fn create(sidecar: &Sidecar, id: &str) {
    let body = json!({
        "session_id": id,
        "prompt": "Hello",
        "model_config": { "provider": "local", "model": "llama3" },
    });
    let answer = sidecar.post("/sessions", &body.to_string());
    assert_eq!(answer.status, 201, "{answer:?}");
}

fn stop(sidecar: &Sidecar, id: &str) {
    let answer = sidecar.post(&format!("/sessions/{id}/stop"), "");
    assert_eq!(answer.status, 200, "{answer:?}");
}

fn id(event: &Event) -> &str {
    event.id.as_deref().unwrap()
}

/// Positions have no hole, and each session's events are those of its own stream, in their order.
fn assert_agrees(sidecar: &Sidecar, seen: &[Event]) {
    let positions: Vec<u64> = seen.iter().map(Event::seq).collect();
    let expected: Vec<u64> = (1..=u64::try_from(seen.len()).unwrap()).collect();
    assert_eq!(positions, expected);
    let mut sessions: BTreeMap<String, Vec<Event>> = BTreeMap::new();
    for event in seen {
        let mut data = event.data.clone();
        let fields = data.as_object_mut().unwrap();
        let session = fields.remove("session_id").unwrap();
        let own = fields.remove("event_id").unwrap();
        let own = Event {
            id: Some(own.as_str().unwrap().to_owned()),
            kind: event.kind.clone(),
            data,
        };
        let session = session.as_str().unwrap().to_owned();
        sessions.entry(session).or_default().push(own);
    }
    for (session, events) in sessions {
        let own = sidecar.stream(&session, "?include=reasoning").rest();
        assert_eq!(own, events, "{session}");
    }
}

#[test]
fn all_sessions_are_one_stream_and_every_place_in_it_is_a_cursor() {
    let sidecar = Options::stub().start().ready();
    create(&sidecar, "one");
    let mut live = events(&sidecar, "", None);
    let head = live.head.to_ascii_lowercase();
    for header in [
        "content-type: text/event-stream",
        "cache-control: no-cache, no-store, no-transform",
        "x-accel-buffering: no",
        "sidecar-epoch: ",
        "-0\r\n",
    ] {
        assert!(head.contains(header), "{header}: {head}");
    }
    create(&sidecar, "two");
    stop(&sidecar, "two");
    stop(&sidecar, "one");
    let all: Vec<Event> = (0..4).map(|_| live.next().unwrap()).collect();
    assert_agrees(&sidecar, &all);
    let order: Vec<&Value> = all.iter().map(|event| &event.data["session_id"]).collect();
    assert_eq!(order, ["one", "two", "two", "one"]);
    for (nth, event) in (1..4).zip(&all) {
        assert_eq!(take(&sidecar, "", Some(id(event)), 4 - nth), all[nth..]);
    }
    // A query says it too, and live only begins where the stream is.
    let query = format!("?last_event_id={}", id(&all[2]));
    assert_eq!(take(&sidecar, &query, None, 1), all[3..]);
    let mut latest = events(&sidecar, "?lastEventId=latest", None);
    let last = id(&all[3]);
    let header = format!("sidecar-last-event-id: {last}\r\n");
    assert!(latest.head.contains(&header), "{}", latest.head);
    create(&sidecar, "three");
    assert_eq!(latest.next().unwrap().seq(), 5);
    stop(&sidecar, "three");
}

#[test]
fn a_filter_leaves_out_what_is_not_wanted_and_a_misspelt_one_is_refused() {
    let sidecar = Options::stub().start().ready();
    for session in ["one", "two", "three"] {
        create(&sidecar, session);
        stop(&sidecar, session);
    }
    let of = |query: &str, count| -> Vec<u64> {
        let seen = take(&sidecar, query, None, count);
        seen.iter().map(Event::seq).collect()
    };
    assert_eq!(of("?session_id=two", 2), [3, 4]);
    assert_eq!(of("?session_id=one,three", 4), [1, 2, 5, 6]);
    assert_eq!(of("?session_id=one&session_id=three", 4), [1, 2, 5, 6]);
    assert_eq!(of("?types=status&session_id=three", 2), [5, 6]);
    // One that does not exist yet.
    let mut later = events(&sidecar, "?session_id=four", None);
    create(&sidecar, "four");
    assert_eq!(later.next().unwrap().seq(), 7);
    stop(&sidecar, "four");
    for (query, field) in [
        ("?types=statuses", "types"),
        ("?session_id=a/b", "session_id"),
    ] {
        let refused = sidecar.get(&format!("/events{query}"));
        assert_eq!(refused.status, 400, "{refused:?}");
        assert_eq!(refused.json()["details"]["field"], field);
    }
}

#[test]
fn a_cursor_that_means_nothing_here_gets_a_gap_or_with_strict_a_409() {
    let sidecar = Options::stub().start().ready();
    create(&sidecar, "one");
    let first = take(&sidecar, "", None, 1).remove(0);
    let ahead = id(&first).replace("-1", "-77");
    for (cursor, reason) in [
        ("zzzzzzzzzz-1", "epoch_changed"),
        ("nonsense", "invalid"),
        (ahead.as_str(), "ahead"),
    ] {
        let seen = take(&sidecar, "", Some(cursor), 2);
        assert_eq!(
            (seen[0].kind.as_str(), &seen[0].data["reason"]),
            ("gap", &reason.into())
        );
        assert_eq!(seen[0].data["requested"], cursor);
        assert_eq!(seen[1], first);
        let refused = events(&sidecar, "?strict=1", Some(cursor));
        assert_eq!(refused.status, 409, "{}", refused.head);
    }
    stop(&sidecar, "one");
}

#[test]
fn after_a_kill_the_same_cursor_goes_on_without_a_gap_or_a_repeat() {
    let sidecar = Options::stub().start().ready();
    create(&sidecar, "one");
    create(&sidecar, "two");
    stop(&sidecar, "one");
    let mut seen = take(&sidecar, "", None, 3);
    sidecar.signal(Signal::KILL);
    let sidecar = sidecar.again().ready();
    // The turn that ran is ended by this sidecar.
    let mut live = events(&sidecar, "", Some(id(&seen[2])));
    let of_two = |event: &Event| event.data["session_id"] == "two" && event.is_terminal();
    seen.extend(live.until("the end of two", of_two));
    create(&sidecar, "three");
    stop(&sidecar, "three");
    seen.push(live.next().unwrap());
    seen.push(live.next().unwrap());
    assert_agrees(&sidecar, &seen);
    assert_eq!(
        take(&sidecar, "", None, seen.len()),
        seen,
        "the same events under the same ids"
    );
    // And once more, after an orderly end.
    sidecar.signal(Signal::TERM);
    let sidecar = sidecar.again().ready();
    assert_eq!(
        take(&sidecar, "", Some(id(&seen[0])), seen.len() - 1),
        seen[1..]
    );
}

#[test]
fn without_a_journal_a_restart_is_another_order() {
    let sidecar = Options::stub().env("JOURNAL", "off").start().ready();
    create(&sidecar, "one");
    stop(&sidecar, "one");
    let seen = take(&sidecar, "", None, 2);
    assert_agrees(&sidecar, &seen);
    assert_eq!(take(&sidecar, "", Some(id(&seen[0])), 1), seen[1..]);
    sidecar.signal(Signal::KILL);
    let sidecar = sidecar.again().ready();
    create(&sidecar, "two");
    let after = take(&sidecar, "", Some(id(&seen[1])), 2);
    assert_eq!(after[0].data["reason"], "epoch_changed");
    assert_eq!(after[1].data["session_id"], "two");
    stop(&sidecar, "two");
}

#[test]
fn a_65th_reader_is_refused_and_a_drain_ends_the_others() {
    let mut sidecar = Options::stub().start().ready();
    let mut readers: Vec<Stream> = (0..64).map(|_| events(&sidecar, "", None)).collect();
    let refused = sidecar.get("/events");
    assert_eq!(refused.status, 429, "{refused:?}");
    assert_eq!(refused.json()["code"], "too_many_streams");
    assert!(refused.header("retry-after").is_some());
    assert!(
        sidecar
            .get("/metrics")
            .body
            .contains("sidecar_streams_open 64")
    );
    sidecar.signal(Signal::TERM);
    for reader in &mut readers {
        let blocks = reader.blocks();
        let last = String::from_utf8_lossy(blocks.last().unwrap()).into_owned();
        assert!(
            last.starts_with("retry: "),
            "told when to come back: {last}"
        );
    }
    assert_eq!(sidecar.exit().code(), Some(0));
}

/// The next event that is one of the log.
fn told(socket: &mut Socket) -> Event {
    match socket.next() {
        Received::Event(event) => event,
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_websocket_has_the_same_events_under_the_same_ids() {
    let sidecar = Options::stub().start().ready();
    create(&sidecar, "one");
    let mut live = Socket::open(sidecar.address, "/events/ws", &[]);
    assert_eq!(live.status, 101, "{} {}", live.head, live.body);
    create(&sidecar, "two");
    stop(&sidecar, "two");
    stop(&sidecar, "one");
    let seen = take(&sidecar, "", None, 4);
    for event in &seen {
        assert_eq!(told(&mut live), *event);
    }
    let path = format!("/events/ws?session_id=one&last_event_id={}", id(&seen[0]));
    let mut filtered = Socket::open(sidecar.address, &path, &[]);
    assert_eq!(told(&mut filtered), seen[3]);
    // A message names no session.
    live.say(&json!({ "type": "ping", "ref": 1 }));
    let Received::Answer(ack) = live.next() else {
        panic!("no answer");
    };
    assert_eq!((&ack["type"], &ack["ref"]), (&json!("ack"), &json!(1)));
    live.say(&json!({ "type": "cancel", "ref": 2 }));
    let Received::Answer(error) = live.next() else {
        panic!("no answer");
    };
    assert_eq!(
        (&error["status"], &error["ref"]),
        (&json!(400), &json!(2)),
        "{error}"
    );
    let refused = Socket::open(sidecar.address, "/events/ws?types=nothing", &[]);
    assert_eq!(refused.status, 400, "{}", refused.body);
    let mut lost = Socket::open(
        sidecar.address,
        "/events/ws?last_event_id=zzzzzzzzzz-1",
        &[],
    );
    let gap = told(&mut lost);
    assert_eq!(
        (gap.kind.as_str(), &gap.data["reason"]),
        ("gap", &json!("epoch_changed"))
    );
    assert_eq!(told(&mut lost), seen[0]);
    sidecar.signal(Signal::TERM);
    assert!(matches!(live.next(), Received::Close(1001, _)));
}

#[test]
fn a_websocket_of_all_events_needs_the_token_too() {
    let mut sidecar = Options::stub()
        .env("OPENCODE_SHARED_SECRET", "a-secret-of-the-test")
        .start();
    sidecar.token = Some("a-secret-of-the-test".into());
    let sidecar = sidecar.ready();
    let refused = Socket::open(
        sidecar.address,
        "/events/ws",
        &[("authorization", "Bearer wrong")],
    );
    assert_eq!(refused.status, 401, "{}", refused.body);
    let mut late = Socket::open(sidecar.address, "/events/ws", &[]);
    assert_eq!(late.status, 101);
    create(&sidecar, "one");
    stop(&sidecar, "one");
    late.say(&json!({ "type": "auth", "ref": "a", "token": "a-secret-of-the-test" }));
    assert!(matches!(late.next(), Received::Answer(ack) if ack["type"] == "ack"));
    assert_eq!(told(&mut late).seq(), 1);
    let mut stranger = Socket::open(sidecar.address, "/events/ws", &[]);
    stranger.say(&json!({ "type": "ping" }));
    assert!(matches!(stranger.next(), Received::Answer(error) if error["status"] == 401));
    assert!(matches!(stranger.next(), Received::Close(4401, _)));
}
