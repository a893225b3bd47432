//! Turns of the real OpenCode, through the sidecar and by its own API in turn. `cargo bench --features bench --bench turns`.
//!
//! A scripted model answers at once, so that all time is the agent's and the sidecar's. Each turn is divided where the
//! call reaches the provider: before it lie creation and prompt, behind it the way of the first words to the client. The
//! processes are fresh for each round, so the first turn is a first one.

#![expect(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a benchmark prints, and fails by panicking"
)]

#[path = "../tests/support/llm.rs"]
#[allow(dead_code, clippy::allow_attributes, reason = "a part of this is used")]
mod llm;
#[path = "../tests/support/mod.rs"]
mod support;

use std::io::{BufRead as _, BufReader};
use std::net::SocketAddr;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tokio::runtime::Runtime;

use llm::{Llm, Turn};
use support::sse::Stream;
use support::{Options, Sidecar, http, real_opencode};

const ROUNDS: usize = 3;
const TURNS: usize = 12;

/// Where a turn's time goes.
#[derive(Clone, Copy, Debug, Default)]
struct Times {
    /// From the client's first request until the provider has the call.
    to_provider: Duration,
    /// From then until the client has the first words.
    to_client: Duration,
}

impl Times {
    fn whole(self) -> Duration {
        self.to_provider + self.to_client
    }
}

/// The provider that everybody calls.
struct Provider {
    llm: Llm,
    runtime: Runtime,
}

impl Provider {
    fn start() -> Self {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()
            .unwrap();
        let llm = runtime.block_on(Llm::start());
        llm.reply_always(Turn::new().text("The answer is here."));
        Self { llm, runtime }
    }

    /// Runs a turn; `run` returns with the first words.
    fn time(&self, run: impl FnOnce()) -> Times {
        let before = self.llm.ordinary_requests();
        let begun = Instant::now();
        let arrived = self.runtime.spawn({
            let arrival = self.llm.until_ordinary(before + 1);
            async move {
                arrival.await;
                Instant::now()
            }
        });
        run();
        let answered = Instant::now();
        let arrived = self.runtime.block_on(arrived).unwrap();
        Times {
            to_provider: arrived - begun,
            to_client: answered - arrived,
        }
    }
}

fn main() {
    let provider = Provider::start();
    let mut sidecar = Vec::new();
    let mut direct = Vec::new();
    for _ in 0..ROUNDS {
        sidecar.push(through_the_sidecar(&provider));
        direct.push(directly(&provider));
    }
    println!(
        "first words of a turn, medians of {ROUNDS} rounds, in ms (to the provider + back to the client)"
    );
    for (name, turn) in [("first", 0), ("second", 1), ("third", 2), ("tenth", 9)] {
        let [ours, theirs] = [&sidecar, &direct].map(|rounds| middle(rounds, turn));
        println!(
            "{name} turn: sidecar {}, OpenCode's own API {}, difference {:+.1}",
            shown(ours),
            shown(theirs),
            millis(ours.whole()) - millis(theirs.whole()),
        );
    }
}

fn middle(rounds: &[Vec<Times>], turn: usize) -> Times {
    let mut times: Vec<Times> = rounds.iter().map(|round| round[turn]).collect();
    times.sort_unstable_by_key(|times| times.whole());
    times[times.len() / 2]
}

fn shown(times: Times) -> String {
    format!(
        "{:.1} ({:.1} + {:.1})",
        millis(times.whole()),
        millis(times.to_provider),
        millis(times.to_client)
    )
}

fn millis(time: Duration) -> f64 {
    time.as_secs_f64() * 1000.0
}

/// Resident memory in MiB.
fn resident(pid: i32) -> u64 {
    let statm = std::fs::read_to_string(format!("/proc/{pid}/statm")).unwrap();
    let pages: u64 = statm.split(' ').nth(1).unwrap().parse().unwrap();
    pages * 4096 / (1 << 20)
}

fn through_the_sidecar(provider: &Provider) -> Vec<Times> {
    let begun = Instant::now();
    let sidecar = Options::real().env("LOG_LEVEL", "warn").start().ready();
    let ready = begun.elapsed();
    let child = sidecar.engine_pid();
    let fresh = resident(child);
    let times = (0..TURNS)
        .map(|turn| turn_of_the_sidecar(provider, &sidecar, turn))
        .collect();
    println!(
        "sidecar ready after {:.0} ms; its child has {fresh} MiB then, and {} MiB after {TURNS} turns",
        millis(ready),
        resident(child)
    );
    times
}

