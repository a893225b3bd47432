//! `/healthz`, `/health`, `/ready`.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;

use serde_json::json;

use crate::support::{Options, SIDECAR, as_nobody, wrapped};

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
fn a_workspace_that_is_mounted_read_only_is_called_that() {
    if !rustix::process::geteuid().is_root() {
        crate::support::skipped("only root may make the mount namespace this needs");
        return;
    }
    let options = Options::stub();
    let workspace = options.dir.path().join("workspace");
    let script = format!(
        "mount --make-rprivate / && mount --bind {0} {0} && mount -o remount,bind,ro {0} && exec {SIDECAR}",
        workspace.display()
    );
    let mut command = wrapped(&options, "exec unshare --mount sh -c \"$0\"");
    command.arg(script);
    let sidecar = options.start_as(command);
    let expected = format!(
        "workspace not accessible: {} is mounted read-only",
        workspace.display()
    );
    sidecar.until("checked", |sidecar| {
        sidecar.get("/ready").error() == expected
    });
}

#[test]
fn a_workspace_of_another_owner_is_told_with_owner_mode_and_who_we_are() {
    if !rustix::process::geteuid().is_root() {
        crate::support::skipped("only root may become somebody else");
        return;
    }
    let (options, command) = as_nobody(Options::stub(), &["data"]);
    let workspace = options.dir.path().join("workspace");
    fs::set_permissions(&workspace, fs::Permissions::from_mode(0o750)).unwrap();
    let sidecar = options.start_as(command);
    let expected = format!(
        "workspace not accessible: {} belongs to 0:0 with mode 0750, and this process runs as 65534:65534 \
         without read and write access; set fsGroup or the volume's owner",
        workspace.display()
    );
    sidecar.until("checked", |sidecar| {
        sidecar.get("/ready").error() == expected
    });
    // The mount is mended: nothing needs to be restarted.
    std::os::unix::fs::chown(&workspace, Some(65534), Some(65534)).unwrap();
    assert_eq!(sidecar.ready().engine()["generation"], 1);
}

/// Thousands of idle connections are no reason for the kubelet to kill us.
#[test]
fn probes_are_answered_when_all_connections_are_taken() {
    let limit = rustix::process::getrlimit(rustix::process::Resource::Nofile).maximum;
    if limit.is_some_and(|limit| limit < 9000) {
        crate::support::skipped("this user may not open 4096 connections");
        return;
    }
    let widest = rustix::process::Rlimit {
        current: limit,
        maximum: limit,
    };
    rustix::process::setrlimit(rustix::process::Resource::Nofile, widest).unwrap();
    let sidecar = Options::stub().start().ready();
    let idle: Vec<std::net::TcpStream> = (0..4200)
        .map(|_| std::net::TcpStream::connect(sidecar.address).unwrap())
        .collect();
    let ask = |path| crate::support::http::send(sidecar.address, "GET", path, &[], b"");
    sidecar.until("full", |sidecar| {
        sidecar
            .log()
            .contains("too many connections; closing new ones")
    });
    // Those beyond the limit hold the reserve for a second, then it is free for good.
    sidecar.until("answered", |_| {
        ask("/healthz").is_ok_and(|response| response.status == 200)
    });
    assert_eq!(ask("/ready").unwrap().status, 200);
    let refused = ask("/engine/status").map_or(0, |response| response.status);
    assert_eq!(refused, 0, "closed without a word");
    let complaints = sidecar.log().matches("too many connections").count();
    assert!(complaints <= 2, "{complaints} lines");
    drop(idle);
    sidecar.until("over", |_| {
        ask("/engine/status").is_ok_and(|response| response.status == 200)
    });
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
