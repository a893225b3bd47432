//! Sessions and an engine that is not there.

use std::time::{Duration, Instant};

use rustix::process::Signal;
use serde_json::json;

use crate::support::{Options, Sidecar, runbook};

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

/// Waits until a creation has begun.
fn pending(sidecar: &Sidecar) {
    sidecar.until("pending", |sidecar| {
        sidecar.get("/sessions/early/status").status == 200
    });
}

#[test]
fn a_creation_that_waits_is_answered_when_the_sidecar_leaves() {
    let sidecar = Options::stub()
        .env("ENGINE_WAIT", "1h")
        .env("ENGINE_START_TIMEOUT", "1h")
        .script(json!({ "silent": true }))
        .start();
    std::thread::scope(|scope| {
        let creating = scope.spawn(|| create(&sidecar));
        pending(&sidecar);
        let found = sidecar.get("/sessions/early/diagnosis").json();
        assert_eq!(found["cause"], "engine_restarting", "{found}");
        runbook::assert_has("engine_restarting", found["sentence"].as_str().unwrap());
        let told = Instant::now();
        sidecar.signal(Signal::TERM);
        let (status, body, retry) = creating.join().unwrap();
        assert_eq!((status, retry), (503, true), "{body}");
        assert_eq!(body["code"], "shutting_down");
        assert!(told.elapsed() < Duration::from_secs(3), "at once");
    });
}

#[test]
fn a_missing_workspace_is_said_at_once_and_not_waited_for() {
    let options = Options::stub().env("ENGINE_WAIT", "1h");
    let workspace = options.dir.path().join("workspace");
    std::fs::remove_dir(&workspace).unwrap();
    let sidecar = options.start();
    let reason = format!(
        "workspace not accessible: {} does not exist; mount the volume there or set WORKSPACE_DIR",
        workspace.display()
    );
    let (status, body, retry) = create(&sidecar);
    assert_eq!((status, retry), (503, true), "{body}");
    assert_eq!(body["code"], "workspace_unavailable");
    assert_eq!(body["error"], json!(reason));
    assert_eq!(sidecar.get("/sessions/early/status").status, 404);
    // The volume comes: nothing needs to be restarted.
    std::fs::create_dir(&workspace).unwrap();
    let sidecar = sidecar.ready();
    assert_eq!(create(&sidecar).0, 201);
    assert_eq!(sidecar.post("/sessions/early/stop", "").status, 200);
}

#[test]
fn a_workspace_that_goes_while_a_creation_waits_is_said_too() {
    let sidecar = Options::stub()
        .env("ENGINE_WAIT", "1h")
        .env("ENGINE_START_TIMEOUT", "1h")
        .script(json!({ "silent": true }))
        .start();
    std::thread::scope(|scope| {
        let creating = scope.spawn(|| create(&sidecar));
        pending(&sidecar);
        std::fs::remove_dir(sidecar.workspace()).unwrap();
        let (status, body, _) = creating.join().unwrap();
        assert_eq!(status, 503, "{body}");
        assert_eq!(body["code"], "workspace_unavailable");
    });
}
