//! Who did what, in the log or in a file of its own, and one line for each request.

use std::os::unix::fs::PermissionsExt as _;

use serde_json::{Value, json};

use crate::support::{Options, Sidecar};

const PROMPT: &str = "words of the prompt";
const KEY: &str = "sk-key-of-the-test";

fn create(sidecar: &Sidecar, id: &str) {
    let body = json!({
        "session_id": id, "prompt": PROMPT,
        "model_config": { "provider": "local", "model": "m", "api_key": KEY },
    });
    assert_eq!(sidecar.post("/sessions", &body.to_string()).status, 201);
}

/// Lines of JSON with this target or message.
fn lines(text: &str, key: &str, value: &str) -> Vec<Value> {
    let lines = text
        .lines()
        .filter_map(|line| serde_json::from_str::<Value>(line).ok());
    lines.filter(|line| line[key] == value).collect()
}

fn use_it(sidecar: &Sidecar) {
    create(sidecar, "a");
    let answer = sidecar.post(
        "/sessions/a/prompt",
        &json!({ "prompt": PROMPT }).to_string(),
    );
    assert_eq!(answer.status, 202, "{answer:?}");
    assert_eq!(
        sidecar.send("DELETE", "/sessions/a/queue/2", "").status,
        200
    );
    assert_eq!(sidecar.post("/sessions/a/stop", "").status, 200);
    assert_eq!(sidecar.post("/engine/restart", "").status, 200);
    // What fails was not done.
    assert_eq!(sidecar.post("/sessions/b/stop", "").status, 404);
}

const DONE: [(&str, Option<u64>); 6] = [
    ("session.create", Some(1)),
    ("session.prompt", Some(2)),
    ("prompt.withdraw", Some(2)),
    ("turn.cancel", Some(1)),
    ("session.stop", Some(1)),
    ("engine.restart", None),
];

fn assert_told(audit: &[Value]) {
    let told: Vec<_> = audit
        .iter()
        .map(|line| (line["action"].as_str().unwrap(), line["turn"].as_u64()))
        .collect();
    assert_eq!(told, DONE, "{audit:#?}");
    for line in audit.iter().filter(|line| line["action"] != "turn.cancel") {
        assert_eq!(line["span"]["client.address"], "127.0.0.1", "{line}");
        assert!(line["span"]["http.request_id"].is_string(), "{line}");
    }
}

#[test]
fn what_was_done_is_in_the_log_or_in_a_file_and_never_in_both() {
    let sidecar = Options::stub().start().ready();
    use_it(&sidecar);
    assert_told(&lines(&sidecar.log(), "target", "audit"));

    let options = Options::stub().env("LOG_LEVEL", "warn");
    let path = options.dir.path().join("audit.log");
    let sidecar = options
        .env("AUDIT_FILE", path.to_str().unwrap())
        .start()
        .ready();
    use_it(&sidecar);
    sidecar.until("written", |_| {
        std::fs::read_to_string(&path)
            .unwrap()
            .contains("engine.restart")
    });
    let file = std::fs::read_to_string(&path).unwrap();
    assert_told(&lines(&file, "target", "audit"));
    let mode = std::fs::metadata(&path).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    let log = sidecar.log();
    assert!(lines(&log, "target", "audit").is_empty(), "{log}");
    for text in [&file, &log] {
        assert!(!text.contains(PROMPT) && !text.contains(KEY), "{text}");
    }
}

#[test]
fn a_file_that_cannot_be_written_ends_the_start() {
    let (code, said) = Options::stub()
        .env("AUDIT_FILE", "/nowhere/audit.log")
        .refused();
    assert_eq!(code, Some(1), "{said}");
    assert!(
        said.contains("AUDIT_FILE=/nowhere/audit.log cannot be written"),
        "{said}"
    );
}

#[test]
fn a_request_has_one_line_and_a_stream_has_it_at_its_end() {
    let sidecar = Options::stub().start().ready();
    create(&sidecar, "a");
    let mut stream = sidecar.stream("a", "");
    assert_eq!(sidecar.post("/sessions/a/stop", "").status, 200);
    let events = stream.rest();
    let of_path = |path: &str| lines(&sidecar.log(), "http.path", path);
    sidecar.until("the line", |_| !of_path("/sessions/a/stream").is_empty());
    let [line] = &*of_path("/sessions/a/stream") else {
        panic!("{}", sidecar.log())
    };
    assert_eq!(line["http.route"], "/sessions/{id}/stream", "{line}");
    assert_eq!(line["stream.events"], events.len(), "{line}");
    assert_eq!(
        (&line["stream.end"], &line["stream.lag"]),
        (&json!("idle"), &json!(0))
    );
    assert!(line["bytes"].as_u64().unwrap() > 50, "{line}");
    let [created] = &*of_path("/sessions") else {
        panic!("{}", sidecar.log())
    };
    assert_eq!(created["http.status"], 201);
    assert!(created["bytes"].as_u64().unwrap() > 50, "{created}");
    assert!(created["stream.end"].is_null(), "{created}");
}
