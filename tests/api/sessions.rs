//! Sessions and an engine that is not there.

use std::time::{Duration, Instant};

use serde_json::json;

use crate::support::{Options, Sidecar};

fn create(sidecar: &Sidecar) -> (u16, serde_json::Value, bool) {
    let body = json!({
        "session_id": "early", "prompt": "please",
        "model_config": { "provider": "local", "model": "m" },
    });
    let answer = sidecar.post("/sessions", &body.to_string());
    let retry = answer.header("retry-after").is_some();
    (answer.status, answer.json(), retry)
}

#[test]
fn a_creation_waits_for_the_engine_and_then_says_what_it_waits_for() {
    let sidecar = Options::stub()
        .env("ENGINE_WAIT", "300ms")
        .script(json!({ "silent": true }))
        .start();
    let begun = Instant::now();
    let (status, body, retry) = create(&sidecar);
    assert!(begun.elapsed() >= Duration::from_millis(300));
    assert_eq!((status, retry), (503, true), "{body}");
    assert_eq!(body["code"], "engine_unavailable");
    assert_eq!(body["error"], "engine starting");
    // Its id is free again, and nothing of it is left.
    assert_eq!(create(&sidecar).0, 503);
    assert_eq!(sidecar.get("/sessions").json()["sessions"], json!([]));
    assert_eq!(sidecar.get("/sessions/early/status").status, 404);
}
