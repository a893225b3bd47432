//! The memory guard, with a scripted engine that eats on request.

use serde_json::{Value, json};

use crate::support::http::Response;
use crate::support::{Options, Sidecar, runbook};

/// What the engine may use, in MiB: 85 % are 340, 95 % are 380, 98 % are 392. The stub alone uses about 3.
const LIMIT: &str = "400Mi";
const HIGH: usize = 350;
const CRITICAL: usize = 382;
const EXTREME: usize = 398;

fn hungry() -> Options {
    Options::stub()
        .env("ENGINE_MEMORY_LIMIT", LIMIT)
        .env("ENGINE_RESTART_BUDGET", "1")
        // A turn of the stub has no end, and the sidecar would wait for it.
        .env("DRAIN_TIMEOUT", "2s")
        .script(json!({ "hungry": true }))
}

fn eat(sidecar: &Sidecar, megabytes: usize) {
    // Whole or not at all: the stub may look at any moment.
    let file = sidecar.data_dir().join("eat.new");
    std::fs::write(&file, megabytes.to_string()).unwrap();
    std::fs::rename(file, sidecar.data_dir().join("eat")).unwrap();
}

fn create(sidecar: &Sidecar, id: &str) -> Response {
    let body = json!({
        "session_id": id, "prompt": "please",
        "model_config": { "provider": "local", "model": "m" },
    });
    sidecar.post("/sessions", &body.to_string())
}

fn feels(sidecar: &Sidecar, pressure: &str) {
    sidecar.until(pressure, |sidecar| {
        sidecar.engine()["memory"]["pressure"] == pressure
    });
}

/// Waits until the child of this generation is ready, and the sidecar knows that it uses little.
fn recycled(sidecar: &Sidecar, generation: u64) -> Value {
    sidecar.until("recycled", |sidecar| {
        let engine = sidecar.engine();
        engine["generation"] == generation && engine["state"] == "ready"
    });
    let engine = sidecar.engine();
    assert_eq!(engine["recycled"], generation - 1, "{engine}");
    let reason = engine["last_error"].as_str().unwrap();
    assert!(
        reason.starts_with("it was recycled because memory is short: "),
        "{reason}"
    );
    assert!(reason.ends_with(" of 400 MiB are used"), "{reason}");
    engine
}

#[test]
fn an_idle_engine_is_recycled_as_often_as_it_helps_and_no_crash_is_counted() {
    let sidecar = hungry().start().ready();
    for generation in 2..=3 {
        eat(&sidecar, EXTREME);
        recycled(&sidecar, generation);
        feels(&sidecar, "normal");
    }
    let log = sidecar.log();
    assert_eq!(
        log.matches("memory is short: recycling the engine").count(),
        2
    );
    assert!(!log.contains("the engine failed"), "{log}");
    assert_eq!(create(&sidecar, "after").status, 201);
    let metrics = sidecar.get("/metrics").body;
    for line in [
        "sidecar_engine_recycled_total 2",
        "sidecar_engine_memory_limit_bytes 419430400",
    ] {
        assert!(metrics.lines().any(|other| other == line), "{metrics}");
    }
}

#[test]
fn while_memory_is_short_new_sessions_wait_and_running_ones_go_on() {
    let sidecar = hungry().env("ENGINE_WAIT", "1s").start().ready();
    assert_eq!(create(&sidecar, "first").status, 201);
    eat(&sidecar, HIGH);
    feels(&sidecar, "high");
    // The level is told as soon as it is reached, which may be before all of it is taken.
    sidecar.until("taken", |sidecar| {
        sidecar.engine()["memory"]["used_bytes"].as_u64() >= Some(350 << 20)
    });
    let memory = sidecar.engine()["memory"].clone();
    assert_eq!(memory["source"], "process_tree");
    assert_eq!(memory["limit_bytes"], 400 << 20);

    let refused = std::thread::scope(|scope| {
        let creating = scope.spawn(|| create(&sidecar, "second"));
        sidecar.until("diagnosed", |_| {
            let found = sidecar.get("/sessions/second/diagnosis").json();
            let sentence = found["sentence"].as_str().unwrap_or_default();
            let short = found["cause"] == "memory_pressure";
            short.then(|| runbook::assert_has("memory_pressure", sentence));
            short
        });
        creating.join().unwrap()
    });
    assert_eq!(refused.status, 503, "{refused:?}");
    assert_eq!(refused.json()["code"], "engine_unavailable");
    assert!(refused.header("retry-after").is_some());
    let error = refused.error();
    assert!(error.starts_with("memory is short: "), "{error}");
    assert!(
        error.ends_with(" of 400 MiB are used; try again later, or raise ENGINE_MEMORY_LIMIT"),
        "{error}"
    );
    assert_eq!(sidecar.get("/sessions/second/status").status, 404);
    let first = sidecar.get("/sessions/first/status").json();
    assert_eq!(first["status"], "running");
    assert_eq!(sidecar.engine()["generation"], 1);
}

#[test]
fn an_idle_engine_makes_room_for_who_waits() {
    let sidecar = hungry().start().ready();
    eat(&sidecar, HIGH);
    feels(&sidecar, "high");
    assert_eq!(sidecar.engine()["generation"], 1, "nobody waits");
    let answer = create(&sidecar, "patient");
    assert_eq!(answer.status, 201, "{answer:?}");
    recycled(&sidecar, 2);
}

#[test]
fn a_busy_engine_is_recycled_when_its_last_turn_has_ended() {
    let sidecar = hungry().start().ready();
    assert_eq!(create(&sidecar, "last").status, 201);
    eat(&sidecar, CRITICAL);
    feels(&sidecar, "critical");
    assert_eq!(sidecar.engine()["generation"], 1);
    let stopped = sidecar.post("/sessions/last/stop", "");
    assert_eq!(stopped.json()["status"], "cancelled", "it was not cut");
    recycled(&sidecar, 2);
}

#[test]
fn a_busy_engine_is_recycled_at_once_before_the_kernel_kills_it() {
    // One that would not leave for long, were it asked.
    let sidecar = hungry()
        .env("ENGINE_STOP_TIMEOUT", "1h")
        .script(json!({ "hungry": true, "stubborn": true }))
        .start()
        .ready();
    assert_eq!(create(&sidecar, "busy").status, 201);
    eat(&sidecar, EXTREME);
    recycled(&sidecar, 2);
    feels(&sidecar, "normal");
    assert_eq!(create(&sidecar, "next").status, 201);
}

#[test]
fn recycling_that_does_not_help_is_not_repeated_and_the_log_says_so() {
    let sidecar = Options::stub()
        .env("ENGINE_MEMORY_LIMIT", LIMIT)
        .env("ENGINE_WAIT", "300ms")
        .script(json!({ "eat_mb": EXTREME }))
        .start();
    let words = "recycling the engine did not help for long";
    sidecar.until("said", |sidecar| sidecar.log().contains(words));
    recycled(&sidecar, 2);
    let refused = create(&sidecar, "one");
    assert_eq!(refused.status, 503, "{refused:?}");
    assert!(refused.error().starts_with("memory is short: "));
    assert_eq!(sidecar.engine()["generation"], 2);
    assert_eq!(
        sidecar.log().matches(words).count(),
        1,
        "once, not at each look"
    );
}
