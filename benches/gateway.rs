//! What the gateway costs, against calling the provider directly: `cargo bench --features bench --bench gateway`.
//!
//! Provider, gateway and caller have a thread each. The caller makes its calls one after the other,
//! each on a connection of its own, direct and through the gateway in turns, so that both see the same machine. The 200 MB
//! run in a process of their own, whose memory is the provider's, the gateway's and the caller's together.

#![expect(
    clippy::unwrap_used,
    clippy::print_stdout,
    clippy::cast_precision_loss,
    reason = "a bench fails by panicking, prints its table, and counts to less than 2^52"
)]

use std::env;
use std::fs;
use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::process::Command;
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use opencode_sidecar::bench::{Gateway, SESSION};
use serde_json::json;
use tokio::runtime::{Builder, Runtime};

use llm::{Llm, Turn};

#[path = "../tests/support/llm.rs"]
#[allow(
    dead_code,
    unreachable_pub,
    clippy::allow_attributes,
    reason = "the tests use the rest of it"
)]
mod llm;

const WARM_UP: usize = 50;
const CALLS: usize = 1000;
const ROUNDS: usize = 9;
/// The end of a chunked body.
const END: &[u8] = b"\r\n0\r\n\r\n";

fn main() {
    if env::args().nth(1).as_deref() == Some("memory") {
        return memory();
    }
    row("what", "direct", "gateway", "result", "goal");
    latency();
    small_chunks();
    // In a process of its own: what was freed before would be used again and not seen.
    let done = Command::new(env::current_exe().unwrap())
        .arg("memory")
        .status();
    assert!(done.unwrap().success());
}

fn latency() {
    let (direct, gated, llm) = pair();
    llm.reply_always(Turn::new().text("hi"));
    let (plain, through) = side_by_side(&direct, &gated, CALLS, WARM_UP);
    let added = through.saturating_sub(plain);
    row(
        "a small call, median",
        &micros(plain),
        &micros(through),
        &format!("+{}", micros(added)),
        "< 1 ms",
    );
}

/// Read by a client that takes the chunks apart, as the child's does: what it sees is what counts.
fn small_chunks() {
    let (direct, gated, llm) = pair();
    llm.reply_always(Turn::new().flood("a few words ", 20_000));
    let client = Decoding::new();
    let (mut plain, mut through) = (Vec::new(), Vec::new());
    for _ in 0..=ROUNDS {
        plain.push(client.call(&direct));
        through.push(client.call(&gated));
    }
    let (plain, through) = (median(plain.split_off(1)), median(through.split_off(1)));
    row(
        "20 000 small chunks, median",
        &micros(plain),
        &micros(through),
        &format!(
            "{:.0} %",
            100.0 * plain.as_secs_f64() / through.as_secs_f64()
        ),
        ">= 90 %",
    );
}

fn memory() {
    let (direct, gated, llm) = pair();
    let large = || Turn::new().flood(&"x".repeat(900), 200_000);
    llm.reply_always(Turn::new().flood(&"x".repeat(900), 2_000));
    direct.call();
    gated.call();
    llm.reply(large());
    let (plain, _) = direct.call();
    let before = resident_bytes();
    llm.reply(large());
    let (through, bytes) = gated.call();
    let growth = resident_bytes().saturating_sub(before);
    assert!(bytes > 200_000_000);
    let speed = |took: Duration| format!("{:.0} MB/s", bytes as f64 / 1e6 / took.as_secs_f64());
    row(
        &format!("{} MB streamed: speed, resident growth", bytes / 1_000_000),
        &speed(plain),
        &speed(through),
        &format!("{:.2} MiB", growth as f64 / f64::from(1 << 20)),
        "< 8 MiB",
    );
}

/// A caller of the provider, and one of a gateway before it.
fn pair() -> (Caller, Caller, Llm) {
    let llm = on_a_thread(Llm::start);
    let base = llm.base();
    let gateway = on_a_thread(move || async move { Gateway::start(&base).await.unwrap() });
    let direct = Caller::new(llm.addr(), "/v1/chat/completions", "KEY-A");
    let gated = Caller::new(
        gateway.addr(),
        "/compat/v1/chat/completions",
        gateway.bearer(),
    );
    // It serves as long as the process: there is one per measurement.
    drop(thread::spawn(move || {
        let _gateway = gateway;
        loop {
            thread::park();
        }
    }));
    (direct, gated, llm)
}

