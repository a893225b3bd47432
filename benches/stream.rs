//! The event stream against the goals: bursts, replay, latency and memory. `cargo bench --features bench --bench stream`.
//! With `-- readers 500 60` only one burst, to so many WebSockets and streams.
//!
//! The server runs on one thread with a runtime of its own, the readers on another, so that "CPU" is the
//! server's alone. Events have 200 bytes of data and about 245 on the wire.

#![expect(
    clippy::unwrap_used,
    clippy::print_stdout,
    clippy::cast_precision_loss,
    reason = "a bench fails by panicking, prints its table, and counts to less than 2^52"
)]

use std::env;
use std::fs;
use std::future::Future;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::process::Command;
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use futures_util::future::join_all;
use opencode_sidecar::bench::{StreamLog, serve_stream};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::runtime::{Builder, Runtime};

const REQUEST: &[u8] = b"GET /stream HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n";
const WEBSOCKET: &[u8] =
    b"GET /ws HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
    Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";
const BURST_EVENTS: usize = 20_000;
/// As many as a feed hands over before its task lets others run.
const BATCH: usize = 256;

fn main() {
    // Two sockets for each of 1 000 readers.
    let files = rustix::process::getrlimit(rustix::process::Resource::Nofile);
    let more = rustix::process::Rlimit {
        current: files.maximum,
        ..files
    };
    rustix::process::setrlimit(rustix::process::Resource::Nofile, more).unwrap();

    match env::args().nth(1).as_deref() {
        Some("memory-of-idle-readers") => return memory_of_idle_readers(),
        Some("memory-of-finished-sessions") => return memory_of_finished_sessions(),
        Some("readers") => {
            let mut numbers = env::args().skip(2).map(|number| number.parse().unwrap());
            let (sockets, streams) = (numbers.next().unwrap(), numbers.next().unwrap());
            return burst_to_a_crowd(sockets, streams);
        }
        _ => {}
    }
    row("what", "measured", "goal");
    // Each in a process of its own: what was freed before would be used again and not seen.
    for part in ["memory-of-idle-readers", "memory-of-finished-sessions"] {
        let done = Command::new(env::current_exe().unwrap()).arg(part).status();
        assert!(done.unwrap().success());
    }
    burst_in_process();
    let quiet = burst_over_http(0);
    let beside_stalled = burst_over_http(20);
    row(
        "  slower beside 20 stalled readers",
        &format!("{:.1} %", 100.0 * (quiet / beside_stalled - 1.0)),
        "10 %",
    );
    burst_to_a_crowd(0, 560);
    burst_to_a_crowd(500, 60);
    replay(1, "2.5 ms");
    replay(10, "13 ms");
    latency(
        "20 000 frames/s to 100 readers, p50/p99",
        100,
        200,
        "300/900 us",
    );
    latency("1 000 events/s to 1 reader, p50/p99", 1, 1000, "60/200 us");
}

fn memory_of_finished_sessions() {
    const SESSIONS: usize = 20;
    let before = resident_bytes();
    let logs: Vec<_> = (0..SESSIONS)
        .map(|_| {
            let log = StreamLog::new();
            (1..10_000).for_each(|_| log.append(&event()));
            log.end_turn();
            log
        })
        .collect();
    let each = (resident_bytes() - before) / SESSIONS;
    row(
        "memory per finished session of 10 000 events",
        &mebibytes(each),
        "2.8 MiB",
    );
    row(
        "  of that, counted by the log itself",
        &mebibytes(logs[0].bytes()),
        "",
    );
}

fn memory_of_idle_readers() {
    const READERS: usize = 1000;
    let server = Server::start();
    let mut warm: Vec<_> = (0..10).map(|_| idle_reader(server.addr)).collect();
    let before = resident_bytes();
    warm.extend((0..READERS).map(|_| idle_reader(server.addr)));
    let each = (resident_bytes() - before) / READERS;
    row(
        "memory per idle reader (1 000 readers)",
        &kibibytes(each),
        "10 KiB",
    );
}

/// A plain blocking socket: it costs this process a file and nothing else.
fn idle_reader(addr: SocketAddr) -> TcpStream {
    let mut socket = TcpStream::connect(addr).unwrap();
    socket.write_all(REQUEST).unwrap();
    let mut got = [0; 1024];
    let count = socket.read(&mut got).unwrap();
    assert!(got[..count].starts_with(b"HTTP/1.1 200"));
    socket
}

fn burst_in_process() {
    const READERS: usize = 100;
    let log = StreamLog::new();
    let (cpu, start) = (Cpu::of_this_thread(), Instant::now());
    let cpu_before = cpu.used();
    runtime().block_on(async {
        let readers = join_all((0..READERS).map(|_| async {
            let mut reader = log.reader().unwrap();
            let mut bytes = 0;
            while let Some(frames) = reader.next().await {
                bytes += frames.len();
            }
            bytes
        }));
        tokio::join!(readers, write_burst(&log)).0
    });
    report_burst(
        "burst to 100 readers in process",
        READERS,
        start.elapsed(),
        cpu.used() - cpu_before,
        "",
    );
}

