//! How the sidecar goes: asked, asked twice, or killed. Nothing of it stays behind.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::process::{Command, Output};
use std::time::{Duration, Instant};

use rustix::process::Signal;
use serde_json::json;

use crate::support::http::Response;
use crate::support::{Options, SIDECAR, Sidecar, http, processes, wrapped};

/// A tool with a child in the background and one in a session of its own.
const TOOL: &str = "sleep 1000 & setsid sleep 1000 & wait";

fn with_tools() -> Sidecar {
    let sidecar = Options::stub()
        .script(json!({ "tools": [TOOL] }))
        .start()
        .ready();
    // The stub, the tool's shell and its two children. `setsid` is done when it has become `sleep`: before that its
    // process ends with the group of the engine, and nothing outlives it.
    sidecar.until("busy", |sidecar| {
        let marked = sidecar.marked();
        let is_sleep = |pid: &&i32| {
            let pid = pid.unsigned_abs();
            processes::name(pid).as_deref() == Some("sleep")
        };
        let sleeps = marked.iter().filter(is_sleep);
        marked.len() == 4 && sleeps.count() == 2
    });
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
    let start = Instant::now();
    sidecar.signal(Signal::TERM);
    assert_eq!(sidecar.exit().code(), Some(0));
    assert!(
        start.elapsed() < Duration::from_secs(8),
        "not the 25 s of the drain"
    );
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
    let start = Instant::now();
    sidecar.signal(Signal::TERM);
    assert_eq!(sidecar.exit().code(), Some(0));
    assert!(
        start.elapsed() < Duration::from_secs(4),
        "{:?}",
        start.elapsed()
    );
    assert!(sidecar.log().contains("the drain deadline is near"));
}

/// A mount point whose first visitor waits for an automounter that never comes: the preparation of
/// the child's directories hangs in the kernel on it.
#[test]
fn a_disk_that_hangs_does_not_hold_up_the_exit() {
    if !rustix::process::geteuid().is_root() {
        crate::support::skipped("only root may mount what hangs");
        return;
    }
    let options = Options::stub().env("DRAIN_TIMEOUT", "4s");
    let trap = options.dir.path().join("data/engine/tmp");
    std::fs::create_dir_all(&trap).unwrap();
    let script = format!(
        "mount --make-rprivate / && mkfifo {0} && exec 7<>{0} && \
         mount -t autofs -o fd=7,pgrp=1,minproto=5,maxproto=5,direct trap {1} && exec {SIDECAR}",
        options.dir.path().join("pipe").display(),
        trap.display(),
    );
    let mut command = wrapped(&options, "exec unshare --mount sh -c \"$0\"");
    command.arg(script);
    let mut sidecar = options.start_as(command);
    sidecar.until("up", |sidecar| sidecar.get("/healthz").status == 200);
    let hung = |sidecar: &Sidecar| {
        std::fs::read_dir(format!("/proc/{}/task", sidecar.pid()))
            .unwrap()
            .filter_map(|task| std::fs::read_to_string(task.ok()?.path().join("wchan")).ok())
            .any(|place| place.contains("autofs"))
    };
    sidecar.until("hung", hung);
    let start = Instant::now();
    sidecar.signal(Signal::TERM);
    assert_eq!(sidecar.exit().code(), Some(0));
    assert!(
        start.elapsed() < Duration::from_secs(5),
        "{:?}",
        start.elapsed()
    );
}

#[test]
fn a_signal_right_after_the_announcement_is_heard() {
    for _ in 0..5 {
        let mut sidecar = Options::stub().start();
        sidecar.signal(Signal::TERM);
        assert_eq!(sidecar.exit().code(), Some(0));
    }
}

