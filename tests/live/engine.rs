//! Life and death of the real child.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::Command;

use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};

use crate::insider::password;
use crate::llm::Turn;
use crate::support::{Options, SIDECAR, Sidecar, http, processes, skipped};
use crate::world::World;

/// A call to the child itself, past the sidecar.
fn call(sidecar: &Sidecar, path: &str, body: &Value) -> http::Response {
    let port = u16::try_from(sidecar.engine()["port"].as_u64().unwrap()).unwrap();
    let output = Command::new("curl")
        .args([
            "-s",
            "-m",
            "60",
            "-u",
            &format!("opencode:{}", password(sidecar)),
        ])
        .args([
            "-H",
            "content-type: application/json",
            "-d",
            &body.to_string(),
        ])
        .arg(format!("http://127.0.0.1:{port}{path}"))
        .output()
        .unwrap();
    http::Response {
        status: 0,
        head: String::new(),
        body: String::from_utf8(output.stdout).unwrap(),
    }
}

/// Makes the agent's shell run `command`, without a model.
fn shell(sidecar: &Sidecar, command: &str) -> http::Response {
    let directory = sidecar.workspace();
    let session = call(
        sidecar,
        &format!("/session?directory={}", directory.display()),
        &json!({}),
    );
    let id = session.json()["id"].as_str().unwrap().to_owned();
    let body = json!({ "agent": "build", "command": command, "model": { "providerID": "x", "modelID": "y" } });
    call(sidecar, &format!("/session/{id}/shell"), &body)
}

#[test]
fn it_starts_is_moved_and_leaves_without_a_trace() {
    let mut sidecar = Options::real().start().ready();
    let status = sidecar.engine();
    assert_eq!(status["version"], "1.18.33");
    assert!(status["rss_bytes"].as_u64().unwrap() > 50_000_000);
    let first = password(&sidecar);
    assert_eq!(first.len(), 64);

    assert_eq!(sidecar.post("/engine/restart", "").status, 200);
    let second = password(&sidecar);
    assert_ne!(first, second);
    let unpacked = || fs::read_dir(sidecar.data_dir().join("engine/tmp")).unwrap();
    let libraries = unpacked().filter(|entry| {
        entry
            .as_ref()
            .unwrap()
            .path()
            .extension()
            .is_some_and(|e| e == "so")
    });
    assert!(
        libraries.count() <= 1,
        "each start unpacks one, and the last one's is gone"
    );

    // Nothing of the sidecar's own is on the child's disk or in our log.
    for secret in [&first, &second] {
        assert!(!sidecar.log().contains(secret));
        let found = Command::new("grep")
            .args(["-rlaF", secret])
            .arg(sidecar.data_dir())
            .output()
            .unwrap();
        assert_eq!(String::from_utf8_lossy(&found.stdout), "");
    }
    sidecar.signal(Signal::TERM);
    assert_eq!(sidecar.exit().code(), Some(0));
    assert_eq!(sidecar.marked(), [0_i32; 0]);
}

#[test]
fn killed_again_and_again_it_is_always_back() {
    let sidecar = Options::real().start().ready();
    for round in 1..=3_u64 {
        processes::kill(sidecar.engine_pid());
        sidecar.until("back", |sidecar| {
            sidecar.engine()["generation"].as_u64().unwrap() > round
                && sidecar.get("/ready").status == 200
        });
        assert_eq!(sidecar.marked(), [sidecar.engine_pid()]);
    }
}

/// OpenCode runs what lies in these places, and the agent can write there.
#[test]
fn code_that_the_agent_planted_does_not_run_in_the_next_child() {
    let sidecar = Options::real().start().ready();
    let engine = sidecar.data_dir().join("engine");
    let places = ["home/.opencode/plugin", "config/opencode/plugin"];
    for (n, place) in places.iter().enumerate() {
        let ran = sidecar.workspace().join(format!("ran-{n}"));
        let code = format!(
            "import {{ writeFileSync }} from 'node:fs'\nwriteFileSync({ran:?}, '')\nexport const Planted = async () => ({{}})\n"
        );
        fs::create_dir_all(engine.join(place)).unwrap();
        fs::write(engine.join(place).join("planted.js"), code).unwrap();
    }
    processes::kill(sidecar.engine_pid());
    sidecar.until("back", |sidecar| {
        sidecar.engine()["generation"] == 2 && sidecar.get("/ready").status == 200
    });
    // Being ready means that a session was made, which loads plugins; a tool makes sure of it.
    shell(&sidecar, "true");
    for (n, place) in places.iter().enumerate() {
        assert!(!engine.join(place).join("planted.js").exists(), "{place}");
        assert!(
            !sidecar.workspace().join(format!("ran-{n}")).exists(),
            "{place}"
        );
    }
}

#[test]
fn a_child_that_is_stopped_by_a_signal_is_recycled() {
    let sidecar = Options::real()
        .env("ENGINE_PROBE_INTERVAL", "200ms")
        .env("ENGINE_PROBE_TIMEOUT", "500ms")
        .env("ENGINE_STOP_TIMEOUT", "500ms")
        .start()
        .ready();
    let pid = Pid::from_raw(sidecar.engine_pid()).unwrap();
    kill_process(pid, Signal::STOP).unwrap();
    sidecar.until("recycled", |sidecar| {
        sidecar.engine()["generation"] == 2 && sidecar.get("/ready").status == 200
    });
    let error = sidecar.engine()["last_error"].as_str().unwrap().to_owned();
    assert!(
        error.starts_with("it stopped answering (3 health checks failed"),
        "{error}"
    );
}

