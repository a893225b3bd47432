//! The whole way: a child that plays events, the sidecar, readers. `cargo bench --features bench --bench end_to_end`.
//! `-- traces` compares with and without traces only, `-- against FILE` the sidecar in FILE with this one: what a change
//! of the code costs shows only where both run in turns.
//!
//! The child is this program again, started by the sidecar as if it were OpenCode. It streams text
//! deltas of about 200 bytes, each with the moment it was written, to whoever listens: to the sidecar,
//! and to one reader that listens to it directly. What the sidecar adds is the difference, in one run.

#![expect(
    clippy::unwrap_used,
    clippy::print_stdout,
    clippy::cast_precision_loss,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a benchmark prints, and fails by panicking"
)]

use std::fs;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use parking_lot::Mutex;

const SIDECAR: &str = env!("CARGO_BIN_EXE_opencode-sidecar");
const SESSION: &str = "ses_bench";

/// The argument that makes this program a bare axum server, which passes on what the child at an address says.
const RELAY: &str = "relay";

fn main() {
    let arguments: Vec<String> = std::env::args().collect();
    if arguments.iter().any(|argument| argument == "serve") {
        let port = arguments
            .iter()
            .skip_while(|argument| *argument != "--port")
            .nth(1)
            .unwrap();
        return FAKE.serve(port);
    }
    if let [_, role, child] = &*arguments
        && role == RELAY
    {
        return relay(child.parse().unwrap());
    }
    println!("end to end: child -> sidecar -> readers, beside a direct subscription to the child");
    if let Some(at) = arguments.iter().position(|argument| argument == "against") {
        let other = arguments.get(at + 1).unwrap();
        let builds = [("other", &**other), ("this", SIDECAR)]
            .map(|(build, program)| (build, Sidecar::start(program, "on", None)));
        for (readers, pairs) in [(1, 51), (60, 15)] {
            compare("build", &builds, 20_000, readers, pairs);
        }
        return;
    }
    if arguments.iter().any(|argument| argument == "traces") {
        return traces();
    }
    // Beside each other, because a machine is never twice the same.
    let journals = ["off", "on"].map(|journal| (journal, Sidecar::start(SIDECAR, journal, None)));
    let bare = Relay::start(journals[1].1.child);
    for (journal, sidecar) in &journals {
        paced(sidecar, &bare, journal, 1000, 5000);
    }
    bare_bursts(&journals[1].1, &bare, 20_000, 9);
    // A session serves 64 at most.
    for (readers, pairs) in [(1, 25), (60, 9)] {
        compare("journal", &journals, 20_000, readers, pairs);
    }
    drop(journals);
    traces();
}

fn traces() {
    let collector = collector();
    let traced = [("off", None), ("10 %", Some(collector))]
        .map(|(traces, collector)| (traces, Sidecar::start(SIDECAR, "on", collector)));
    compare("traces", &traced, 20_000, 1, 51);
}

/// Takes whatever comes, as a collector of traces would.
fn collector() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = BufReader::new(stream.unwrap());
            while read_request(&mut stream).is_some() {
                let answer = b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n";
                stream.get_mut().write_all(answer).unwrap();
            }
        }
    });
    address
}

/// Bursts without and with something in turns: the middle one of each kind, and of what each pair says.
fn compare(
    what: &str,
    sidecars: &[(&str, Sidecar); 2],
    events: usize,
    readers: usize,
    pairs: usize,
) {
    let mut bursts = [Vec::new(), Vec::new()];
    let mut costs = Vec::new();
    for pair in 0..pairs {
        // Who is second may find a warmer machine.
        let order = if pair % 2 == 0 { [0, 1] } else { [1, 0] };
        for which in order {
            bursts[which].push(burst(&sidecars[which].1, events, readers));
        }
        let wall = |which: usize| bursts[which][pair].0.as_secs_f64();
        costs.push((wall(1) / wall(0) - 1.0) * 100.0);
    }
    let total = (events * readers) as f64;
    for ((setting, _), bursts) in sidecars.iter().zip(&mut bursts) {
        bursts.sort();
        let wall = bursts[pairs / 2].0.as_secs_f64();
        bursts.sort_by_key(|(_, cpu)| *cpu);
        println!(
            "burst of {events} to {readers:>3} readers, {what} {setting:>4}      goal {}   {:.2} M/s on the clock, {:.2} us of the sidecar's CPU per event and reader",
            if readers == 1 {
                "250 k/s (4 us)"
            } else {
                "4 M/s (0.25 us)"
            },
            total / wall / 1e6,
            bursts[pairs / 2].1.as_secs_f64() * 1e6 / total,
        );
    }
    costs.sort_by(f64::total_cmp);
    println!(
        "  what that costs, {pairs} pairs         goal {}   {:.0} % of the time without it (quartiles {:.0} and {:.0} %)",
        match what {
            "journal" => "15 %",
            "traces" => "5 %",
            _ => "2 %",
        },
        costs[pairs / 2],
        costs[pairs / 4],
        costs[pairs * 3 / 4],
    );
}

