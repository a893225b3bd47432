//! What the process costs before it does any work: start, memory, probes, size.
//!
//! Everything is measured beside a bare axum server in the same run, because machines are noisy and
//! only the ratio travels. Each server runs on core 0, the load comes from core 1.

#![expect(
    clippy::unwrap_used,
    clippy::print_stdout,
    clippy::disallowed_methods,
    clippy::cast_precision_loss,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a benchmark prints, and fails by panicking"
)]

use std::fs;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

const SIDECAR: &str = env!("CARGO_BIN_EXE_opencode-sidecar");
const STUB: &str = env!("CARGO_BIN_EXE_stub-opencode");
const CONNECTIONS: usize = 32;

/// A server under test; killed when dropped.
struct Server {
    process: Child,
    address: SocketAddr,
    _dir: tempfile::TempDir,
}

impl Server {
    fn sidecar(port: u16) -> Self {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir(dir.path().join("workspace")).unwrap();
        let mut command = pinned(SIDECAR);
        command
            .env("OPENCODE_BIN", STUB)
            .env("WORKSPACE_DIR", dir.path().join("workspace"))
            .env("DATA_DIR", dir.path().join("data"))
            .env("HOST", "127.0.0.1")
            .env("PORT", port.to_string());
        Self::spawn(command, port, dir)
    }

    fn bare(port: u16) -> Self {
        let mut command = pinned(&std::env::current_exe().unwrap().to_string_lossy());
        command.arg("--bare").arg(port.to_string());
        Self::spawn(command, port, tempfile::tempdir().unwrap())
    }

    fn spawn(mut command: Command, port: u16, dir: tempfile::TempDir) -> Self {
        let process = command
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        Self {
            process,
            address: ([127, 0, 0, 1], port).into(),
            _dir: dir,
        }
    }

    fn until(&self, path: &str) {
        let deadline = Instant::now() + Duration::from_secs(20);
        while !ask(self.address, path).is_some_and(|answer| answer.starts_with("HTTP/1.1 200")) {
            assert!(Instant::now() < deadline, "{path} is not 200");
        }
    }

    fn resident_kib(&self) -> f64 {
        let status = fs::read_to_string(format!("/proc/{}/status", self.process.id())).unwrap();
        let line = status
            .lines()
            .find(|line| line.starts_with("VmRSS:"))
            .unwrap();
        line.split_whitespace().nth(1).unwrap().parse().unwrap()
    }

    /// User and system time used so far.
    fn cpu(&self) -> Duration {
        let stat = fs::read_to_string(format!("/proc/{}/stat", self.process.id())).unwrap();
        let fields: Vec<&str> = stat.rsplit_once(") ").unwrap().1.split(' ').collect();
        let ticks: u64 = fields[11].parse::<u64>().unwrap() + fields[12].parse::<u64>().unwrap();
        Duration::from_millis(ticks * 1000 / rustix::param::clock_ticks_per_second())
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let pid = rustix::process::Pid::from_child(&self.process);
        rustix::process::kill_process(pid, rustix::process::Signal::TERM).unwrap();
        self.process.wait().unwrap();
    }
}

fn pinned(program: &str) -> Command {
    let mut command = Command::new("taskset");
    command
        .args(["-c", "0"])
        .arg(program)
        .env("TOKIO_WORKER_THREADS", "1");
    command
}

fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap()
        .port()
}

fn ask(address: SocketAddr, path: &str) -> Option<String> {
    let mut stream = TcpStream::connect(address).ok()?;
    write!(
        stream,
        "GET {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n"
    )
    .ok()?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).ok()?;
    Some(answer)
}

/// From spawn to the first 200, the median of several.
fn start_time(start: impl Fn(u16) -> Server) -> Duration {
    let mut times: Vec<Duration> = (0..21)
        .map(|_| {
            let port = free_port();
            let begun = Instant::now();
            let server = start(port);
            server.until("/healthz");
            begun.elapsed()
        })
        .collect();
    times.sort();
    times[times.len() / 2]
}

/// Requests per second, and per second of the server's CPU.
fn throughput(server: &Server, path: &str, for_how_long: Duration) -> (f64, f64) {
    let request = format!("GET {path} HTTP/1.1\r\nhost: x\r\n\r\n");
    let mut connections: Vec<_> = (0..CONNECTIONS)
        .map(|_| BufReader::new(TcpStream::connect(server.address).unwrap()))
        .collect();
    let (begun, cpu, mut requests) = (Instant::now(), server.cpu(), 0_u64);
    while begun.elapsed() < for_how_long {
        for connection in &mut connections {
            connection.get_mut().write_all(request.as_bytes()).unwrap();
        }
        for connection in &mut connections {
            skip_answer(connection);
        }
        requests += CONNECTIONS as u64;
    }
    let (wall, cpu) = (begun.elapsed(), server.cpu().saturating_sub(cpu));
    (
        requests as f64 / wall.as_secs_f64(),
        requests as f64 / cpu.as_secs_f64(),
    )
}

