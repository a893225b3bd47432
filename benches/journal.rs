//! The journal: replay from disk, group commit, opening a large database. `cargo bench --features bench --bench journal`.
//!
//! Events have 200 bytes of data and about 240 on disk. The database lies in `TMPDIR` (1.5 GB for a
//! while). A write and a sync of 4 KiB by hand say what the disk itself can do.

#![expect(
    clippy::unwrap_used,
    clippy::print_stdout,
    clippy::cast_precision_loss,
    reason = "a bench fails by panicking, prints its table, and counts to less than 2^52"
)]

use std::env;
use std::fs;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use futures_util::future::join_all;
use opencode_sidecar::bench::{Disk, DiskSession};
use tokio::runtime::Runtime;

const SESSIONS: u64 = 10_000;
const EVENTS_EACH: u64 = 500;
const REPLAYED: u64 = 100_000;

fn main() {
    let args: Vec<String> = env::args().collect();
    if let [_, part, dir] = args.as_slice()
        && part == "opening"
    {
        return opening(Path::new(dir));
    }
    row("what", "measured", "goal");
    let dir = tempfile::tempdir().unwrap();
    the_disk(dir.path());
    for (name, run) in [("runs of 20", 20), ("one event a run", 1)] {
        replay(&dir.path().join(name), name, run);
    }
    for (sessions, events) in [(1, 1), (1, 20), (16, 1), (16, 20), (100, 20)] {
        commit(&dir.path().join("commit"), sessions, events);
    }
    large(&dir.path().join("large"));
}

/// What there is to compare with.
fn the_disk(dir: &Path) {
    let file = fs::File::create(dir.join("by-hand")).unwrap();
    let mut waits = Vec::new();
    for _ in 0..200 {
        let start = Instant::now();
        file.write_all_at(&[7; 4096], 0).unwrap();
        file.sync_data().unwrap();
        waits.push(start.elapsed());
    }
    row(
        "4 KiB written and synced by hand, p50/p99",
        &percentiles(waits),
        "",
    );
}

fn replay(dir: &Path, name: &str, run: u64) {
    let runtime = runtime();
    runtime.block_on(async {
        let (disk, _) = Disk::open(dir).await.unwrap();
        fill(&disk, 1, REPLAYED, run).await;
        // Beside others, as it would lie.
        fill(&disk, 2, REPLAYED / 10, run).await;
        disk.close().await;
        let (disk, _) = Disk::open(dir).await.unwrap();
        let mut rates: Vec<f64> = Vec::new();
        for _ in 0..5 {
            let start = Instant::now();
            let bytes = disk.replay(1, REPLAYED).await;
            assert!(bytes > 200 * usize::try_from(REPLAYED).unwrap());
            rates.push(REPLAYED as f64 / start.elapsed().as_secs_f64());
        }
        rates.sort_by(f64::total_cmp);
        let median = rates[rates.len() / 2];
        row(
            &format!("replay of 100 000 events, {name}"),
            &format!("{:.2} M/s", median / 1e6),
            "0.30 M/s",
        );
        let events = REPLAYED + REPLAYED / 10;
        let start = Instant::now();
        assert!(disk.replay_all(events).await > 200 * usize::try_from(events).unwrap());
        let rate = events as f64 / start.elapsed().as_secs_f64();
        row(
            "  of all sessions in their order",
            &format!("{:.2} M/s", rate / 1e6),
            "",
        );
        disk.close().await;
    });
}

