//! What it costs to be looked at: a scrape with 1 000 sessions in memory, and the memory of an exporter of traces.

#![expect(
    clippy::unwrap_used,
    clippy::print_stdout,
    clippy::cast_precision_loss,
    reason = "a benchmark prints, and fails by panicking"
)]

use std::fs;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

const SIDECAR: &str = env!("CARGO_BIN_EXE_opencode-sidecar");
const STUB: &str = env!("CARGO_BIN_EXE_stub-opencode");

const SESSIONS: usize = 1000;
const SCRAPES: usize = 101;

fn main() {
    println!("{:<46} {:>22} {:>18}", "what", "measured", "goal");
    let without = Sidecar::start(&[]);
    let idle = without.settled_kib();
    // Nobody listens there, which costs the exporter nothing until there is a span.
    let endpoint = ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.1:1");
    let with = Sidecar::start(&[endpoint]).settled_kib();
    row(
        "idle memory, no endpoint",
        &format!("{:.1} MiB", idle / 1024.0),
        "",
    );
    row(
        "  more with an endpoint",
        &format!("{:.0} KiB", with - idle),
        "",
    );

    for number in 0..SESSIONS {
        without.create_and_stop(&format!("s{number}"));
    }
    let mut times = Vec::new();
    let mut bytes = 0;
    for _ in 0..SCRAPES {
        let begun = Instant::now();
        bytes = without.ask("GET", "/metrics", "").len();
        times.push(begun.elapsed());
    }
    times.sort();
    row(
        "a scrape with 1 000 sessions in memory, median",
        &format!("{:.2} ms", times[SCRAPES / 2].as_secs_f64() * 1e3),
        "5 ms",
    );
    row(
        "  its size",
        &format!("{:.1} KiB", bytes as f64 / 1024.0),
        "300 KiB",
    );
}

fn row(what: &str, measured: &str, goal: &str) {
    println!("{what:<46} {measured:>22} {goal:>18}");
}

/// With the stub in OpenCode's place; killed when dropped.
struct Sidecar {
    process: Child,
    address: SocketAddr,
    _dir: tempfile::TempDir,
}

impl Sidecar {
    fn start(variables: &[(&str, &str)]) -> Self {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir(dir.path().join("workspace")).unwrap();
        let mut process = Command::new(SIDECAR)
            .env("OPENCODE_BIN", STUB)
            .env("WORKSPACE_DIR", dir.path().join("workspace"))
            .env("DATA_DIR", dir.path().join("data"))
            .env("SANDBOX", "off")
            .env("WARM_UP", "session")
            .env("HOST", "127.0.0.1")
            .env("PORT", "0")
            .env("LOG_LEVEL", "error")
            .env("ANNOUNCE", "json")
            .envs(variables.iter().copied())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut line = String::new();
        let mut stdout = BufReader::new(process.stdout.take().unwrap());
        stdout.read_line(&mut line).unwrap();
        let listening: serde_json::Value = serde_json::from_str(&line).unwrap();
        let port = u16::try_from(listening["port"].as_u64().unwrap()).unwrap();
        let sidecar = Self {
            process,
            address: ([127, 0, 0, 1], port).into(),
            _dir: dir,
        };
        let deadline = Instant::now() + Duration::from_secs(20);
        while !sidecar.ask("GET", "/ready", "").starts_with("HTTP/1.1 200") {
            assert!(Instant::now() < deadline, "it is not ready");
        }
        sidecar
    }

    fn ask(&self, method: &str, path: &str, body: &str) -> String {
        let mut stream = TcpStream::connect(self.address).unwrap();
        let length = body.len();
        write!(
            stream,
            "{method} {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\ncontent-type: application/json\r\ncontent-length: {length}\r\n\r\n{body}"
        )
        .unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        answer
    }

    fn create_and_stop(&self, id: &str) {
        let body = serde_json::json!({
            "session_id": id, "prompt": "go", "model_config": { "provider": "local", "model": "x" },
        });
        let answer = self.ask("POST", "/sessions", &body.to_string());
        assert!(answer.starts_with("HTTP/1.1 201"), "{answer}");
        let answer = self.ask("POST", &format!("/sessions/{id}/stop"), "");
        assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    }

    /// Resident memory, a while after the start.
    fn settled_kib(&self) -> f64 {
        std::thread::sleep(Duration::from_secs(2));
        let status = fs::read_to_string(format!("/proc/{}/status", self.process.id())).unwrap();
        let mut lines = status.lines();
        let line = lines.find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
        line.split_whitespace().next().unwrap().parse().unwrap()
    }
}

impl Drop for Sidecar {
    fn drop(&mut self) {
        let pid = rustix::process::Pid::from_child(&self.process);
        rustix::process::kill_process(pid, rustix::process::Signal::TERM).unwrap();
        self.process.wait().unwrap();
    }
}
