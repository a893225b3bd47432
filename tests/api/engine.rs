//! The child: watched, restarted, moved by hand.

use std::collections::HashSet;
use std::fs;
use std::net::TcpListener;

use serde_json::json;

use crate::support::{Options, SIDECAR, Sidecar, processes, wrapped};

/// The passwords of all starts so far, as the stub noted them.
fn passwords(sidecar: &Sidecar) -> Vec<String> {
    let log = fs::read_to_string(sidecar.data_dir().join("stub.log")).unwrap();
    log.lines()
        .map(|line| line.split_once(' ').unwrap().1.to_owned())
        .collect()
}

fn restarted(sidecar: &Sidecar, since: u64) {
    sidecar.until("restarted", |sidecar| {
        sidecar.engine()["generation"].as_u64().unwrap() > since
            && sidecar.get("/ready").status == 200
    });
}

#[test]
fn status_tells_everything_about_the_child() {
    let sidecar = Options::stub().start().ready();
    let status = sidecar.engine();
    let keys: Vec<&String> = status.as_object().unwrap().keys().collect();
    let expected = [
        "generation",
        "last_error",
        "memory",
        "pid",
        "port",
        "project_dir",
        "recycled",
        "restarts",
        "rss_bytes",
        "running",
        "sandbox",
        "state",
        "uptime_secs",
        "url",
        "version",
        "warm_up",
    ];
    assert_eq!(keys, expected);
    assert_eq!(status["running"], true);
    assert_eq!(status["state"], "ready");
    assert_eq!(
        status["url"],
        format!("http://127.0.0.1:{}", status["port"])
    );
    assert_eq!(status["version"], "1.18.33");
    assert!(status["rss_bytes"].as_u64().unwrap() > 100_000);
    assert_eq!(
        status["project_dir"],
        sidecar.workspace().to_string_lossy().as_ref()
    );
}

#[test]
fn a_killed_child_is_back_with_a_new_password() {
    let sidecar = Options::stub().start().ready();
    processes::kill(sidecar.engine_pid());
    restarted(&sidecar, 1);
    let status = sidecar.engine();
    assert_eq!(status["restarts"], 1);
    assert_eq!(status["last_error"], "it was killed by signal 9");
    let passwords = passwords(&sidecar);
    assert_eq!(passwords.iter().collect::<HashSet<_>>().len(), 2);
    assert!(
        passwords
            .iter()
            .all(|password| password.len() == 64 && !sidecar.log().contains(password))
    );
}

#[test]
fn a_soak_of_kills_leaves_no_process_no_zombie_and_no_descriptor() {
    let sidecar = Options::stub()
        .env("ENGINE_RESTART_BUDGET", "1000")
        .start()
        .ready();
    let rounds: u64 = option_env!("SOAK_ROUNDS").map_or(40, |rounds| rounds.parse().unwrap());
    processes::kill(sidecar.engine_pid());
    restarted(&sidecar, 1);
    let before = processes::open_files(sidecar.pid());
    for round in 2..=rounds {
        processes::kill(sidecar.engine_pid());
        restarted(&sidecar, round);
    }
    assert_eq!(sidecar.marked(), [sidecar.engine_pid()]);
    sidecar.until("reaped", |sidecar| {
        processes::zombies_of(sidecar.pid()) == 0
    });
    sidecar.until("closed", |sidecar| {
        processes::open_files(sidecar.pid()) <= before
    });
    let passwords = passwords(&sidecar);
    assert_eq!(
        passwords.iter().collect::<HashSet<_>>().len(),
        passwords.len()
    );
}

#[test]
fn a_child_that_is_killed_again_and_again_is_no_failed_engine() {
    let sidecar = Options::stub()
        .env("ENGINE_RESTART_BUDGET", "2")
        .env("ENGINE_BACKOFF_MIN", "10ms")
        .start()
        .ready();
    for round in 1..=8 {
        processes::kill(sidecar.engine_pid());
        sidecar.until("restarted", |sidecar| {
            let engine = sidecar.engine();
            assert_ne!(engine["state"], "failed", "{engine}");
            engine["generation"].as_u64().unwrap() > round && engine["state"] == "ready"
        });
    }
}