/// Events at a steady pace: how much later they arrive than on a direct subscription, and what each costs.
fn paced(sidecar: &Sidecar, bare: &Relay, journal: &str, per_second: usize, events: usize) {
    let direct = Reader::direct(sidecar);
    let session = sidecar.create(&format!("play {events} {per_second}"));
    let cpu = cpu_of(sidecar.process.id());
    let through = Reader::stream(sidecar.address, &session);
    let (direct, through) = (direct.finish(events), through.finish(events));
    let cpu = cpu_of(sidecar.process.id()).saturating_sub(cpu);
    let at = |times: &[Duration], share: f64| times[((times.len() - 1) as f64 * share) as usize];
    let (p50, p99) = (at(&direct, 0.5), at(&direct, 0.99));
    println!(
        "{per_second} events/s, one reader, journal {journal:>3}      goal +80 us p50, +300 us p99   direct {p50:.0?} / {p99:.0?}   added {:.0?} / {:.0?}   {:.0?} of CPU an event",
        at(&through, 0.5).saturating_sub(p50),
        at(&through, 0.99).saturating_sub(p99),
        cpu / events as u32,
    );
    if sidecar.child != bare.child {
        return;
    }
    let direct = Reader::direct(sidecar);
    let through = Reader::open(bare.address, "/");
    bare.until_it_listens();
    let cpu = cpu_of(bare.process.id());
    sidecar.create(&format!("play {events} {per_second}"));
    let (direct, through) = (direct.finish(events), through.finish(events));
    let cpu = cpu_of(bare.process.id()).saturating_sub(cpu);
    let (p50, p99) = (at(&direct, 0.5), at(&direct, 0.99));
    println!(
        "{per_second} events/s, one reader, bare axum        direct {p50:.0?} / {p99:.0?}   added {:.0?} / {:.0?}   {:.0?} of CPU an event",
        at(&through, 0.5).saturating_sub(p50),
        at(&through, 0.99).saturating_sub(p99),
        cpu / events as u32,
    );
}

/// Bursts through the sidecar with its journal and through bare axum, in turns: the middle one of each.
fn bare_bursts(sidecar: &Sidecar, bare: &Relay, events: usize, pairs: usize) {
    let (mut through, mut beside) = (Vec::new(), Vec::new());
    for _ in 0..pairs {
        through.push(burst(sidecar, events, 1).0);
        let reader = Reader::open(bare.address, "/");
        bare.until_it_listens();
        let begun = Instant::now();
        sidecar.create(&format!("play {events} 0"));
        reader.finish(events);
        beside.push(begun.elapsed());
    }
    through.sort();
    beside.sort();
    let rate = |times: &[Duration]| events as f64 / times[pairs / 2].as_secs_f64() / 1e6;
    println!(
        "burst of {events} to one reader, journal on     goal 0.5 of bare axum   {:.2} M/s, bare axum {:.2} M/s: {:.2}",
        rate(&through),
        rate(&beside),
        rate(&through) / rate(&beside),
    );
}

/// All events at once: how long they take to get through, and how much of the sidecar's CPU.
fn burst(sidecar: &Sidecar, events: usize, readers: usize) -> (Duration, Duration) {
    let (begun, cpu) = (Instant::now(), cpu_of(sidecar.process.id()));
    let session = sidecar.create(&format!("play {events} 0"));
    let all: Vec<Reader> = (0..readers)
        .map(|_| Reader::stream(sidecar.address, &session))
        .collect();
    for reader in all {
        reader.finish(events);
    }
    let cpu = cpu_of(sidecar.process.id()).saturating_sub(cpu);
    (begun.elapsed(), cpu)
}

struct Sidecar {
    process: Child,
    address: SocketAddr,
    child: SocketAddr,
    sessions: Mutex<usize>,
    dir: tempfile::TempDir,
}