#[test]
fn a_stderr_that_nobody_reads_stops_nothing() {
    let options = Options::stub().env("LOG_LEVEL", "trace");
    let mut process = options.command().spawn().unwrap();
    let mut line = String::new();
    BufReader::new(process.stdout.take().unwrap())
        .read_line(&mut line)
        .unwrap();
    let port: serde_json::Value = serde_json::from_str(&line).unwrap();
    let port = u16::try_from(port["port"].as_u64().unwrap()).unwrap();
    let get = |path: &str| http::send(([127, 0, 0, 1], port).into(), "GET", path, &[], b"");
    // A pipe takes 64 KiB and the queue 4096 lines; each of these is a line of more than 200 bytes.
    for _ in 0..5000 {
        assert_eq!(get("/nope").unwrap().status, 404);
    }
    assert_eq!(get("/healthz").unwrap().status, 200);
    let pid = rustix::process::Pid::from_child(&process);
    rustix::process::kill_process(pid, Signal::TERM).unwrap();
    let deadline = Instant::now() + Duration::from_secs(20);
    let status = loop {
        if let Some(status) = process.try_wait().unwrap() {
            break status;
        }
        assert!(Instant::now() < deadline, "it does not leave");
        std::thread::sleep(Duration::from_millis(5));
    };
    assert_eq!(status.code(), Some(0));
    let mut log = Vec::new();
    process
        .stderr
        .take()
        .unwrap()
        .read_to_end(&mut log)
        .unwrap();
    assert!(log.len() >= 60_000, "the pipe was full: {}", log.len());
}

#[test]
fn what_the_entry_point_started_is_not_ours_to_end() {
    let options = Options::stub();
    let pids = options.dir.path().join("pid");
    let script = format!("sleep 1000 & echo $! > {}; exec {SIDECAR}", pids.display());
    let command = wrapped(&options, &script);
    let mut sidecar = options.start_as(command).ready();
    let guest: i32 = std::fs::read_to_string(pids)
        .unwrap()
        .trim()
        .parse()
        .unwrap();
    assert_eq!(sidecar.post("/engine/restart", "").status, 200);
    assert!(processes::alive(guest), "through sweeps");
    sidecar.signal(Signal::TERM);
    assert_eq!(sidecar.exit().code(), Some(0));
    let lived = processes::alive(guest);
    processes::kill(guest);
    assert!(lived, "and the end");
}

#[test]
fn a_tool_with_a_name_of_any_bytes_is_swept() {
    let tool = "cp /bin/sleep $'./\\xff\\xfe' && exec $'./\\xff\\xfe' 1000";
    let sidecar = Options::stub()
        .script(json!({ "tools": [tool] }))
        .start()
        .ready();
    let odd = |pid: &i32| {
        std::fs::read(format!("/proc/{pid}/comm")).is_ok_and(|comm| comm.starts_with(b"\xff\xfe"))
    };
    sidecar.until("busy", |sidecar| sidecar.marked().iter().any(odd));
    assert_eq!(sidecar.post("/engine/stop", "").status, 200);
    assert_eq!(sidecar.marked(), [0_i32; 0]);
}