fn skip_answer(connection: &mut BufReader<TcpStream>) {
    let (mut length, mut line) = (0, String::new());
    loop {
        line.clear();
        connection.read_line(&mut line).unwrap();
        if let Some(value) = line.to_ascii_lowercase().strip_prefix("content-length: ") {
            length = value.trim().parse().unwrap();
        }
        if line == "\r\n" {
            break;
        }
    }
    connection.read_exact(&mut vec![0; length]).unwrap();
}

/// Times of `/ready` on one connection while others keep the server as busy as they can.
fn probes_under_load(server: &Server) -> Vec<Duration> {
    let address = server.address;
    std::thread::scope(|scope| {
        let load = scope.spawn(move || {
            let server = Load { address };
            server.run(Duration::from_secs(5));
        });
        let mut connection = BufReader::new(TcpStream::connect(address).unwrap());
        let mut times = Vec::new();
        while !load.is_finished() {
            let begun = Instant::now();
            connection
                .get_mut()
                .write_all(b"GET /ready HTTP/1.1\r\nhost: x\r\n\r\n")
                .unwrap();
            skip_answer(&mut connection);
            times.push(begun.elapsed());
            std::thread::sleep(Duration::from_micros(500));
        }
        times.sort();
        times
    })
}

/// Requests that go the long way: router, authentication, logging.
struct Load {
    address: SocketAddr,
}

impl Load {
    fn run(&self, for_how_long: Duration) {
        let mut connections: Vec<_> = (0..CONNECTIONS)
            .map(|_| BufReader::new(TcpStream::connect(self.address).unwrap()))
            .collect();
        let begun = Instant::now();
        while begun.elapsed() < for_how_long {
            for connection in &mut connections {
                connection
                    .get_mut()
                    .write_all(b"GET /engine/status HTTP/1.1\r\nhost: x\r\n\r\n")
                    .unwrap();
            }
            connections.iter_mut().for_each(skip_answer);
        }
    }
}

fn bare_axum(port: u16) {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(async {
        let answer = || async { ([("content-type", "application/json")], r#"{"status":"ok"}"#) };
        let router = axum::Router::new().route("/healthz", axum::routing::get(answer));
        let listener = tokio::net::TcpListener::bind(("127.0.0.1", port))
            .await
            .unwrap();
        let mut builder =
            hyper_util::server::conn::auto::Builder::new(hyper_util::rt::TokioExecutor::new());
        builder.http1();
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            let (builder, router) = (builder.clone(), router.clone());
            tokio::spawn(async move {
                let service = hyper_util::service::TowerToHyperService::new(router);
                builder
                    .serve_connection(hyper_util::rt::TokioIo::new(stream), service)
                    .await
                    .ok();
            });
        }
    });
}

fn main() {
    let arguments: Vec<String> = std::env::args().collect();
    if let Some(at) = arguments.iter().position(|argument| argument == "--bare") {
        return bare_axum(arguments[at + 1].parse().unwrap());
    }
    println!("foundation: sidecar beside a bare axum server, each on core 0, load from here");

    let (ours, bare) = (start_time(Server::sidecar), start_time(Server::bare));
    println!(
        "spawn to first 200 on /healthz   goal <= 10 ms      sidecar {ours:>9.2?}   bare axum {bare:>9.2?}   (median of 21)"
    );

    let (sidecar, bare) = (Server::sidecar(free_port()), Server::bare(free_port()));
    sidecar.until("/ready");
    bare.until("/healthz");
    std::thread::sleep(Duration::from_secs(3));
    let (ours, theirs) = (
        sidecar.resident_kib() / 1024.0,
        bare.resident_kib() / 1024.0,
    );
    println!(
        "idle RSS, ready, 3 s later       goal <= 8 MiB      sidecar {ours:>6.1} MiB  bare axum {theirs:>6.1} MiB"
    );

    for (name, server) in [("sidecar", &sidecar), ("bare axum", &bare)] {
        throughput(server, "/healthz", Duration::from_secs(1));
        let (wall, cpu) = throughput(server, "/healthz", Duration::from_secs(5));
        println!(
            "/healthz at {CONNECTIONS} connections       goal >= 140 k/s    {name}: {cpu:>8.0}/s per CPU second, {wall:>8.0}/s on the clock"
        );
    }

    let times = probes_under_load(&sidecar);
    let at = |share: f64| times[((times.len() - 1) as f64 * share) as usize];
    println!(
        "/ready while {CONNECTIONS} connections ask    goal p99.9 <= 5 ms  p50 {:.2?}  p99 {:.2?}  p99.9 {:.2?}  of {}",
        at(0.5),
        at(0.99),
        at(0.999),
        times.len()
    );

    let bytes = fs::metadata(SIDECAR).unwrap().len();
    println!(
        "release binary                   goal < 10 MB       {:.2} MB",
        bytes as f64 / 1e6
    );
}