/// Starts a server on a runtime of its own, which stays for the process's life.
fn on_a_thread<T, F>(start: impl FnOnce() -> F + Send + 'static) -> T
where
    T: Send + 'static,
    F: Future<Output = T>,
{
    let (started_tx, started_rx) = mpsc::channel();
    thread::spawn(move || {
        let runtime = Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            started_tx.send(start().await).ok();
            std::future::pending::<()>().await;
        });
    });
    started_rx.recv().unwrap()
}

/// The medians of `rounds` calls each, in turns.
fn side_by_side(
    direct: &Caller,
    gated: &Caller,
    rounds: usize,
    warm_up: usize,
) -> (Duration, Duration) {
    let (mut plain, mut through) = (Vec::new(), Vec::new());
    for _ in 0..warm_up + rounds {
        plain.push(direct.call().0);
        through.push(gated.call().0);
    }
    (
        median(plain.split_off(warm_up)),
        median(through.split_off(warm_up)),
    )
}

/// A client that decodes what it reads.
struct Decoding {
    runtime: Runtime,
    http: reqwest::Client,
}

impl Decoding {
    fn new() -> Self {
        drop(rustls::crypto::ring::default_provider().install_default());
        let http = reqwest::Client::builder()
            .no_proxy()
            .pool_max_idle_per_host(0)
            .build()
            .unwrap();
        Self {
            runtime: Builder::new_current_thread().enable_all().build().unwrap(),
            http,
        }
    }

    fn call(&self, caller: &Caller) -> Duration {
        let started = Instant::now();
        self.runtime.block_on(async {
            let request = self.http.post(&caller.url).bearer_auth(&caller.bearer);
            let request = request
                .header("x-session-id", SESSION)
                .header("content-type", "application/json");
            let mut answer = request.body(caller.body.clone()).send().await.unwrap();
            assert!(answer.status().is_success());
            let mut bytes = 0;
            while let Some(chunk) = answer.chunk().await.unwrap() {
                bytes += chunk.len();
            }
            assert!(bytes > 20_000 * 12, "all of it came");
        });
        started.elapsed()
    }
}

/// A connection for each call, as the gateway wants it of the child.
struct Caller {
    addr: SocketAddr,
    request: Vec<u8>,
    url: String,
    bearer: String,
    body: String,
}

impl Caller {
    fn new(addr: SocketAddr, path: &str, bearer: &str) -> Self {
        let body = json!({
            "model": "auto-128k", "stream": true, "temperature": 1,
            "messages": [{ "role": "user", "content": "hello" }],
        })
        .to_string();
        let request = format!(
            "POST {path} HTTP/1.1\r\nhost: {addr}\r\nconnection: close\r\nauthorization: Bearer {bearer}\r\n\
             x-session-id: {SESSION}\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n{body}",
            body.len()
        );
        Self {
            addr,
            request: request.into_bytes(),
            url: format!("http://{addr}{path}"),
            bearer: bearer.to_owned(),
            body,
        }
    }

    /// Reads the answer without keeping it: how long it took, and how much it was.
    fn call(&self) -> (Duration, usize) {
        let started = Instant::now();
        let mut socket = TcpStream::connect(self.addr).unwrap();
        socket.set_nodelay(true).unwrap();
        socket.write_all(&self.request).unwrap();
        let (mut buffer, mut tail, mut bytes) = (vec![0; 64 << 10], Vec::new(), 0);
        loop {
            let count = socket.read(&mut buffer).unwrap();
            if count == 0 {
                break;
            }
            assert!(bytes > 0 || buffer.starts_with(b"HTTP/1.1 200"));
            bytes += count;
            tail.extend_from_slice(&buffer[count.saturating_sub(END.len())..count]);
            tail.drain(..tail.len().saturating_sub(END.len()));
        }
        assert_eq!(tail, END, "it came to its end");
        (started.elapsed(), bytes)
    }
}

fn median(mut times: Vec<Duration>) -> Duration {
    times.sort();
    times[times.len() / 2]
}

fn resident_bytes() -> usize {
    let statm = fs::read_to_string("/proc/self/statm").unwrap();
    statm.split(' ').nth(1).unwrap().parse::<usize>().unwrap() * 4096
}

fn micros(time: Duration) -> String {
    format!("{} us", time.as_micros())
}

fn row(what: &str, direct: &str, gateway: &str, result: &str, goal: &str) {
    println!("{what:<40} {direct:>12} {gateway:>12} {result:>12} {goal:>10}");
}