#[test]
fn sigterm_while_a_tool_sleeps_in_its_own_session_leaves_nothing() {
    let mut sidecar = Options::real().start().ready();
    std::thread::scope(|scope| {
        let tool = scope.spawn(|| shell(&sidecar, "bash -c 'sleep 1000 & setsid sleep 1000'"));
        // The child, the tool's shells, and two sleeps.
        let sleeps = |sidecar: &Sidecar| {
            let is_sleep = |pid: &&i32| {
                fs::read(format!("/proc/{pid}/comm")).is_ok_and(|comm| comm == b"sleep\n")
            };
            sidecar.marked().iter().filter(is_sleep).count()
        };
        sidecar.until("asleep", |sidecar| {
            assert!(
                !tool.is_finished() || sleeps(sidecar) == 2,
                "the tool did not start"
            );
            sleeps(sidecar) == 2
        });
        sidecar.signal(Signal::TERM);
        drop(tool.join());
    });
    assert_eq!(sidecar.exit().code(), Some(0));
    assert_eq!(sidecar.marked(), [0_i32; 0]);
}

/// Uid 65534, everything read-only but the workspace and the data directory, no network but loopback.
#[test]
fn it_runs_as_nobody_on_a_read_only_root_without_a_network() {
    if !rustix::process::geteuid().is_root() {
        skipped("only root may make the mount namespace this needs");
        return;
    }
    let options = Options::real();
    let dir = options.dir.path().to_owned();
    // The checkout may lie where nobody may look: the two programs are mounted into the open.
    fs::write(dir.join("opencode"), "").unwrap();
    // Like OpenCode's, our binary cannot be read in the image.
    fs::copy(SIDECAR, dir.join("sidecar")).unwrap();
    fs::set_permissions(dir.join("sidecar"), fs::Permissions::from_mode(0o711)).unwrap();
    fs::set_permissions(&dir, fs::Permissions::from_mode(0o755)).unwrap();
    for name in ["workspace", "data"] {
        std::os::unix::fs::chown(dir.join(name), Some(65534), Some(65534)).unwrap();
    }
    // Positional: directory, opencode.
    let script = "set -e
        mount --make-rprivate /
        mount --bind \"$2\" \"$1/opencode\"
        for d in workspace data; do mount --bind \"$1/$d\" \"$1/$d\"; done
        mount -o remount,bind,ro /
        ip link set lo up
        exec setpriv --reuid 65534 --regid 65534 --clear-groups --no-new-privs --bounding-set -all \"$1/sidecar\"";
    let bin = options.bin.clone();
    fs::set_permissions(&bin, fs::Permissions::from_mode(0o711)).unwrap();
    let options = options.env("OPENCODE_BIN", &dir.join("opencode").to_string_lossy());
    let plain = options.command();
    let mut command = Command::new("unshare");
    command
        .args(["--mount", "--net", "sh", "-c", script, "sh"])
        .arg(&dir)
        .arg(&bin)
        .env_clear();
    for (name, value) in plain.get_envs() {
        command.env(name, value.unwrap());
    }
    command
        .stdin(std::process::Stdio::null())
        .stdout(std::process::Stdio::piped())
        .stderr(std::process::Stdio::piped());
    let mut sidecar = options.start_as(command);

    let inside = |args: &[&str]| {
        let pid = sidecar.pid().to_string();
        let output = Command::new("nsenter")
            .args(["-t", &pid, "-n", "-m"])
            .args(args)
            .output()
            .unwrap();
        (
            output.status.success(),
            String::from_utf8_lossy(&output.stdout).into_owned()
                + &String::from_utf8_lossy(&output.stderr),
        )
    };
    let url = format!("http://{}", sidecar.address);
    sidecar.until("ready", |_| {
        inside(&["curl", "-sf", &format!("{url}/ready")]).0
    });
    let status: Value =
        serde_json::from_str(&inside(&["curl", "-s", &format!("{url}/engine/status")]).1).unwrap();
    assert_eq!(status["version"], "1.18.33");
    assert!(
        !inside(&["touch", "/probe"]).0,
        "the root really is read-only"
    );

    let worth = fs::read_to_string(format!("/proc/{}/oom_score_adj", status["pid"])).unwrap();
    assert_eq!(worth.trim(), "500", "the kernel takes the child before us");

    // A tool of the agent has the same uid. Neither the child's environment nor ours opens to it.
    let nobody = |path: &str| {
        inside(&[
            "setpriv",
            "--reuid",
            "65534",
            "--regid",
            "65534",
            "--clear-groups",
            "cat",
            path,
        ])
    };
    for pid in [sidecar.pid().to_string(), status["pid"].to_string()] {
        let (readable, words) = nobody(&format!("/proc/{pid}/environ"));
        assert!(!readable && words.contains("Permission denied"), "{words}");
    }
    sidecar.signal(Signal::TERM);
    assert_eq!(sidecar.exit().code(), Some(0));
    assert!(Path::new("/proc").exists() && sidecar.marked().is_empty());
}

#[test]
fn after_a_disposal_the_configuration_and_the_password_are_still_there() {
    let world = World::start();
    let turn = |id: &str| world.run(id, [Turn::new().text("said")]);
    turn("before").assert_complete();
    let directory = world.workspace();
    let path = format!("/instance/dispose?directory={}", directory.display());
    assert_eq!(call(&world.sidecar, &path, &json!({})).body, "true");
    turn("after").assert_complete();
    let port = u16::try_from(world.engine()["port"].as_u64().unwrap()).unwrap();
    let child = ([127, 0, 0, 1], port).into();
    let health = http::send(child, "GET", "/global/health", &[], b"").unwrap();
    assert_eq!(health.status, 401);
}