/// Gives frames per second.
fn burst_over_http(stalled: usize) -> f64 {
    const READERS: usize = 100;
    let server = Server::start();
    let _stalled: Vec<_> = (0..stalled).map(|_| idle_reader(server.addr)).collect();
    let (ready_tx, ready_rx) = mpsc::channel();
    let addr = server.addr;
    let readers = thread::spawn(move || {
        runtime().block_on(join_all(
            (0..READERS).map(|_| count_bytes(addr, ready_tx.clone())),
        ))
    });
    (0..READERS).for_each(|_| ready_rx.recv().unwrap());
    let (cpu, start) = (server.cpu.used(), Instant::now());
    server.run(|log| async move { write_burst(&log).await });
    let bytes = readers.join().unwrap();
    assert!(
        bytes
            .iter()
            .all(|bytes| *bytes > BURST_EVENTS * event().len())
    );
    let what = format!("burst to 100 readers over HTTP, {stalled} stalled");
    report_burst(
        &what,
        READERS,
        start.elapsed(),
        server.cpu.used() - cpu,
        "4.00 M (0.25)",
    )
}

/// Readers of both kinds on one log.
fn burst_to_a_crowd(sockets: usize, streams: usize) {
    let server = Server::start();
    let (ready_tx, ready_rx) = mpsc::channel();
    let addr = server.addr;
    let readers = thread::spawn(move || {
        runtime().block_on(async {
            let sockets = (0..sockets).map(|_| read_websocket(addr, ready_tx.clone()));
            let streams = (0..streams).map(|_| count_bytes(addr, ready_tx.clone()));
            tokio::join!(join_all(sockets), join_all(streams))
        })
    });
    (0..sockets + streams).for_each(|_| ready_rx.recv().unwrap());
    let (cpu, start) = (server.cpu.used(), Instant::now());
    server.run(|log| async move { write_burst(&log).await });
    readers.join().unwrap();
    report_burst(
        &format!("burst to {sockets} WebSockets and {streams} streams"),
        sockets + streams,
        start.elapsed(),
        server.cpu.used() - cpu,
        "4.00 M (0.25)",
    );
}

/// Reads a WebSocket to the event that ends the turn.
async fn read_websocket(addr: SocketAddr, ready: mpsc::Sender<()>) {
    let mut socket = tokio::net::TcpStream::connect(addr).await.unwrap();
    socket.write_all(WEBSOCKET).await.unwrap();
    let mut buf = vec![0; 64 * 1024];
    let count = socket.read(&mut buf).await.unwrap();
    assert!(buf[..count].starts_with(b"HTTP/1.1 101"));
    ready.send(()).unwrap();
    let mut kept = 0;
    loop {
        // The end of what was there is looked at again: the last event may come in two pieces.
        let count = kept + socket.read(&mut buf[kept..]).await.unwrap();
        assert!(count > kept, "it ends with the turn");
        kept = count.min(200);
        let end = &buf[count - kept..count];
        if end.windows(10).any(|text| text == b"\"complete\"") {
            return;
        }
        buf.copy_within(count - kept..count, 0);
    }
}

async fn write_burst(log: &StreamLog) {
    for nth in 1..BURST_EVENTS {
        log.append(&event());
        if nth % BATCH == 0 {
            tokio::task::yield_now().await;
        }
    }
    log.end_turn();
}

fn report_burst(what: &str, readers: usize, wall: Duration, cpu: f64, goal: &str) -> f64 {
    let frames = (readers * BURST_EVENTS) as f64;
    let rate = frames / wall.as_secs_f64();
    let each = 1e6 * cpu / frames;
    row(what, &format!("{:.2} M ({each:.2})", rate / 1e6), goal);
    rate
}

fn replay(readers: usize, goal: &str) {
    let server = Server::start();
    server.run(|log| async move {
        (1..10_000).for_each(|_| log.append(&event()));
        log.end_turn();
    });
    let mut rounds: Vec<_> = (0..20)
        .map(|_| {
            let (ready, _started) = mpsc::channel();
            let start = Instant::now();
            runtime().block_on(join_all(
                (0..readers).map(|_| count_bytes(server.addr, ready.clone())),
            ));
            start.elapsed()
        })
        .collect();
    rounds.sort();
    let median = rounds[rounds.len() / 2];
    row(
        &format!("replay of 10 000 events to {readers} readers"),
        &format!("{:.1} ms", 1e3 * median.as_secs_f64()),
        goal,
    );
}

/// How long after its append an event is in a reader's hands.
fn latency(what: &str, readers: usize, per_second: u32, goal: &str) {
    let server = Server::start();
    let (ready_tx, ready_rx) = mpsc::channel();
    let addr = server.addr;
    let readers_thread = thread::spawn(move || {
        runtime().block_on(join_all(
            (0..readers).map(|_| arrivals(addr, ready_tx.clone())),
        ))
    });
    (0..readers).for_each(|_| ready_rx.recv().unwrap());
    let sent = server.run(move |log| async move {
        let mut pace = tokio::time::interval(Duration::from_secs(1) / per_second);
        let mut sent = Vec::new();
        for _ in 0..3 * per_second {
            pace.tick().await;
            sent.push(Instant::now());
            log.append(&event());
        }
        pace.tick().await;
        log.end_turn();
        sent
    });
    let mut waits: Vec<_> = readers_thread
        .join()
        .unwrap()
        .iter()
        .flat_map(|arrived| {
            sent.iter()
                .zip(arrived)
                .map(|(sent, arrived)| arrived.saturating_duration_since(*sent))
        })
        .collect();
    waits.sort();
    let at = |percent: usize| waits[waits.len() * percent / 100].as_micros();
    row(what, &format!("{}/{} us", at(50), at(99)), goal);
}