#[test]
fn a_child_that_stops_answering_is_recycled() {
    let sidecar = Options::stub()
        .env("ENGINE_PROBE_INTERVAL", "50ms")
        .env("ENGINE_PROBE_TIMEOUT", "100ms")
        .script(json!({ "hang_when": "wedged" }))
        .start()
        .ready();
    let wedge = sidecar.data_dir().join("wedged");
    fs::write(&wedge, "").unwrap();
    sidecar.until("noticed", |sidecar| sidecar.get("/ready").status == 503);
    fs::remove_file(&wedge).unwrap();
    restarted(&sidecar, 1);
    let error = sidecar.engine()["last_error"].as_str().unwrap().to_owned();
    assert!(error.starts_with("it stopped answering (3 health checks failed: could not ask for its health: no answer within 100 ms)"), "{error}");
}

#[test]
fn after_too_many_failures_readiness_tells_the_last_words() {
    let script = json!({ "exit": 137, "stderr": ["migrating", "database is locked"] });
    let sidecar = Options::stub()
        .env("ENGINE_RESTART_BUDGET", "3")
        .env("ENGINE_RETRY_INTERVAL", "42")
        .script(script)
        .start();
    let expected = "engine failed: it exited with status 137 before it was ready; its last words: migrating | database is locked; trying again in 4";
    sidecar.until("failed", |sidecar| {
        sidecar.get("/ready").error().starts_with(expected)
    });
    assert_eq!(sidecar.engine()["state"], "failed");
    assert_eq!(
        sidecar.engine()["generation"],
        4,
        "the first start and three restarts"
    );
    assert_eq!(sidecar.get("/healthz").status, 200);

    // A person who mended it need not wait.
    sidecar.script(&json!({}));
    let response = sidecar.post("/engine/start", "");
    assert_eq!(
        (response.status, response.json()["state"].as_str()),
        (200, Some("ready"))
    );
}

#[test]
fn while_it_waits_for_a_restart_readiness_says_until_when() {
    let sidecar = Options::stub()
        .env("ENGINE_BACKOFF_MIN", "20s")
        .env("ENGINE_BACKOFF_MAX", "30s")
        .script(json!({ "exit": 1 }))
        .start();
    sidecar.until("waiting", |sidecar| {
        let error = sidecar.get("/ready").error();
        error.starts_with("engine restarting (attempt 1, next in ") && error.ends_with(" s)")
    });
}

/// The stub answers nothing to a prompt.
#[test]
fn a_child_that_can_do_no_turn_is_a_start_that_failed() {
    let sidecar = Options::stub()
        .env("WARM_UP", "turn")
        .env("ENGINE_START_TIMEOUT", "1s")
        .env("ENGINE_BACKOFF_MIN", "20s")
        .env("ENGINE_BACKOFF_MAX", "30s")
        .start();
    let reason = "it is healthy, but was not warmed up within 1 s";
    sidecar.until("waiting", |sidecar| {
        let error = sidecar.get("/ready").error();
        error.starts_with("engine restarting (attempt 1, next in ") && error.ends_with(reason)
    });
    let engine = sidecar.engine();
    assert_eq!(
        (&engine["state"], &engine["last_error"]),
        (&json!("restarting"), &json!(reason))
    );
    assert_eq!(engine["warm_up"], json!(null));
    assert!(sidecar.marked().is_empty(), "it was ended");
}

#[test]
fn a_failed_engine_goes_on_trying_and_heals() {
    let sidecar = Options::stub()
        .env("ENGINE_RESTART_BUDGET", "1")
        .env("ENGINE_RETRY_INTERVAL", "100ms")
        .script(json!({ "exit": 1 }))
        .start();
    sidecar.until("failed", |sidecar| sidecar.engine()["state"] == "failed");
    sidecar.script(&json!({}));
    sidecar.ready();
}

