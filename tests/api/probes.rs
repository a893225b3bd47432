//! `/healthz`, `/health`, `/ready`.

use std::fs;

use serde_json::json;

use crate::support::Options;

#[test]
fn both_names_of_liveness_answer_before_the_engine_is_up() {
    let sidecar = Options::stub()
        .script(json!({ "delay_ms": 60_000 }))
        .start();
    for path in ["/healthz", "/health"] {
        let response = sidecar.get(path);
        assert_eq!(
            (response.status, response.body.as_str()),
            (200, r#"{"status":"ok"}"#)
        );
        assert_eq!(response.header("content-type"), Some("application/json"));
        assert_eq!(response.header("cache-control"), Some("no-store"));
    }
    assert_eq!(sidecar.get("/ready").error(), "engine starting");
}

#[test]
fn readiness_has_the_shape_of_the_contract() {
    let sidecar = Options::stub().script(json!({ "silent": true })).start();
    let response = sidecar.get("/ready");
    assert_eq!(response.status, 503);
    let body = response.json();
    assert_eq!(body["status"], "not ready");
    assert_eq!(body.as_object().unwrap().len(), 3, "{body}");
    let timestamp = body["timestamp"].as_str().unwrap();
    assert!(
        timestamp.ends_with('Z') && timestamp.len() == 24,
        "{timestamp}"
    );

    let sidecar = Options::stub().start().ready();
    assert_eq!(sidecar.get("/ready").body, r#"{"status":"ready"}"#);
}

#[test]
fn head_answers_like_get_without_a_body() {
    let sidecar = Options::stub().start().ready();
    for path in ["/healthz", "/health", "/ready"] {
        let response = sidecar.send("HEAD", path, "");
        assert_eq!(
            (response.status, response.body.as_str()),
            (200, ""),
            "{path}"
        );
        let length = sidecar.get(path).body.len().to_string();
        assert_eq!(
            response.header("content-length"),
            Some(length.as_str()),
            "{path}"
        );
    }
}

#[test]
fn probes_need_no_token_and_carry_the_request_id() {
    let sidecar = Options::stub()
        .env("OPENCODE_SHARED_SECRET", "s3cret")
        .start()
        .ready();
    for path in ["/healthz", "/health", "/ready"] {
        let headers = [("x-request-id", "probe-1")];
        let response =
            crate::support::http::send(sidecar.address, "GET", path, &headers, b"").unwrap();
        assert_eq!(response.status, 200);
        assert_eq!(response.header("x-request-id"), Some("probe-1"));
    }
}

#[test]
fn a_workspace_that_goes_away_is_named_and_its_return_is_seen() {
    let sidecar = Options::stub().start().ready();
    let (workspace, aside) = (
        sidecar.workspace(),
        sidecar.workspace().with_extension("aside"),
    );
    fs::rename(&workspace, &aside).unwrap();
    sidecar.until("unready", |sidecar| sidecar.get("/ready").status == 503);
    let expected = format!(
        "workspace not accessible: {} does not exist; mount the volume there or set WORKSPACE_DIR",
        workspace.display()
    );
    assert_eq!(sidecar.get("/ready").error(), expected);
    assert_eq!(
        sidecar.get("/healthz").status,
        200,
        "that is no reason to be killed"
    );

    fs::rename(&aside, &workspace).unwrap();
    sidecar.until("ready", |sidecar| sidecar.get("/ready").status == 200);
    assert_eq!(
        sidecar.engine()["generation"],
        1,
        "the engine was left alone"
    );
}

#[test]
fn a_workspace_that_is_missing_at_the_start_costs_no_restart() {
    let options = Options::stub();
    let workspace = options.dir.path().join("workspace");
    fs::remove_dir(&workspace).unwrap();
    let sidecar = options.start();
    sidecar.until("up", |sidecar| sidecar.engine()["running"] == true);
    assert!(
        sidecar
            .get("/ready")
            .error()
            .starts_with("workspace not accessible: ")
    );
    fs::create_dir(&workspace).unwrap();
    let sidecar = sidecar.ready();
    assert_eq!(sidecar.engine()["generation"], 1);
}

#[test]
fn a_workspace_that_is_a_file_is_called_one() {
    let options = Options::stub();
    let workspace = options.dir.path().join("workspace");
    fs::remove_dir(&workspace).unwrap();
    fs::write(&workspace, "").unwrap();
    let sidecar = options.start();
    let expected = format!(
        "workspace not accessible: {} is not a directory",
        workspace.display()
    );
    sidecar.until("checked", |sidecar| {
        sidecar.get("/ready").error() == expected
    });
}