#[test]
fn as_pid_1_it_collects_what_loses_its_parent() {
    if !rustix::process::geteuid().is_root() {
        crate::support::skipped("only root may make the process namespace this needs");
        return;
    }
    let tool = "for n in 1 2 3; do (setsid sleep 0.2 &); done";
    let options = Options::stub().script(json!({ "tools": [tool] }));
    let mut command = wrapped(
        &options,
        "exec unshare -p -f --mount-proc --kill-child \"$0\"",
    );
    command.arg(SIDECAR);
    let mut sidecar = options.start_as(command).ready();
    let pid = sidecar.pid();
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let inner = status
        .lines()
        .find(|line| line.starts_with("NSpid:"))
        .unwrap();
    assert!(inner.ends_with("\t1"), "{inner}");
    sidecar.until("all collected", |sidecar| {
        processes::zombies_of(pid) == 0 && sidecar.marked().len() == 1
    });
    sidecar.signal(Signal::TERM);
    assert_eq!(sidecar.exit().code(), Some(0));
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

/// A session of the stub, whose turn runs until it is ended.
fn begin(sidecar: &Sidecar, id: &str) {
    let body = json!({
        "session_id": id, "prompt": "please",
        "model_config": { "provider": "local", "model": "m" },
    });
    let answer = sidecar.post("/sessions", &body.to_string());
    assert_eq!(answer.status, 201, "{answer:?}");
}

fn draining(sidecar: &Sidecar) {
    sidecar.until("draining", |sidecar| sidecar.get("/ready").status == 503);
}

fn assert_drained(answer: &Response, interrupted: u64) {
    assert_eq!(answer.status, 200, "{answer:?}");
    let body = answer.json();
    assert_eq!(body["status"], "drained");
    assert_eq!(body["sessions_interrupted"], interrupted);
    assert!(body["waited_ms"].is_u64());
}

#[test]
fn a_drain_without_turns_is_answered_and_the_process_leaves() {
    let mut sidecar = Options::stub().start().ready();
    assert_drained(&sidecar.post("/drain", ""), 0);
    assert_eq!(sidecar.exit().code(), Some(0));
    assert_eq!(sidecar.marked(), [0_i32; 0]);
    let asked = std::fs::read_to_string(sidecar.data_dir().join("stub.found")).unwrap();
    assert!(asked.contains("asked POST /global/dispose"));
}

/// Two ask, and a signal comes while they wait: all of it is one drain, and a turn that ends by itself
/// is none that was interrupted.
#[test]
fn a_drain_waits_for_turns_and_a_second_one_and_a_signal_join_it() {
    let mut sidecar = Options::stub().start().ready();
    begin(&sidecar, "last");
    let answers: Vec<Response> = std::thread::scope(|scope| {
        let asks = [(); 2].map(|()| scope.spawn(|| sidecar.post("/drain", "")));
        draining(&sidecar);
        assert_eq!(sidecar.get("/ready").error(), "draining");
        assert_eq!(sidecar.get("/healthz").status, 200);
        let refused = sidecar.post("/engine/start", "");
        assert_eq!(refused.json()["code"], "shutting_down");
        sidecar.signal(Signal::TERM);
        sidecar.until("heard", |sidecar| sidecar.log().contains("it goes on"));
        assert_eq!(
            sidecar.get("/sessions/last/status").json()["status"],
            "running",
            "neither the drain nor the signal ended it"
        );
        assert!(asks.iter().all(|ask| !ask.is_finished()));
        assert_eq!(sidecar.post("/sessions/last/stop", "").status, 200);
        asks.map(|ask| ask.join().unwrap()).into()
    });
    for answer in &answers {
        assert_drained(answer, 0);
    }
    assert_eq!(sidecar.exit().code(), Some(0));
    assert!(!sidecar.log().contains("not waiting any longer"));
}

#[test]
fn a_turn_that_does_not_finish_is_interrupted_and_its_reader_is_told_when_to_come_back() {
    let mut sidecar = Options::stub().env("DRAIN_TIMEOUT", "9s").start().ready();
    begin(&sidecar, "endless");
    let (drained, stream) = std::thread::scope(|scope| {
        let stream = scope.spawn(|| sidecar.get("/sessions/endless/stream"));
        let drain = scope.spawn(|| sidecar.post("/drain", ""));
        (drain.join().unwrap(), stream.join().unwrap())
    });
    assert_drained(&drained, 1);
    let end = stream.body.rsplit("event: error").next().unwrap();
    assert!(end.contains("\"code\":\"shutting_down\""), "{end}");
    assert!(end.contains("\"resumable\":true"), "{end}");
    let retry = end.rsplit("retry: ").next().unwrap();
    let retry: u64 = retry.lines().next().unwrap().trim().parse().unwrap();
    assert!((2000..=10_000).contains(&retry), "{end}");
    assert_eq!(sidecar.exit().code(), Some(0));
}

#[test]
fn a_second_signal_ends_the_wait_of_a_drain() {
    let mut sidecar = Options::stub().start().ready();
    begin(&sidecar, "endless");
    std::thread::scope(|scope| {
        let ask = scope.spawn(|| sidecar.post("/drain", ""));
        draining(&sidecar);
        sidecar.signal(Signal::TERM);
        sidecar.until("heard", |sidecar| sidecar.log().contains("it goes on"));
        sidecar.signal(Signal::TERM);
        assert_drained(&ask.join().unwrap(), 1);
    });
    assert_eq!(sidecar.exit().code(), Some(0));
    assert!(sidecar.log().contains("second signal"));
}

#[test]
fn a_drain_needs_the_token() {
    let sidecar = Options::stub()
        .env("OPENCODE_SHARED_SECRET", "s3cret")
        .start()
        .ready();
    assert_eq!(sidecar.post("/drain", "").status, 401);
    assert_eq!(sidecar.get("/ready").status, 200);
}

/// Runs the command as a preStop hook would: with the environment of the container.
fn drain(address: SocketAddr, environment: &[(&str, &str)]) -> Output {
    Command::new(SIDECAR)
        .arg("drain")
        .env_clear()
        .env("HOST", "127.0.0.1")
        .env("PORT", address.port().to_string())
        .envs(environment.iter().copied())
        .output()
        .unwrap()
}

/// The command failed, and this is its one sentence.
fn complaint(output: &Output) -> String {
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    let text = String::from_utf8(output.stderr.clone()).unwrap();
    assert_eq!(text.lines().count(), 1, "{text}");
    text
}

#[test]
fn the_command_drains_with_the_secret_of_the_container() {
    let options = Options::stub();
    let file = options.dir.path().join("secret");
    std::fs::write(&file, "s3cret\nnext\n").unwrap();
    let file = file.to_string_lossy().into_owned();
    let mut sidecar = options
        .env("OPENCODE_SHARED_SECRET_FILE", &file)
        .start()
        .ready();
    for wrong in [&[][..], &[("OPENCODE_SHARED_SECRET", "guess")][..]] {
        let text = complaint(&drain(sidecar.address, wrong));
        assert!(text.contains("does not accept the token"), "{text}");
        assert!(!text.contains("guess"), "{text}");
    }
    assert_eq!(sidecar.get("/ready").status, 200, "nothing was drained");
    let done = drain(sidecar.address, &[("OPENCODE_SHARED_SECRET_FILE", &file)]);
    assert_eq!(done.status.code(), Some(0), "{done:?}");
    assert!(done.stdout.is_empty() && done.stderr.is_empty(), "{done:?}");
    assert_eq!(sidecar.exit().code(), Some(0));
    let text = complaint(&drain(sidecar.address, &[]));
    assert!(text.contains("nothing answers on port"), "{text}");
}

/// What leaves without an answer has left; what closes and stays has not.
#[test]
fn the_command_tells_an_instance_that_left_from_one_that_only_closed() {
    for stays in [false, true] {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let output = std::thread::scope(|scope| {
            let command = scope.spawn(|| drain(address, &[]));
            let (mut asked, _) = listener.accept().unwrap();
            let mut line = [0; 11];
            asked.read_exact(&mut line).unwrap();
            assert_eq!(&line, b"POST /drain");
            let kept = stays.then(|| listener.try_clone().unwrap());
            drop((listener, asked));
            let output = command.join().unwrap();
            drop(kept);
            output
        });
        if stays {
            assert!(complaint(&output).contains("closed without an answer"));
        } else {
            assert_eq!(output.status.code(), Some(0), "{output:?}");
        }
    }
}

#[test]
fn the_command_does_not_wait_for_ever() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let output = drain(address, &[("DRAIN_TIMEOUT", "1ms")]);
    assert!(complaint(&output).contains("did not answer within 5 s"));
}
