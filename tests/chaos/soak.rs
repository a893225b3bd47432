//! A day of sessions in short: they begin, are followed, cut off, stopped, resumed and let go, thousands of
//! times, against the scripted child. What the sidecar takes of the machine is the same at the end as after
//! the first third.

use std::fs;
use std::path::Path;
use std::thread::sleep;
use std::time::{Duration, Instant};

use serde_json::json;

use crate::number;
use crate::support::sse::Stream;
use crate::support::{Options, Sidecar, TEST_TIMEOUT, processes};

/// Of the journal, so small that it is filled many times over in the long version.
const JOURNAL: u64 = 4 << 20;

/// What `SQLite`'s log beside the database may take: it is cut back to a few MiB.
const BESIDE: u64 = 8 << 20;

/// The allocator keeps some of what was given back, and how much depends on what came when. A leak of a
/// kilobyte a session would show as more than this in the long version.
const NOISE: u64 = 12 << 20;

/// Threads of the pool for files end when they had nothing to do for ten seconds.
const POOL: usize = 8;

/// A connection to the child may just have been opened for a health check.
const SPARE: usize = 3;

#[derive(Clone, Copy, Debug)]
struct Sample {
    memory: u64,
    files: usize,
    threads: usize,
    disk: u64,
}

#[test]
fn a_soak_of_sessions_takes_no_more_of_the_machine() {
    let sessions = number("SOAK_SESSIONS").unwrap_or(150);
    let sidecar = Options::stub()
        .env("SESSION_RETENTION", "1s")
        .env("JOURNAL_MAX_BYTES", &JOURNAL.to_string())
        .env("LOG_LEVEL", "warn")
        .start()
        .ready();
    let mut samples = Vec::new();
    for number in 0..sessions {
        live(&sidecar, number);
        if number + 1 == sessions.div_ceil(3) || number + 1 == sessions {
            samples.push(settled(&sidecar));
        }
    }
    let [early, late] = samples[..] else {
        panic!("SOAK_SESSIONS={sessions} is too few: give 3 or more");
    };
    println!("after a third: {early:?}\nat the end:    {late:?}");
    assert!(
        late.memory <= early.memory + NOISE,
        "memory: {early:?}, {late:?}"
    );
    assert!(
        late.files <= early.files + SPARE,
        "descriptors: {early:?}, {late:?}"
    );
    assert!(
        late.threads <= early.threads + POOL,
        "threads: {early:?}, {late:?}"
    );
    assert!(late.disk <= JOURNAL + BESIDE, "disk: {early:?}, {late:?}");
    assert_eq!(sidecar.marked(), [sidecar.engine_pid()]);
}

/// A session with one turn or two.
fn live(sidecar: &Sidecar, number: u64) {
    let id = format!("soak-{number}");
    let model = json!({ "provider": "local", "model": "none" });
    // Long prompts, so that the journal has something to let go of.
    let prompt = format!("please do {number} {}", "x".repeat(16_000));
    let body = json!({ "session_id": id, "prompt": prompt, "model_config": model });
    let answer = sidecar.post("/sessions", &body.to_string());
    assert_eq!(answer.status, 201, "{answer:?}");
    let mut left_open = follow(sidecar, &id);
    stop(sidecar, &id);
    // The scripted child tells a resumed turn nothing, so its stop takes the whole four seconds.
    if number.is_multiple_of(50) {
        let body = json!({ "model_config": model });
        let answer = sidecar.post(&format!("/sessions/{id}/resume"), &body.to_string());
        assert_eq!(answer.status, 200, "{answer:?}");
        // One client of two hangs up in the middle.
        left_open = follow(sidecar, &id);
        stop(sidecar, &id);
    }
    left_open.until("the end", |event| event.data["status"] == "cancelled");
}

fn follow(sidecar: &Sidecar, id: &str) -> Stream {
    let open = || {
        let stream = sidecar.stream(id, "?last_event_id=latest&follow=1");
        assert_eq!(stream.status, 200, "{}", stream.head);
        stream
    };
    drop(open());
    open()
}

fn stop(sidecar: &Sidecar, id: &str) {
    let answer = sidecar.post(&format!("/sessions/{id}/stop"), "");
    assert_eq!(answer.json()["status"], "cancelled", "{answer:?}");
}

/// What the sidecar takes once retention has let go of every session.
fn settled(sidecar: &Sidecar) -> Sample {
    sidecar.until("empty", |sidecar| {
        sidecar.get("/sessions").json()["sessions"]
            .as_array()
            .unwrap()
            .is_empty()
    });
    // The descriptors of connections go when the server has seen that they are closed.
    let (mut files, deadline) = (usize::MAX, Instant::now() + TEST_TIMEOUT);
    loop {
        let now = processes::open_files(sidecar.pid());
        if now >= files || Instant::now() > deadline {
            break;
        }
        files = now;
        sleep(Duration::from_millis(100));
    }
    let status = fs::read_to_string(format!("/proc/{}/status", sidecar.pid())).unwrap();
    let field = |name: &str| -> u64 {
        let line = status
            .lines()
            .find_map(|line| line.strip_prefix(name))
            .unwrap();
        line.split_whitespace().next().unwrap().parse().unwrap()
    };
    Sample {
        memory: field("VmRSS:") << 10,
        files,
        threads: usize::try_from(field("Threads:")).unwrap(),
        disk: size(&sidecar.data_dir().join("journal")),
    }
}

fn size(dir: &Path) -> u64 {
    let entries = fs::read_dir(dir).unwrap().flatten();
    entries
        .map(|entry| entry.metadata().map_or(0, |metadata| metadata.len()))
        .sum()
}