fn turn_of_the_sidecar(provider: &Provider, sidecar: &Sidecar, turn: usize) -> Times {
    let body = json!({
        "session_id": format!("bench-{turn}"),
        "prompt": "What is the answer?",
        "model_config": {
            "provider": "custom", "model": "bench", "api_key": "bench-key", "api_endpoint": provider.llm.base(),
        },
    });
    let mut stream = None;
    let times = provider.time(|| {
        let headers = [("accept", "text/event-stream")];
        let mut events = Stream::open(
            sidecar.address,
            "POST",
            "/sessions",
            &headers,
            &body.to_string(),
        );
        events.until("the first words", |event| event.kind == "output");
        stream = Some(events);
    });
    let rest = stream.unwrap().rest();
    assert_eq!(rest.last().unwrap().kind, "complete", "{rest:?}");
    times
}

/// A bare OpenCode.
struct OpenCode {
    process: Child,
    address: SocketAddr,
    _dir: tempfile::TempDir,
}

impl OpenCode {
    fn start(base: &str) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let model = json!({ "name": "bench", "limit": { "context": 128_000, "output": 8_192 } });
        let configuration = json!({
            "model": "bench/bench",
            "provider": { "bench": {
                "npm": "@ai-sdk/openai-compatible",
                "options": { "baseURL": base, "apiKey": "bench-key" },
                "models": { "bench": model },
            } },
        });
        let mut command = Command::new(real_opencode());
        command
            .args(["serve", "--port", "0", "--hostname", "127.0.0.1"])
            .current_dir(dir.path())
            .env_clear()
            .env("PATH", "/usr/local/bin:/usr/bin:/bin")
            .env("HOME", dir.path())
            .env("OPENCODE_CONFIG_CONTENT", configuration.to_string())
            .stdout(Stdio::piped())
            .stderr(Stdio::null());
        for switch in [
            "AUTOUPDATE",
            "MODELS_FETCH",
            "LSP_DOWNLOAD",
            "DEFAULT_PLUGINS",
            "SHARE",
        ] {
            command.env(format!("OPENCODE_DISABLE_{switch}"), "1");
        }
        let mut process = command.spawn().unwrap();
        let lines = BufReader::new(process.stdout.take().unwrap()).lines();
        let address = lines
            .map_while(Result::ok)
            .find_map(|line| {
                let url = line.strip_prefix("opencode server listening on http://")?;
                Some(url.trim().parse().unwrap())
            })
            .unwrap();
        let opencode = Self {
            process,
            address,
            _dir: dir,
        };
        opencode.until_healthy();
        opencode
    }

    fn until_healthy(&self) {
        let deadline = Instant::now() + Duration::from_mins(1);
        while !http::send(self.address, "GET", "/global/health", &[], b"")
            .is_ok_and(|answer| answer.status == 200)
        {
            assert!(Instant::now() < deadline, "OpenCode does not answer");
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    fn post(&self, path: &str, body: &Value) -> http::Response {
        http::send(self.address, "POST", path, &[], body.to_string().as_bytes()).unwrap()
    }
}

impl Drop for OpenCode {
    fn drop(&mut self) {
        self.process.kill().ok();
        self.process.wait().ok();
    }
}

fn directly(provider: &Provider) -> Vec<Times> {
    let begun = Instant::now();
    let opencode = OpenCode::start(&provider.llm.base());
    let ready = begun.elapsed();
    let child = i32::try_from(opencode.process.id()).unwrap();
    let fresh = resident(child);
    let mut events = Stream::open(opencode.address, "GET", "/event", &[], "");
    let times = (0..TURNS)
        .map(|_| direct_turn(provider, &opencode, &mut events))
        .collect();
    println!(
        "OpenCode alone answers after {:.0} ms; it has {fresh} MiB then, and {} MiB after {TURNS} turns",
        millis(ready),
        resident(child)
    );
    times
}

fn direct_turn(provider: &Provider, opencode: &OpenCode, events: &mut Stream) -> Times {
    let of = |event: &support::sse::Event, kind: &str| event.data["type"] == kind;
    let times = provider.time(|| {
        let session = opencode.post("/session", &json!({})).json();
        let id = session["id"].as_str().unwrap();
        let prompt = json!({ "parts": [{ "type": "text", "text": "What is the answer?" }] });
        let answer = opencode.post(&format!("/session/{id}/prompt_async"), &prompt);
        assert_eq!(answer.status, 204, "{answer:?}");
        events.until("the first words", |event| of(event, "message.part.delta"));
    });
    events.until("the end", |event| of(event, "session.idle"));
    times
}