impl Sidecar {
    /// `traces`: where a tenth of them goes.
    fn start(program: &str, journal: &str, traces: Option<SocketAddr>) -> Self {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir(dir.path().join("workspace")).unwrap();
        let mut command = Command::new(program);
        if let Some(collector) = traces {
            command
                .env("OTEL_EXPORTER_OTLP_ENDPOINT", format!("http://{collector}"))
                .env("OTEL_TRACES_SAMPLER", "parentbased_traceidratio")
                .env("OTEL_TRACES_SAMPLER_ARG", "0.1");
        }
        let mut process = command
            .env("OPENCODE_BIN", std::env::current_exe().unwrap())
            .env("WORKSPACE_DIR", dir.path().join("workspace"))
            .env("DATA_DIR", dir.path().join("data"))
            .env("MAX_CONCURRENT_SESSIONS", "100")
            .env("JOURNAL", journal)
            .env("HOST", "127.0.0.1")
            .env("PORT", "0")
            // The child here plays to whoever listens; it does no turn of its own.
            .env("WARM_UP", "off")
            .env("LOG_LEVEL", "error")
            .env("ANNOUNCE", "json")
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut line = String::new();
        BufReader::new(process.stdout.take().unwrap())
            .read_line(&mut line)
            .unwrap();
        let listening: serde_json::Value = serde_json::from_str(&line).unwrap();
        let address = ([127, 0, 0, 1], listening["port"].as_u64().unwrap() as u16).into();
        let deadline = Instant::now() + Duration::from_secs(20);
        while !request(address, "GET", "/ready", "").starts_with("HTTP/1.1 200") {
            if Instant::now() >= deadline {
                process.kill().unwrap();
                panic!("the sidecar is not ready");
            }
            thread::sleep(Duration::from_millis(20));
        }
        let status = request(address, "GET", "/engine/status", "");
        let body: serde_json::Value =
            serde_json::from_str(status.split("\r\n\r\n").nth(1).unwrap()).unwrap();
        let child = ([127, 0, 0, 1], body["port"].as_u64().unwrap() as u16).into();
        Self {
            process,
            address,
            child,
            sessions: Mutex::new(0),
            dir,
        }
    }

    fn create(&self, prompt: &str) -> String {
        let mut sessions = self.sessions.lock();
        *sessions += 1;
        let id = format!("bench-{sessions}");
        let body = serde_json::json!({
            "session_id": id, "prompt": prompt, "model_config": { "provider": "local", "model": "x" },
        });
        let answer = request(self.address, "POST", "/sessions", &body.to_string());
        assert!(answer.starts_with("HTTP/1.1 201"), "{answer}");
        id
    }
}

/// User and system time that a process used so far.
fn cpu_of(process: u32) -> Duration {
    let stat = fs::read_to_string(format!("/proc/{process}/stat")).unwrap();
    let fields: Vec<&str> = stat.rsplit_once(") ").unwrap().1.split(' ').collect();
    let ticks = fields[11].parse::<u64>().unwrap() + fields[12].parse::<u64>().unwrap();
    Duration::from_millis(ticks * 1000 / rustix::param::clock_ticks_per_second())
}

impl Drop for Sidecar {
    fn drop(&mut self) {
        let pid = rustix::process::Pid::from_child(&self.process);
        rustix::process::kill_process(pid, rustix::process::Signal::TERM).unwrap();
        self.process.wait().unwrap();
        assert!(self.dir.path().exists());
    }
}

/// A bare axum server beside the sidecar: it splits what the child says into frames and gives each to its readers.
struct Relay {
    process: Child,
    address: SocketAddr,
    child: SocketAddr,
}

impl Relay {
    fn start(child: SocketAddr) -> Self {
        let mut process = Command::new(std::env::current_exe().unwrap())
            .args([RELAY, &child.to_string()])
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut line = String::new();
        BufReader::new(process.stdout.take().unwrap())
            .read_line(&mut line)
            .unwrap();
        Self {
            process,
            address: line.trim().parse().unwrap(),
            child,
        }
    }

    /// Returns once every reader that connected has its place.
    fn until_it_listens(&self) {
        while !request(self.address, "GET", "/readers", "").ends_with('1') {
            thread::sleep(Duration::from_millis(1));
        }
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        self.process.kill().unwrap();
        self.process.wait().unwrap();
    }
}