/// Every session says so many events, waits until they may be shown, and says more.
fn commit(dir: &Path, sessions: u64, events: u64) {
    const AT_LEAST: Duration = Duration::from_secs(2);
    let runtime = runtime();
    let (disk, _) = runtime.block_on(Disk::open(dir)).unwrap();
    let data = data();
    let logs: Vec<DiskSession> = (1..=sessions).map(|number| disk.session(number)).collect();
    let (waits, took, commits) = runtime.block_on(async {
        for log in &logs {
            log.turn(true);
            log.written(log.say(1, &data)).await;
        }
        let (start, before) = (Instant::now(), disk.figures().0);
        let talk = logs.iter().map(async |log| {
            let mut waits = Vec::new();
            while start.elapsed() < AT_LEAST {
                let said = Instant::now();
                log.written(log.say(events, &data)).await;
                waits.push(said.elapsed());
            }
            waits
        });
        let waits = join_all(talk).await.concat();
        (waits, start.elapsed(), disk.figures().0 - before)
    });
    let all = waits.len() as f64;
    let seconds = took.as_secs_f64();
    row(
        &format!("{sessions} sessions, {events} events at a time, events/s"),
        &format!("{:.0} k/s", all * events as f64 / seconds / 1e3),
        "",
    );
    row("  until shown, p50/p99", &percentiles(waits), "");
    row(
        "  sessions in a group",
        &format!("{:.1}", all / commits as f64),
        "",
    );
    runtime.block_on(disk.close());
    fs::remove_dir_all(dir).unwrap();
}

/// 10 000 finished sessions and 5 million events, opened by a process of its own.
fn large(dir: &Path) {
    let runtime = runtime();
    runtime.block_on(async {
        let (disk, _) = Disk::open(dir).await.unwrap();
        let start = Instant::now();
        for number in 1..=SESSIONS {
            fill(&disk, number, EVENTS_EACH, 20).await;
        }
        let rate = (SESSIONS * EVENTS_EACH) as f64 / start.elapsed().as_secs_f64();
        row(
            "filling a database, events/s",
            &format!("{:.0} k/s", rate / 1e3),
            "",
        );
        disk.close().await;
    });
    let bytes = fs::metadata(dir.join("sessions.db")).unwrap().len();
    row("  its size", &format!("{:.2} GB", bytes as f64 / 1e9), "");
    open_in_a_process(dir, "  to open, closed in good order");
    // With a WAL to read, as after the death of a process.
    runtime.block_on(async {
        let (disk, _) = Disk::open(dir).await.unwrap();
        let log = disk.session(SESSIONS + 1);
        log.turn(true);
        for _ in 0..100 {
            log.written(log.say(100, &data())).await;
        }
    });
    open_in_a_process(dir, "  to open, after a death");
}

fn open_in_a_process(dir: &Path, what: &str) {
    let start = Command::new(env::current_exe().unwrap());
    let mut start = start;
    let done = start.arg("opening").arg(dir).output().unwrap();
    assert!(done.status.success(), "{done:?}");
    row(
        what,
        String::from_utf8(done.stdout).unwrap().trim(),
        "100 ms",
    );
}

fn opening(dir: &Path) {
    let runtime = runtime();
    let before = resident_bytes();
    let start = Instant::now();
    let (disk, _) = runtime.block_on(Disk::open(dir)).unwrap();
    let took = start.elapsed();
    let grown = resident_bytes().saturating_sub(before);
    println!(
        "{:.1} ms, {:.1} MiB",
        1e3 * took.as_secs_f64(),
        grown as f64 / f64::from(1 << 20)
    );
    drop(disk);
}

/// A finished session.
async fn fill(disk: &Disk, number: u64, events: u64, run: u64) {
    let log = disk.session(number);
    let data = data();
    log.turn(true);
    let mut last = 0;
    while last < events {
        last = log.say(run, &data);
        // As much as a ring would hold.
        if last % 5000 == 0 {
            log.written(last).await;
        }
    }
    log.turn(false);
    log.written(last).await;
}

fn data() -> String {
    format!(
        r#"{{"type":"stdout","text":"{}","source":"assistant"}}"#,
        "x".repeat(151)
    )
}

fn percentiles(mut waits: Vec<Duration>) -> String {
    waits.sort();
    let at = |percent: usize| waits[(waits.len() - 1) * percent / 100].as_micros();
    format!("{}/{} us", at(50), at(99))
}

fn runtime() -> Runtime {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap()
}

fn resident_bytes() -> usize {
    let statm = fs::read_to_string("/proc/self/statm").unwrap();
    statm.split(' ').nth(1).unwrap().parse::<usize>().unwrap() * 4096
}

fn row(what: &str, measured: &str, goal: &str) {
    println!("{what:<54} {measured:>20} {goal:>10}");
}