#[test]
fn a_slow_start_with_garbage_on_stdout_is_fine() {
    let script = json!({ "garbage": 100_000, "delay_ms": 300, "stderr": ["warming up"] });
    let sidecar = Options::stub().script(script).start().ready();
    assert_eq!(sidecar.engine()["generation"], 1);
    assert!(
        sidecar.log().contains("warming up"),
        "what it says is in our log"
    );
}

#[test]
fn a_start_that_gets_nowhere_ends_at_its_deadline() {
    let cases = [
        (
            json!({ "silent": true }),
            "it did not say where it listens within 1 s",
        ),
        (
            json!({ "health_status": 500 }),
            "it listens, but was not healthy within 1 s: could not ask for its health: OpenCode answered 500",
        ),
    ];
    for (script, expected) in cases {
        let sidecar = Options::stub()
            .env("ENGINE_START_TIMEOUT", "1s")
            .script(script)
            .start();
        sidecar.until("given up", |sidecar| {
            sidecar.engine()["last_error"]
                .as_str()
                .is_some_and(|error| error.starts_with(expected))
        });
    }
}

#[test]
fn start_stop_and_restart_are_idempotent() {
    let sidecar = Options::stub().start().ready();
    let generation = |sidecar: &Sidecar| sidecar.engine()["generation"].as_u64().unwrap();

    assert_eq!(
        sidecar.post("/engine/start", "").json()["generation"],
        1,
        "it runs already"
    );
    for _ in 0..2 {
        let response = sidecar.post("/engine/stop", "");
        assert_eq!(
            (response.status, response.json()["state"].as_str()),
            (200, Some("stopped"))
        );
        assert_eq!(response.json()["running"], false);
    }
    assert_eq!(sidecar.get("/ready").error(), "engine stopped");
    assert!(sidecar.marked().is_empty());

    assert_eq!(sidecar.post("/engine/start", "{}").status, 200);
    assert_eq!(generation(&sidecar), 2);
    assert_eq!(sidecar.post("/engine/restart", "").json()["generation"], 3);
    assert_eq!(passwords(&sidecar).iter().collect::<HashSet<_>>().len(), 3);
}