#[tokio::main]
async fn relay(child: SocketAddr) {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

    let frames_tx = tokio::sync::broadcast::Sender::<bytes::Bytes>::new(65_536);
    let (to_readers, counted) = (frames_tx.clone(), frames_tx.clone());
    let readers = move || async move { counted.receiver_count().to_string() };
    let follow = move || async move {
        let frames_rx = to_readers.subscribe();
        let frames = futures_util::stream::unfold(frames_rx, |mut frames_rx| async {
            let frame = frames_rx.recv().await.ok()?;
            Some((Ok::<_, std::convert::Infallible>(frame), frames_rx))
        });
        axum::body::Body::from_stream(frames)
    };
    let router = axum::Router::new()
        .route("/", axum::routing::get(follow))
        .route("/readers", axum::routing::get(readers));
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    println!("{}", listener.local_addr().unwrap());
    let pass_on = async move {
        let mut feed = tokio::net::TcpStream::connect(child).await.unwrap();
        feed.write_all(b"GET /global/event HTTP/1.1\r\nhost: x\r\n\r\n")
            .await
            .unwrap();
        // The child's answer has no chunks; its head is passed on like a frame and holds no event.
        let mut waiting = bytes::BytesMut::new();
        while feed.read_buf(&mut waiting).await.unwrap() > 0 {
            while let Some(end) = memchr::memmem::find(&waiting, b"\n\n") {
                frames_tx.send(waiting.split_to(end + 2).freeze()).ok();
            }
        }
    };
    tokio::join!(pass_on, async {
        axum::serve(listener, router).await.unwrap();
    });
}

fn request(address: SocketAddr, method: &str, path: &str, body: &str) -> String {
    let Ok(mut stream) = TcpStream::connect(address) else {
        return String::new();
    };
    write!(
        stream,
        "{method} {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\ncontent-length: {}\r\n\r\n{body}",
        body.len()
    )
    .unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    answer
}

/// Reads a stream on a thread of its own and notes how old each event is when it comes.
struct Reader {
    times_rx: Receiver<Duration>,
}

impl Reader {
    fn direct(sidecar: &Sidecar) -> Self {
        Self::open(sidecar.child, "/global/event")
    }

    fn stream(address: SocketAddr, session: &str) -> Self {
        Self::open(address, &format!("/sessions/{session}/stream"))
    }

    fn open(address: SocketAddr, path: &str) -> Self {
        let mut stream = TcpStream::connect(address).unwrap();
        write!(stream, "GET {path} HTTP/1.1\r\nhost: x\r\n\r\n").unwrap();
        let (times_tx, times_rx) = channel();
        thread::spawn(move || note_ages(&mut stream, &times_tx));
        Self { times_rx }
    }

    /// The ages of so many events, in order of size.
    fn finish(self, events: usize) -> Vec<Duration> {
        let mut times: Vec<Duration> = (0..events)
            .map(|n| {
                let patience = Duration::from_secs(30);
                self.times_rx
                    .recv_timeout(patience)
                    .unwrap_or_else(|_| panic!("only {n} of {events} events came"))
            })
            .collect();
        times.sort();
        times
    }
}

/// Every event carries `@<nanoseconds since 1970>@`.
fn note_ages(stream: &mut TcpStream, times_tx: &Sender<Duration>) {
    let (mut piece, mut digits) = (vec![0_u8; 256 * 1024], None::<u128>);
    while let Ok(read @ 1..) = stream.read(&mut piece) {
        let now = nanos();
        for byte in &piece[..read] {
            match (byte, digits) {
                (b'@', None) => digits = Some(0),
                (b'@', Some(written)) => {
                    let age = Duration::from_nanos(now.saturating_sub(written) as u64);
                    if times_tx.send(age).is_err() {
                        return;
                    }
                    digits = None;
                }
                (b'0'..=b'9', Some(so_far)) => digits = Some(so_far * 10 + u128::from(byte - b'0')),
                (_, Some(_)) => digits = None,
                (_, None) => {}
            }
        }
    }
}

fn nanos() -> u128 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap()
        .as_nanos()
}

/// A child that plays: the least of OpenCode that a turn needs.
struct Fake {
    listeners: Mutex<Vec<Sender<String>>>,
    turns: Mutex<usize>,
}

static FAKE: Fake = Fake {
    listeners: Mutex::new(Vec::new()),
    turns: Mutex::new(0),
};

impl Fake {
    fn serve(&'static self, port: &str) {
        println!("opencode-sidecar: ready for the secrets");
        std::io::read_to_string(std::io::stdin()).unwrap();
        let listener = TcpListener::bind(format!("127.0.0.1:{port}")).unwrap();
        println!(
            "opencode server listening on http://{}",
            listener.local_addr().unwrap()
        );
        for stream in listener.incoming() {
            thread::spawn(move || self.connection(stream.unwrap()));
        }
    }

