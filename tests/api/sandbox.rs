//! What the sandbox says of itself, and what is refused when it cannot be had.

use crate::support::{Options, SIDECAR};

#[test]
fn the_level_is_in_the_status_the_metrics_and_the_log() {
    let sidecar = Options::stub().env("SANDBOX", "best-effort").start();
    let sandbox = &sidecar.engine()["sandbox"];
    assert_eq!(sandbox["mode"], "best-effort");
    assert_eq!(sandbox["level"], "full", "{sandbox}");
    assert_eq!(sandbox["seccomp"], true);
    let abi = sandbox["landlock_abi"].as_u64().unwrap();
    assert!(abi >= 6, "{sandbox}");
    assert!(sandbox.get("reason").is_none(), "{sandbox}");
    let metrics = sidecar.get("/metrics").body;
    for line in [
        "sidecar_sandbox_level{level=\"full\"} 1".to_owned(),
        "sidecar_sandbox_level{level=\"off\"} 0".to_owned(),
        format!("sidecar_sandbox_landlock_abi {abi}"),
    ] {
        assert!(
            metrics.lines().any(|had| had == line),
            "{line} in {metrics}"
        );
    }
    let line = format!("sandbox: full (Landlock ABI {abi}, seccomp)");
    assert_eq!(sidecar.log().matches(&line).count(), 1, "{}", sidecar.log());
}

#[test]
fn switched_off_it_says_so() {
    let sidecar = Options::stub().start().ready();
    let sandbox = &sidecar.engine()["sandbox"];
    assert_eq!(sandbox["mode"], "off");
    assert_eq!(sandbox["level"], "off");
    assert!(sandbox["landlock_abi"].is_null());
    assert_eq!(sandbox["reason"], "SANDBOX=off");
    let metrics = sidecar.get("/metrics").body;
    assert!(
        metrics.contains("sidecar_sandbox_level{level=\"off\"} 1"),
        "{metrics}"
    );
    assert!(
        !metrics.contains("sidecar_sandbox_landlock_abi "),
        "{metrics}"
    );
}

/// Here the kernel could; a data folder in the workspace cannot be kept from what may write the workspace.
#[test]
fn where_it_is_required_and_cannot_be_had_no_turn_runs() {
    let options = Options::stub();
    let data = options.dir.path().join("workspace/data");
    let options = options
        .env("SANDBOX", "required")
        .env("DATA_DIR", &data.to_string_lossy());
    let sidecar = options.start();
    let ready = sidecar.get("/ready");
    assert_eq!(ready.status, 503);
    let reason = ready.json()["error"].as_str().unwrap().to_owned();
    assert!(
        reason.starts_with("SANDBOX=required cannot be met here: DATA_DIR="),
        "{reason}"
    );
    let body = r#"{"session_id":"s","prompt":"p","model_config":{"provider":"custom","model":"m","api_key":"k","api_endpoint":"http://127.0.0.1:9"}}"#;
    let refused = sidecar.post("/sessions", body);
    assert_eq!(refused.status, 503, "{refused:?}");
    sidecar.until("given up", |sidecar| {
        sidecar.engine()["last_error"].is_string()
    });
    let engine = sidecar.engine();
    assert!(engine["pid"].is_null(), "no child is started: {engine}");
    assert_eq!(engine["sandbox"]["level"], "partial");
    assert!(
        engine["last_error"]
            .as_str()
            .unwrap()
            .contains("SANDBOX=required"),
        "{engine}"
    );
}

#[test]
fn bad_values_are_refused_in_one_sentence() {
    for (name, value, remedy) in [
        ("SANDBOX", "maybe", "give required, best-effort or off"),
        (
            "SANDBOX_READ",
            "relative",
            "give absolute paths separated by colons",
        ),
        (
            "TOOL_MAX_PROCESSES",
            "3",
            "give a number from 64 to 1000000",
        ),
        (
            "TOOL_MAX_FILE_BYTES",
            "0",
            "give a size from 1Mi to 1Ti, such as 2Gi or a number of bytes",
        ),
        (
            "ENGINE_USER",
            "root",
            "give the name of a user, its number or uid:gid, and not root",
        ),
        (
            "ENGINE_USER",
            "nobody-by-that-name",
            "give the name of a user",
        ),
    ] {
        let (status, stderr) = Options::stub().env(name, value).refused();
        assert_eq!(status, Some(64), "{stderr}");
        let expected = format!("{name}=\"{value}\" is not accepted: {remedy}");
        assert!(stderr.contains(&expected), "{stderr}");
    }
}

#[test]
fn another_user_needs_capabilities() {
    if !rustix::process::geteuid().is_root() {
        crate::support::skipped("only root can take capabilities away");
        return;
    }
    let options = Options::stub().env("ENGINE_USER", "65534");
    let script = format!("exec setpriv --bounding-set -setuid --inh-caps -setuid {SIDECAR}");
    let output = crate::support::wrapped(&options, &script).output().unwrap();
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(64), "{stderr}");
    assert!(
        stderr.contains("ENGINE_USER needs the capabilities SETUID"),
        "{stderr}"
    );
}

/// By hand it does nothing but say that it is no command of a person's.
#[test]
fn the_shell_and_the_runner_are_of_no_use_by_hand() {
    let dir = tempfile::tempdir().unwrap();
    let link = dir.path().join("bash");
    std::os::unix::fs::symlink(SIDECAR, &link).unwrap();
    let shell = std::process::Command::new(&link)
        .args(["-c", "echo ran"])
        .output()
        .unwrap();
    assert_eq!(shell.status.code(), Some(126), "{shell:?}");
    assert!(shell.stdout.is_empty(), "{shell:?}");
    let runner = std::process::Command::new(SIDECAR)
        .arg("__run_commands")
        .output()
        .unwrap();
    assert_eq!(runner.status.code(), Some(126), "{runner:?}");
}
