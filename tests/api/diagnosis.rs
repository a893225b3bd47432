//! What a session does, the process at a glance, and what is logged.

use serde_json::{Value, json};

use crate::support::full_disk::FullDisk;
use crate::support::ws::{Received, Socket};
use crate::support::{Options, Sidecar, runbook, skipped};

fn create(sidecar: &Sidecar, id: &str) {
    let body = json!({
        "session_id": id, "prompt": "please",
        "model_config": { "provider": "local", "model": "m" },
    });
    assert_eq!(sidecar.post("/sessions", &body.to_string()).status, 201);
}

#[test]
fn a_turn_that_is_silent_and_one_that_ended_say_so() {
    let sidecar = Options::stub().start().ready();
    create(&sidecar, "a");
    let ask = || sidecar.get("/sessions/a/diagnosis").json();
    // The stub says nothing, and its turn calls no model.
    sidecar.until("silent", |_| ask()["cause"] == "feed_silent");
    let found = ask();
    assert_eq!(found["status"], "running", "{found}");
    assert_eq!(found["turn"], 1);
    assert_eq!(found["model"]["state"], "idle");
    assert_eq!(found["model"]["provider"], "local at 127.0.0.1:11434");
    assert_eq!(found["model"]["name"], "m");
    assert_eq!(found["model"]["calls"], json!([]));
    assert_eq!(found["next"]["what"], "the turn ends with timeout");
    assert_eq!(found["next"]["at"], found["turn_ends_at"]);
    assert!(found["processes"].as_array().unwrap().is_empty());
    assert_eq!(found["tools"]["calls"], json!({}));
    assert!(found["last_output"].is_null());
    let events = found["recent_events"].as_array().unwrap();
    assert_eq!(events.last().unwrap()["id"], found["last_event_id"]);

    // Who reads, and how far each is.
    assert_eq!(found["reader_positions"], json!([]));
    let mut stream = sidecar.stream("a", "");
    stream.next().unwrap();
    let mut socket = Socket::open(sidecar.address, "/sessions/a/ws", &[]);
    assert_eq!(socket.status, 101);
    assert!(matches!(socket.next(), Received::Event(_)));
    let readers = ask()["reader_positions"].clone();
    let mut kinds: Vec<_> = readers.as_array().unwrap().iter().collect();
    kinds.sort_by_key(|reader| reader["transport"].to_string());
    assert_eq!(kinds.len(), 2, "{readers}");
    for (reader, transport) in kinds.into_iter().zip(["stream", "websocket"]) {
        assert_eq!(reader["transport"], transport);
        assert_eq!(reader["behind"], 0, "{reader}");
        assert_eq!(reader["last_event_id"], found["last_event_id"]);
        assert!(reader["last_taken_at"].is_string());
    }
    let state = sidecar.get("/debug/state").json();
    let connections = state["connections"].as_array().unwrap();
    let one = |name: &str| connections.iter().find(|one| one["name"] == name).unwrap();
    let http = one("http");
    assert_eq!(http["limit"], 4096, "{state}");
    let open = http["open"].as_u64().unwrap();
    assert!((2..20).contains(&open), "the stream, the socket: {state}");
    assert_eq!(one("websockets")["open"], 1, "{state}");
    assert_eq!(one("websockets_without_token")["open"], 0, "{state}");
    assert_eq!(one("streams_of_all_events")["open"], 0, "{state}");
    assert_eq!(state["streams_open"], 1, "{state}");
    assert_eq!(state["locks_held"], json!([]), "{state}");
    drop((stream, socket));
    sidecar.until("alone", |_| ask()["reader_positions"] == json!([]));

    let state = sidecar.get("/debug/state").json();
    assert_eq!(state["sessions_active"], 1, "{state}");
    assert_eq!(state["turns"][0]["session_id"], "a");
    assert_eq!(state["turns"][0]["cause"], "feed_silent");
    assert_eq!(state["engine"]["state"], "ready");
    assert!(state["runtime"]["alive_tasks"].as_u64().unwrap() > 3);

    assert_eq!(sidecar.post("/sessions/a/stop", "").status, 200);
    let found = ask();
    assert_eq!(found["cause"], "ended", "{found}");
    assert_eq!(found["sentence"], "the session is cancelled");
    assert!(found["model"].is_null() && found["turn_ends_at"].is_null());
    let state = sidecar.get("/debug/state").json();
    assert!(state["turns"].as_array().unwrap().is_empty(), "{state}");
    let queues = state["queues"].as_array().unwrap();
    let names: Vec<_> = queues.iter().map(|queue| &queue["name"]).collect();
    assert_eq!(names, ["turns", "log"], "nothing is traced here");
    for queue in queues {
        let (depth, bound) = (queue["depth"].as_u64(), queue["bound"].as_u64());
        assert!(depth < bound, "{state}");
    }

    let unknown = sidecar.get("/sessions/b/diagnosis");
    assert_eq!(unknown.status, 404);
}