    fn connection(&self, stream: TcpStream) {
        stream.set_nodelay(true).unwrap();
        let mut reader = BufReader::new(stream.try_clone().unwrap());
        while let Some((line, body)) = read_request(&mut reader) {
            let path = line.split([' ', '?']).nth(1).unwrap_or_default();
            let answer = match path {
                "/global/event" => return self.listen(stream),
                "/global/health" => r#"{"healthy":true,"version":"1.18.33"}"#.to_owned(),
                "/session" => {
                    let mut turns = self.turns.lock();
                    *turns += 1;
                    format!(r#"{{"id":"{SESSION}_{turns}"}}"#)
                }
                "/session/status" => "{}".to_owned(),
                _ if path.ends_with("/message") => last_message(path),
                _ if path.ends_with("/prompt_async") => {
                    let (session, body) = (path.split('/').nth(2).unwrap().to_owned(), body);
                    thread::spawn(move || FAKE.play(&session, &body));
                    "true".to_owned()
                }
                _ => "true".to_owned(),
            };
            let head = format!(
                "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n",
                answer.len()
            );
            (&stream)
                .write_all(format!("{head}{answer}").as_bytes())
                .unwrap();
        }
    }

    fn listen(&self, mut stream: TcpStream) {
        let (events_tx, events_rx) = channel();
        self.listeners.lock().push(events_tx);
        stream
            .write_all(b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n\r\n")
            .unwrap();
        let mut waiting =
            r#"data: {"payload":{"type":"server.connected","properties":{}}}"#.to_owned() + "\n\n";
        loop {
            if stream.write_all(waiting.as_bytes()).is_err() {
                return;
            }
            let Ok(next) = events_rx.recv() else { return };
            waiting = next;
            waiting.extend(events_rx.try_iter().take(2000));
        }
    }

    fn say(&self, kind: &str, properties: &str) {
        let frame = format!(
            r#"data: {{"directory":"/w","payload":{{"id":"evt","type":"{kind}","properties":{properties}}}}}"#
        );
        let frame = frame + "\n\n";
        self.listeners
            .lock()
            .retain(|listener| listener.send(frame.clone()).is_ok());
    }

    /// `play <events> <per second, 0: at once>`
    fn play(&self, session: &str, body: &str) {
        let body: serde_json::Value = serde_json::from_str(body).unwrap();
        let mut words = body["parts"][0]["text"]
            .as_str()
            .unwrap()
            .split(' ')
            .skip(1);
        let mut number = || words.next().unwrap().parse::<usize>().unwrap();
        let (events, per_second) = (number(), number());
        self.say(
            "session.status",
            &format!(r#"{{"sessionID":"{session}","status":{{"type":"busy"}}}}"#),
        );
        self.say("message.updated", &format!(r#"{{"sessionID":"{session}","info":{{"id":"msg_1","role":"assistant","sessionID":"{session}","time":{{"created":1}}}}}}"#));
        self.say("message.part.updated", &format!(r#"{{"sessionID":"{session}","part":{{"id":"prt_{session}","messageID":"msg_1","sessionID":"{session}","type":"text","text":""}}}}"#));
        let begun = Instant::now();
        for n in 0..events {
            if let Some(micros) = (n * 1_000_000).checked_div(per_second) {
                let due = Duration::from_micros(micros as u64);
                thread::sleep(due.saturating_sub(begun.elapsed()));
            }
            let delta = format!("@{}@{}", nanos(), "x".repeat(60));
            self.say("message.part.delta", &format!(r#"{{"sessionID":"{session}","messageID":"msg_1","partID":"prt_{session}","field":"text","delta":"{delta}"}}"#));
        }
        self.say("session.idle", &format!(r#"{{"sessionID":"{session}"}}"#));
    }
}

fn last_message(path: &str) -> String {
    let session = path.split('/').nth(2).unwrap();
    format!(
        r#"[{{"info":{{"id":"msg_1","role":"assistant","sessionID":"{session}","finish":"stop","time":{{"created":1,"completed":2}}}},"parts":[]}}]"#
    )
}

fn read_request(reader: &mut impl std::io::BufRead) -> Option<(String, String)> {
    let (mut line, mut length) = (String::new(), 0);
    reader.read_line(&mut line).ok().filter(|read| *read > 0)?;
    loop {
        let mut header = String::new();
        reader.read_line(&mut header).ok()?;
        let Some((name, value)) = header.trim().split_once(": ") else {
            break;
        };
        if name.eq_ignore_ascii_case("content-length") {
            length = value.parse().ok()?;
        }
    }
    let mut body = vec![0; length];
    reader.read_exact(&mut body).ok()?;
    Some((line, String::from_utf8(body).ok()?))
}