#[test]
fn the_port_can_be_chosen_and_stays_for_later_restarts() {
    let sidecar = Options::stub().start().ready();
    let free = TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap()
        .port();
    let response = sidecar.post("/engine/restart", &json!({ "port": free }).to_string());
    assert_eq!(
        (response.status, response.json()["port"].as_u64()),
        (200, Some(free.into()))
    );
    processes::kill(sidecar.engine_pid());
    restarted(&sidecar, 2);
    assert_eq!(sidecar.engine()["port"], free);

    let response = sidecar.post("/engine/start", r#"{"port": 65000}"#);
    assert_eq!(response.status, 409);
    assert_eq!(
        response.error(),
        format!("the engine is running on port {free}; restart it to change the port")
    );
}

#[test]
fn a_port_that_no_child_may_use_is_refused_and_the_engine_stays_as_it_is() {
    let first = fs::read_to_string("/proc/sys/net/ipv4/ip_unprivileged_port_start").unwrap();
    let Ok(port @ 1..) = first
        .trim()
        .parse::<u16>()
        .map(|first| first.saturating_sub(1))
    else {
        // All may be used here.
        return;
    };
    let sidecar = Options::stub().start().ready();
    for path in ["/engine/restart", "/engine/start"] {
        let refused = sidecar.post(path, &json!({ "port": port }).to_string());
        assert_eq!(refused.status, 400, "{path}");
        assert_eq!(refused.json()["details"]["field"], "port", "{path}");
    }
    assert_eq!(sidecar.engine()["generation"], 1);
}

#[test]
fn a_port_that_is_taken_fails_the_restart_with_the_reason() {
    let sidecar = Options::stub().start().ready();
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port();
    let response = sidecar.post("/engine/restart", &json!({ "port": port }).to_string());
    assert_eq!(response.status, 503);
    let error = response.error();
    assert!(
        error.contains("cannot listen: Address already in use"),
        "{error}"
    );
    assert_eq!(response.json()["code"], "engine_unavailable");
    drop(taken);
    sidecar.ready();
}

#[test]
fn a_contradicting_operation_is_refused_and_one_that_wants_the_same_is_joined() {
    let sidecar = Options::stub().start().ready();
    sidecar.script(&json!({ "delay_ms": 1500 }));
    std::thread::scope(|scope| {
        let restarts: Vec<_> = (0..3)
            .map(|_| scope.spawn(|| sidecar.post("/engine/restart", "")))
            .collect();
        sidecar.until("restarting", |sidecar| sidecar.engine()["generation"] == 2);
        let response = sidecar.post("/engine/restart", r#"{"port": 65000}"#);
        assert_eq!(response.status, 409);
        assert_eq!(
            response.error(),
            "a restart of the engine is in progress; try again when it is done"
        );
        assert_eq!(response.json()["code"], "conflict");
        let joined = sidecar.post("/engine/start", "");
        assert_eq!(
            (joined.status, joined.json()["generation"].as_u64()),
            (200, Some(2))
        );
        for restart in restarts {
            assert_eq!(restart.join().unwrap().status, 200);
        }
    });
    assert_eq!(
        sidecar.engine()["generation"],
        2,
        "three wishes, one restart"
    );
}

#[test]
fn a_hundred_wishes_at_once_leave_one_child() {
    let sidecar = Options::stub().start().ready();
    std::thread::scope(|scope| {
        for n in 0..100 {
            let path = ["/engine/start", "/engine/stop", "/engine/restart"][n % 3];
            let sidecar = &sidecar;
            scope.spawn(move || {
                let response = sidecar.post(path, "");
                assert!(
                    matches!(response.status, 200 | 202 | 409 | 503),
                    "{response:?}"
                );
            });
        }
    });
    assert_eq!(sidecar.post("/engine/start", "").status, 200);
    assert_eq!(sidecar.marked(), [sidecar.engine_pid()]);
}

#[test]
fn a_stop_is_never_refused_because_a_start_waits() {
    let options = Options::stub();
    fs::remove_dir(options.dir.path().join("workspace")).unwrap();
    let sidecar = options.start();
    sidecar.until("up", |sidecar| sidecar.engine()["running"] == true);
    std::thread::scope(|scope| {
        let waiting = scope.spawn(|| sidecar.post("/engine/restart", ""));
        sidecar.until("restarting", |sidecar| {
            let status = sidecar.engine();
            status["generation"] == 2 && status["running"] == true
        });
        let response = sidecar.post("/engine/stop", "");
        assert_eq!(
            (response.status, response.json()["state"].as_str()),
            (200, Some("stopped"))
        );
        assert_eq!(waiting.join().unwrap().status, 503, "it was not to be");
    });
    assert!(sidecar.marked().is_empty());
    fs::create_dir(sidecar.workspace()).unwrap();
    assert_eq!(sidecar.post("/engine/start", "").status, 200);
}

#[test]
fn a_start_with_a_port_during_a_start_gets_its_port() {
    let sidecar = Options::stub().script(json!({ "delay_ms": 700 })).start();
    sidecar.until("up", |sidecar| sidecar.engine()["running"] == true);
    let free = TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap()
        .port();
    let response = sidecar.post("/engine/start", &json!({ "port": free }).to_string());
    assert_eq!(
        (response.status, response.json()["port"].as_u64()),
        (200, Some(free.into()))
    );
    for any in ["", r#"{"port": 0}"#] {
        let response = sidecar.post("/engine/start", any);
        assert_eq!(
            (response.status, response.json()["port"].as_u64()),
            (200, Some(free.into())),
            "any port will do"
        );
    }
    let response = sidecar.post("/engine/start", "[4096]");
    assert_eq!(response.status, 400);
    assert_eq!(
        response.error(),
        "the body is not the JSON expected: it is a list, and should be an object"
    );
}

#[test]
fn a_mount_that_comes_late_does_not_cost_the_start_its_time() {
    let options = Options::stub().env("ENGINE_START_TIMEOUT", "1s");
    let workspace = options.dir.path().join("workspace");
    fs::remove_dir(&workspace).unwrap();
    let sidecar = options.start();
    sidecar.until("past the deadline", |sidecar| {
        sidecar.engine()["uptime_secs"]
            .as_u64()
            .is_some_and(|secs| secs >= 2)
    });
    fs::create_dir(&workspace).unwrap();
    assert_eq!(sidecar.ready().engine()["generation"], 1);
}

#[test]
fn a_failed_engine_says_why_also_while_it_tries_again() {
    let sidecar = Options::stub()
        .env("ENGINE_RESTART_BUDGET", "1")
        .env("ENGINE_RESTART_WINDOW", "200ms")
        .env("ENGINE_RETRY_INTERVAL", "400ms")
        .script(json!({ "exit": 1, "stderr": ["broken"] }))
        .start();
    sidecar.until("failed", |sidecar| sidecar.engine()["state"] == "failed");
    // Well past the window, and through several tries.
    sidecar.until("tried again", |sidecar| {
        let error = sidecar.get("/ready").error();
        let reason =
            "engine failed: it exited with status 1 before it was ready; its last words: broken";
        assert!(error.starts_with(reason), "{error}");
        sidecar.engine()["generation"].as_u64().unwrap() >= 5
    });
    sidecar.script(&json!({ "silent": true }));
    sidecar.until("trying", |sidecar| {
        sidecar
            .get("/ready")
            .error()
            .ends_with("; trying again now")
    });
}

#[test]
fn the_child_finds_what_it_needs_and_nothing_else() {
    let sidecar = Options::stub()
        .env("AWS_SECRET_ACCESS_KEY", "x")
        .env("LANG", "C.UTF-8")
        .start()
        .ready();
    assert_eq!(sidecar.post("/engine/stop", "").status, 200);
    let found = fs::read_to_string(sidecar.data_dir().join("stub.found")).unwrap();
    let names: Vec<&str> = found
        .lines()
        .filter_map(|line| line.strip_prefix("env "))
        .map(|pair| pair.split('=').next().unwrap())
        .collect();
    let expected = [
        "BUN_INSPECT_PRELOAD",
        "HOME",
        "LANG",
        "OPENCODE_DISABLE_AUTOUPDATE",
        "OPENCODE_DISABLE_CLAUDE_CODE",
        "OPENCODE_DISABLE_DEFAULT_PLUGINS",
        "OPENCODE_DISABLE_EXTERNAL_SKILLS",
        "OPENCODE_DISABLE_LSP_DOWNLOAD",
        "OPENCODE_DISABLE_MODELS_FETCH",
        "OPENCODE_DISABLE_PROJECT_CONFIG",
        "OPENCODE_DISABLE_SHARE",
        "OPENCODE_MODELS_PATH",
        "PATH",
        "SIDECAR_CHILD_OF",
        "TMPDIR",
        "XDG_CACHE_HOME",
        "XDG_CONFIG_HOME",
        "XDG_DATA_HOME",
        "XDG_STATE_HOME",
    ];
    assert_eq!(names, expected, "{found}");
    let models = found
        .lines()
        .find_map(|line| line.strip_prefix("env OPENCODE_MODELS_PATH="));
    assert_eq!(fs::read_to_string(models.unwrap()).unwrap(), "{}");
    let has = |line: &str| assert!(found.lines().any(|found| found == line), "{line}\n{found}");
    for switch in expected.iter().filter(|name| name.contains("DISABLE")) {
        has(&format!("env {switch}=1"));
    }
    has("Umask: 0022");
    has("oom 500");
    has("limit Max core file size 0 0 bytes");
    for file in ["package.json", "package-lock.json", "node_modules"] {
        has(&format!("seeded {file}"));
    }
    // The warm-up, and the first rung of the ladder.
    has("asked POST /session");
    has("asked DELETE /session/ses_stub");
    has("asked POST /global/dispose");
}

#[test]
fn a_binary_that_does_not_ask_for_its_secrets_is_ended_without_them() {
    let sidecar = Options::stub()
        .env("ENGINE_RESTART_BUDGET", "1")
        // So that no start comes between ours and the change of the script.
        .env("ENGINE_BACKOFF_MIN", "20s")
        .env("ENGINE_BACKOFF_MAX", "30s")
        .script(json!({ "takes_no_secrets": true }))
        .start();
    let reason =
        "it listens without having asked for its secrets: this binary is not OpenCode 1.18.33";
    sidecar.until("refused", |sidecar| {
        sidecar.engine()["last_error"] == reason
    });
    sidecar.script(&json!({}));
    assert_eq!(sidecar.post("/engine/restart", "").status, 200);
    let passwords = passwords(&sidecar);
    assert_eq!(passwords.iter().filter(|word| !word.is_empty()).count(), 1);
}

/// Lets a tool start them, and replaces the child.
fn assert_ends_what_replaces_itself(start: impl FnOnce(Options) -> Sidecar) {
    let name = format!("self-replacing-{}", std::process::id());
    // Without a secret the owner of each connection is looked for among all processes, which takes long here.
    let mut sidecar = start(Options::stub().env("OPENCODE_SHARED_SECRET", "secret"));
    sidecar.token = Some("secret".into());
    let sidecar = sidecar.ready();
    let script = sidecar.workspace().join("hostile.pl");
    fs::write(&script, processes::SELF_REPLACING).unwrap();
    let tool = format!("perl {} {name}", script.display());
    sidecar.script(&json!({ "tools": [tool] }));
    assert_eq!(sidecar.post("/engine/restart", "").status, 200);
    sidecar.until("hostile", |_| processes::running(&name).len() >= 6);
    sidecar.script(&json!({}));
    assert_eq!(sidecar.post("/engine/restart", "").status, 200);
    assert!(processes::running(&name).is_empty());
    assert_eq!(sidecar.marked().len(), 1, "the child");
}

#[test]
fn processes_that_replace_themselves_are_ended_before_the_next_child_starts() {
    assert_ends_what_replaces_itself(Options::start);
}

#[test]
fn as_process_1_too_it_ends_processes_that_replace_themselves() {
    if !rustix::process::geteuid().is_root() {
        crate::support::skipped("only root may make the process namespace this needs");
        return;
    }
    assert_ends_what_replaces_itself(|options| {
        let namespace = "exec unshare -p -f --mount-proc --kill-child \"$0\"";
        let mut command = wrapped(&options, namespace);
        command.arg(SIDECAR);
        options.start_as(command)
    });
}

#[test]
fn limits_of_open_files_are_raised_for_the_sidecar_and_its_child() {
    let options = Options::stub();
    let mut command = wrapped(&options, "ulimit -Sn 300; ulimit -Hn 5000; exec \"$0\"");
    command.arg(SIDECAR);
    let sidecar = options.start_as(command).ready();
    for pid in [sidecar.pid().to_string(), sidecar.engine_pid().to_string()] {
        let limits = fs::read_to_string(format!("/proc/{pid}/limits")).unwrap();
        let files = limits
            .lines()
            .find(|line| line.starts_with("Max open files"))
            .unwrap();
        let words: Vec<&str> = files.split_whitespace().collect();
        assert_eq!(words[3..5], ["5000", "5000"]);
    }
}

#[test]
fn a_child_that_will_not_leave_is_killed() {
    let sidecar = Options::stub()
        .env("ENGINE_STOP_TIMEOUT", "300ms")
        .script(json!({ "stubborn": true }))
        .start()
        .ready();
    let pid = sidecar.engine_pid();
    assert_eq!(sidecar.post("/engine/stop", "").status, 200);
    assert!(!processes::alive(pid));
    assert!(
        sidecar
            .log()
            .contains("the engine did not leave when asked; killing it")
    );
}