/// Asks until this is the cause.
fn found(sidecar: &Sidecar, cause: &str) -> Value {
    let ask = || sidecar.get("/sessions/a/diagnosis").json();
    sidecar.until(cause, |_| ask()["cause"] == cause);
    let found = ask();
    runbook::assert_has(cause, found["sentence"].as_str().unwrap());
    found
}

#[test]
fn a_disk_that_takes_nothing_is_named() {
    let options = Options::stub();
    let journal = options.dir.path().join("data/journal");
    let Some(disk) = FullDisk::mount(&journal) else {
        return skipped("no file system can be mounted here");
    };
    let sidecar = options.start().ready();
    create(&sidecar, "a");
    disk.fill();
    // What has to be written shows that it cannot be.
    sidecar.until("degraded", |sidecar| {
        sidecar.send("PATCH", "/sessions/a", r#"{"title":"more"}"#);
        sidecar.get("/debug/state").json()["journal"]["degraded"].is_string()
    });
    let found = found(&sidecar, "journal_degraded");
    let words = found["sentence"].as_str().unwrap();
    assert!(words.contains("full"), "{words}");
}

#[test]
fn how_earlier_children_ended_and_what_the_present_one_says_is_told() {
    let script = json!({ "stderr": ["a first line", "a second one"] });
    let sidecar = Options::stub().script(script).start().ready();
    let engine = || sidecar.get("/debug/state").json()["engine"].clone();
    assert_eq!(engine()["ended"], json!([]));
    assert_eq!(engine()["stderr"], json!(["a first line", "a second one"]));
    assert_eq!(sidecar.post("/engine/restart", "").status, 200);
    let pid = i32::try_from(sidecar.engine()["pid"].as_i64().unwrap()).unwrap();
    let pid = rustix::process::Pid::from_raw(pid).unwrap();
    rustix::process::kill_process(pid, rustix::process::Signal::KILL).unwrap();
    sidecar.until("killed", |_| {
        engine()["ended"].as_array().unwrap().len() == 2
    });
    let ended = engine()["ended"].clone();
    assert_eq!(ended[0]["cause"], "killed", "{ended}");
    assert_eq!(ended[0]["generation"], 2);
    let reason = ended[0]["reason"].as_str().unwrap();
    assert!(reason.contains("a second one"), "{reason}");
    assert_eq!(ended[1]["cause"], "requested");
    assert_eq!(ended[1]["generation"], 1);
    assert_eq!(ended[1]["reason"], "POST /engine/restart asked for it");
}

#[test]
fn what_is_logged_can_be_changed_for_a_while() {
    let sidecar = Options::stub().env("LOG_LEVEL", "warn").start().ready();
    let put = |body: &str| sidecar.send("PUT", "/debug/log-level", body);
    let filter = || sidecar.get("/debug/state").json()["log"]["filter"].clone();
    assert_eq!(filter(), "warn");
    let logged = |id: &str| {
        create(&sidecar, id);
        assert_eq!(
            sidecar.post(&format!("/sessions/{id}/stop"), "").status,
            200
        );
        sidecar.log().contains(&format!("\"session.id\":\"{id}\""))
    };
    assert!(!logged("before"));
    let answer = put(r#"{"filter":"info","for_secs":2}"#);
    assert_eq!(answer.status, 200, "{answer:?}");
    assert_eq!(answer.json()["filter"], "info");
    create(&sidecar, "during");
    assert_eq!(sidecar.post("/sessions/during/stop", "").status, 200);
    sidecar.until("logged", |sidecar| {
        sidecar.log().contains("\"session.id\":\"during\"")
    });
    sidecar.until("as before", |_| filter() == "warn");

    for (body, field) in [
        (r#"{"filter":"loud"}"#, "filter"),
        (r#"{"filter":"info","for_secs":0}"#, "for_secs"),
        (r#"{"for_secs":5}"#, "filter"),
    ] {
        let answer = put(body);
        assert_eq!(answer.status, 400, "{body}");
        assert_eq!(answer.json()["details"]["field"], field, "{answer:?}");
    }
}

#[test]
fn the_debug_routes_need_the_token_and_no_page() {
    let sidecar = Options::stub()
        .env("OPENCODE_SHARED_SECRET", "s3cret")
        .start();
    assert_eq!(sidecar.get("/debug/state").status, 401);
    assert_eq!(sidecar.send("PUT", "/debug/log-level", "{}").status, 401);
}
