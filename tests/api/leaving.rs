//! How the sidecar goes: asked, asked twice, or killed. Nothing of it stays behind.

use std::io::Write as _;
use std::net::TcpStream;
use std::time::{Duration, Instant};

use rustix::process::Signal;
use serde_json::json;

use crate::support::{Options, Sidecar, processes};

/// A tool with a child in the background and one in a session of its own.
const TOOL: &str = "sleep 1000 & setsid sleep 1000 & wait";

fn with_tools() -> Sidecar {
    let sidecar = Options::stub()
        .script(json!({ "tools": [TOOL] }))
        .start()
        .ready();
    // The stub, the tool's shell and its two children.
    sidecar.until("busy", |sidecar| sidecar.marked().len() == 4);
    sidecar
}

#[test]
fn sigterm_and_sigint_end_everything_and_exit_with_zero() {
    for signal in [Signal::TERM, Signal::INT] {
        let mut sidecar = with_tools();
        sidecar.signal(signal);
        assert_eq!(sidecar.exit().code(), Some(0));
        assert_eq!(sidecar.marked(), [0_i32; 0]);
        assert!(
            sidecar
                .log()
                .contains("killed processes that outlived the engine"),
            "{}",
            sidecar.log()
        );
    }
}

#[test]
fn stopping_the_engine_ends_what_its_tools_left_behind() {
    let sidecar = with_tools();
    assert_eq!(sidecar.post("/engine/stop", "").status, 200);
    assert_eq!(sidecar.marked(), [0_i32; 0]);
}

#[test]
fn a_killed_engine_leaves_no_tools() {
    let sidecar = with_tools();
    sidecar.script(&json!({}));
    processes::kill(sidecar.engine_pid());
    sidecar.until("back", |sidecar| {
        sidecar.engine()["generation"] == 2 && sidecar.get("/ready").status == 200
    });
    assert_eq!(sidecar.marked(), [sidecar.engine_pid()]);
}

#[test]
fn a_killed_sidecar_takes_its_child_with_it_and_the_next_one_sweeps_the_rest() {
    let sidecar = with_tools();
    let engine = sidecar.engine_pid();
    sidecar.signal(Signal::KILL);
    let data = sidecar.data_dir();
    let deadline = Instant::now() + Duration::from_secs(10);
    while processes::alive(engine) {
        assert!(
            Instant::now() < deadline,
            "the child outlived a killed sidecar"
        );
        std::thread::sleep(Duration::from_millis(5));
    }
    std::fs::write(data.join("stub.json"), "{}").unwrap();
    let next = sidecar.again().ready();
    assert_eq!(next.marked(), [next.engine_pid()]);
}

#[test]
fn while_draining_readiness_is_off_and_liveness_is_on() {
    let mut sidecar = Options::stub()
        .env("ENGINE_STOP_TIMEOUT", "1s")
        .script(json!({ "stubborn": true }))
        .start()
        .ready();
    sidecar.signal(Signal::TERM);
    sidecar.until("draining", |sidecar| sidecar.get("/ready").status == 503);
    assert_eq!(sidecar.get("/ready").error(), "draining");
    assert_eq!(sidecar.get("/healthz").status, 200);
    let refused = sidecar.post("/engine/start", "");
    assert_eq!(refused.status, 503);
    assert_eq!(refused.error(), "the sidecar is shutting down");
    assert_eq!(refused.json()["code"], "shutting_down");
    assert_eq!(sidecar.exit().code(), Some(0));
}

#[test]
fn a_second_signal_kills_the_engine_at_once() {
    let mut sidecar = Options::stub()
        .env("ENGINE_STOP_TIMEOUT", "30s")
        .script(json!({ "stubborn": true }))
        .start()
        .ready();
    sidecar.signal(Signal::TERM);
    sidecar.until("draining", |sidecar| sidecar.get("/ready").status == 503);
    sidecar.signal(Signal::TERM);
    assert_eq!(sidecar.exit().code(), Some(0));
    assert!(
        sidecar
            .log()
            .contains("second signal: not waiting any longer")
    );
    assert_eq!(sidecar.marked(), [0_i32; 0]);
}

#[test]
fn the_drain_deadline_ends_an_engine_that_has_longer() {
    let options = Options::stub()
        .env("ENGINE_STOP_TIMEOUT", "1h")
        .env("DRAIN_TIMEOUT", "3s");
    let mut sidecar = options.script(json!({ "stubborn": true })).start().ready();
    sidecar.signal(Signal::TERM);
    assert_eq!(sidecar.exit().code(), Some(0));
    assert!(sidecar.log().contains("the drain deadline is near"));
}

#[test]
fn an_open_connection_does_not_hold_up_the_exit() {
    let mut sidecar = Options::stub().start().ready();
    let idle = TcpStream::connect(sidecar.address).unwrap();
    let mut half = TcpStream::connect(sidecar.address).unwrap();
    half.write_all(b"POST /engine/start HTTP/1.1\r\ncontent-length: 10\r\n\r\n{")
        .unwrap();
    sidecar.signal(Signal::TERM);
    assert_eq!(sidecar.exit().code(), Some(0));
    drop((idle, half));
}

#[test]
fn it_leaves_in_the_middle_of_a_start() {
    let mut sidecar = Options::stub()
        .script(json!({ "delay_ms": 60_000 }))
        .start();
    sidecar.until("spawned", |sidecar| sidecar.engine()["running"] == true);
    sidecar.signal(Signal::TERM);
    assert_eq!(sidecar.exit().code(), Some(0));
    assert_eq!(sidecar.marked(), [0_i32; 0]);
}