/// Reads a stream to its end.
async fn read_to_end(addr: SocketAddr, ready: mpsc::Sender<()>, mut got: impl FnMut(&[u8])) {
    let mut socket = tokio::net::TcpStream::connect(addr).await.unwrap();
    socket.write_all(REQUEST).await.unwrap();
    let mut buf = vec![0; 256 * 1024];
    let mut count = socket.read(&mut buf).await.unwrap();
    assert!(buf[..count].starts_with(b"HTTP/1.1 200"));
    ready.send(()).ok();
    while count > 0 {
        got(&buf[..count]);
        count = socket.read(&mut buf).await.unwrap();
    }
}

async fn count_bytes(addr: SocketAddr, ready: mpsc::Sender<()>) -> usize {
    let mut all = 0;
    read_to_end(addr, ready, |bytes| all += bytes.len()).await;
    all
}

/// Reads a stream to its end and gives the time of each frame's arrival.
async fn arrivals(addr: SocketAddr, ready: mpsc::Sender<()>) -> Vec<Instant> {
    let (mut frames, mut last, mut arrivals) = (0, 0, Vec::new());
    read_to_end(addr, ready, |bytes| {
        let now = Instant::now();
        for byte in bytes {
            frames += usize::from(*byte == b'\n' && last == b'\n');
            last = *byte;
        }
        arrivals.resize(frames, now);
    })
    .await;
    // The opening block ends like a frame.
    arrivals.split_off(1)
}

/// A server on a thread of its own, with one log.
struct Server {
    addr: SocketAddr,
    cpu: Cpu,
    jobs: tokio::sync::mpsc::Sender<Job>,
}

type Job = Box<dyn FnOnce(StreamLog) -> std::pin::Pin<Box<dyn Future<Output = ()>>> + Send>;

impl Server {
    fn start() -> Self {
        let (jobs, mut todo) = tokio::sync::mpsc::channel::<Job>(1);
        let (started_tx, started_rx) = mpsc::channel();
        thread::spawn(move || {
            runtime().block_on(async {
                let log = StreamLog::new();
                let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
                started_tx
                    .send((listener.local_addr().unwrap(), Cpu::of_this_thread()))
                    .unwrap();
                let work = async {
                    while let Some(job) = todo.recv().await {
                        job(log.clone()).await;
                    }
                };
                tokio::select! {
                    served = serve_stream(listener, log.clone()) => served.unwrap(),
                    () = work => {}
                }
            });
        });
        let (addr, cpu) = started_rx.recv().unwrap();
        Self { addr, cpu, jobs }
    }

    /// Runs something on the server's thread, as its driver would, and waits for it.
    fn run<F, T>(&self, job: impl FnOnce(StreamLog) -> F + Send + 'static) -> T
    where
        F: Future<Output = T> + 'static,
        T: Send + 'static,
    {
        let (done_tx, done_rx) = mpsc::channel();
        let job: Job = Box::new(move |log| {
            let work = job(log);
            Box::pin(async move { done_tx.send(work.await).unwrap() })
        });
        self.jobs.blocking_send(job).ok().unwrap();
        done_rx.recv().unwrap()
    }
}

/// The processor time of one thread.
struct Cpu(String);

impl Cpu {
    fn of_this_thread() -> Self {
        let thread = fs::read_link("/proc/thread-self").unwrap();
        Self(format!("/proc/{}/schedstat", thread.display()))
    }

    /// Seconds.
    fn used(&self) -> f64 {
        let stat = fs::read_to_string(&self.0).unwrap();
        stat.split(' ').next().unwrap().parse::<f64>().unwrap() / 1e9
    }
}

fn runtime() -> Runtime {
    Builder::new_current_thread().enable_all().build().unwrap()
}

fn event() -> String {
    format!(
        r#"{{"type":"stdout","text":"{}","source":"assistant"}}"#,
        "x".repeat(151)
    )
}

fn resident_bytes() -> usize {
    let statm = fs::read_to_string("/proc/self/statm").unwrap();
    statm.split(' ').nth(1).unwrap().parse::<usize>().unwrap() * 4096
}

fn mebibytes(bytes: usize) -> String {
    format!("{:.2} MiB", bytes as f64 / f64::from(1 << 20))
}

fn kibibytes(bytes: usize) -> String {
    format!("{:.1} KiB", bytes as f64 / 1024.0)
}

fn row(what: &str, measured: &str, goal: &str) {
    println!("{what:<54} {measured:>14} {goal:>14}");
}
