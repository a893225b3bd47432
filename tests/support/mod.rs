//! The real binary, started as a user starts it, and what a test needs to look at it.

#![expect(
    clippy::unwrap_used,
    clippy::print_stderr,
    clippy::disallowed_methods,
    reason = "a test fails by panicking, and shows what it saw"
)]
#![allow(
    dead_code,
    clippy::allow_attributes,
    reason = "each test binary uses its part of this"
)]

pub(crate) mod bad_proxy;
pub(crate) mod full_disk;
pub(crate) mod http;
pub(crate) mod otlp;
mod private;
pub(crate) mod processes;
pub(crate) mod runbook;
pub(crate) mod sse;
pub(crate) mod ws;

use std::collections::BTreeSet;
use std::io::{BufRead as _, BufReader, Read as _};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::sync::{Arc, atomic};
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use serde_json::Value;

use self::http::Response;

/// Longer than anything here should take on a busy machine; reached only by a fault.
pub(crate) const TEST_TIMEOUT: Duration = Duration::from_secs(40);

pub(crate) const SIDECAR: &str = env!("CARGO_BIN_EXE_opencode-sidecar");
pub(crate) const STUB: &str = env!("CARGO_BIN_EXE_stub-opencode");

/// The pinned OpenCode. Without it the tests that need it fail, and say how to get it.
pub(crate) fn real_opencode() -> PathBuf {
    let path = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tools/opencode/node_modules/opencode-linux-x64/bin/opencode");
    assert!(
        path.exists(),
        "{} is missing: run `make opencode` (make test does)",
        path.display()
    );
    path
}

/// A test that cannot run here says so. In CI that is a fault: a green run must mean that it ran.
pub(crate) fn skipped(why: &str) {
    assert!(std::env::var_os("CI").is_none(), "skipped in CI: {why}");
    eprintln!("skipped: {why}");
}

/// What to start, and how.
pub(crate) struct Options {
    pub(crate) bin: PathBuf,
    pub(crate) env: Vec<(String, String)>,
    script: Option<Value>,
    pub(crate) dir: tempfile::TempDir,
}

impl Options {
    /// Against the stub, with delays fit for a test.
    pub(crate) fn stub() -> Self {
        let options = Self::with_bin(STUB.into());
        options
            // The stub keeps its script and its notes where no child may reach them.
            .env("SANDBOX", "off")
            .env("ENGINE_BACKOFF_MIN", "10ms")
            .env("ENGINE_BACKOFF_MAX", "50ms")
            .env("ENGINE_START_TIMEOUT", "5s")
            // The stub can do no turn.
            .env("WARM_UP", "session")
    }

    /// Against the real OpenCode.
    pub(crate) fn real() -> Self {
        Self::with_bin(real_opencode()).env("ENGINE_BACKOFF_MIN", "10ms")
    }

    fn with_bin(bin: PathBuf) -> Self {
        let dir = tempfile::Builder::new()
            .prefix("sidecar-test-")
            .tempdir()
            .unwrap();
        std::fs::create_dir(dir.path().join("workspace")).unwrap();
        std::fs::create_dir(dir.path().join("data")).unwrap();
        Self {
            bin,
            env: Vec::new(),
            script: None,
            dir,
        }
    }

    pub(crate) fn env(mut self, name: &str, value: &str) -> Self {
        self.env.retain(|(known, _)| known != name);
        self.env.push((name.into(), value.into()));
        self
    }

    /// The stub's script; its fields are in `tests/stubs/opencode.rs`.
    pub(crate) fn script(mut self, script: Value) -> Self {
        self.script = Some(script);
        self
    }

    /// What is in the file of the audit log, if there is one.
    fn audit(&self) -> String {
        let file = self.env.iter().find(|(name, _)| name == "AUDIT_FILE");
        let text = file.and_then(|(_, path)| std::fs::read_to_string(path).ok());
        text.unwrap_or_default()
    }

    pub(crate) fn command(&self) -> Command {
        if let Some(script) = &self.script {
            std::fs::write(self.dir.path().join("data/stub.json"), script.to_string()).unwrap();
        }
        let mut command = Command::new(SIDECAR);
        command
            .env_clear()
            .env("PATH", std::env::var_os("PATH").unwrap())
            .env("OPENCODE_BIN", &self.bin)
            .env("WORKSPACE_DIR", self.dir.path().join("workspace"))
            .env("DATA_DIR", self.dir.path().join("data"))
            .env("HOST", "127.0.0.1")
            .env("PORT", "0")
            .env("LOG_LEVEL", "debug")
            .env("LOG_FORMAT", "json")
            .envs(self.env.iter().map(|(name, value)| (name, value)))
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        command
    }

    /// Starts it and waits for its address; it need not be ready.
    pub(crate) fn start(self) -> Sidecar {
        let command = self.command();
        self.start_as(command)
    }

    /// The same, when `HOST` is another address of loopback.
    pub(crate) fn start_at(self, host: [u8; 4]) -> Sidecar {
        let mut sidecar = self.start();
        sidecar.address.set_ip(host.into());
        sidecar
    }

    /// The same, wrapped: `command` ends in running the sidecar.
    pub(crate) fn start_as(self, mut command: Command) -> Sidecar {
        let mut process = command.spawn().unwrap();
        let log = Arc::new(Mutex::new(String::new()));
        let stderr = BufReader::new(process.stderr.take().unwrap());
        let copy = log.clone();
        std::thread::spawn(move || {
            for line in stderr.lines().map_while(Result::ok) {
                let mut log = copy.lock();
                log.push_str(&line);
                log.push('\n');
            }
        });
        let mut stdout = BufReader::new(process.stdout.take().unwrap());
        let (line_tx, line_rx) = channel();
        std::thread::spawn(move || {
            let mut line = String::new();
            stdout.read_line(&mut line).ok();
            line_tx.send(line).ok();
            std::io::copy(&mut stdout, &mut std::io::sink()).ok();
        });
        let mut sidecar = Sidecar {
            process,
            address: ([127, 0, 0, 1], 0).into(),
            log,
            token: None,
            options: Some(self),
            checked: atomic::AtomicBool::new(false),
            private: Mutex::default(),
        };
        sidecar.address = sidecar.read_address(&line_rx);
        sidecar
    }

    /// Runs it to its end, for starts that are refused: status, stderr.
    pub(crate) fn refused(&self) -> (Option<i32>, String) {
        let output = finish(self.command().spawn().unwrap());
        (output.0.code(), output.1)
    }
}

/// The sidecar as uid 65534, who owns what is in `owned`. Only root can start this.
pub(crate) fn as_nobody(options: Options, owned: &[&str]) -> (Options, Command) {
    use std::os::unix::fs::{PermissionsExt as _, chown};
    let dir = options.dir.path().to_owned();
    std::fs::set_permissions(&dir, std::fs::Permissions::from_mode(0o755)).unwrap();
    // The checkout may lie where nobody may look.
    for (name, program) in [("sidecar", SIDECAR), ("opencode", STUB)] {
        std::fs::copy(program, dir.join(name)).unwrap();
    }
    for name in owned {
        chown(dir.join(name), Some(65534), Some(65534)).unwrap();
    }
    let options = options.env("OPENCODE_BIN", &dir.join("opencode").to_string_lossy());
    let script = "exec setpriv --reuid 65534 --regid 65534 --clear-groups \"$0\"";
    let mut command = wrapped(&options, script);
    command.arg(dir.join("sidecar"));
    (options, command)
}

/// `sh -c script` with the variables that `options` would give the sidecar.
pub(crate) fn wrapped(options: &Options, script: &str) -> Command {
    let mut command = Command::new("sh");
    command.args(["-c", script]).env_clear();
    for (name, value) in options.command().get_envs() {
        command.env(name, value.unwrap());
    }
    command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    command
}

fn finish(mut process: Child) -> (ExitStatus, String) {
    let mut stderr = String::new();
    process
        .stderr
        .take()
        .unwrap()
        .read_to_string(&mut stderr)
        .unwrap();
    (process.wait().unwrap(), stderr)
}

/// A running sidecar. Dropping it kills it and asserts that nothing is left.
pub(crate) struct Sidecar {
    process: Child,
    pub(crate) address: SocketAddr,
    log: Arc<Mutex<String>>,
    pub(crate) token: Option<String>,
    options: Option<Options>,
    checked: atomic::AtomicBool,
    /// Prompts and keys that it was given: they are to be in nothing that it says of itself.
    private: Mutex<BTreeSet<String>>,
}

impl Sidecar {
    fn read_address(&mut self, line_rx: &Receiver<String>) -> SocketAddr {
        let line = line_rx.recv_timeout(TEST_TIMEOUT).unwrap_or_default();
        let Ok(value) = serde_json::from_str::<Value>(&line) else {
            panic!(
                "the sidecar said {line:?} instead of its address; log:\n{}",
                self.log()
            );
        };
        let port = u16::try_from(value["port"].as_u64().unwrap()).unwrap();
        ([127, 0, 0, 1], port).into()
    }

    /// The sidecar itself, also where the program that was started is one that made its namespaces and
    /// waits for it.
    pub(crate) fn pid(&self) -> u32 {
        let started = self.process.id();
        if processes::name(started).as_deref() != Some("unshare") {
            return started;
        }
        let waited_for = processes::child_of(started).unwrap();
        u32::try_from(waited_for).unwrap()
    }

    pub(crate) fn log(&self) -> String {
        self.log.lock().clone()
    }

    pub(crate) fn data_dir(&self) -> PathBuf {
        self.options.as_ref().unwrap().dir.path().join("data")
    }

    pub(crate) fn workspace(&self) -> PathBuf {
        self.options.as_ref().unwrap().dir.path().join("workspace")
    }

    pub(crate) fn script(&self, script: &Value) {
        std::fs::write(self.data_dir().join("stub.json"), script.to_string()).unwrap();
    }

    pub(crate) fn get(&self, path: &str) -> Response {
        self.send("GET", path, "")
    }

    pub(crate) fn post(&self, path: &str, body: &str) -> Response {
        self.send("POST", path, body)
    }

    pub(crate) fn send(&self, method: &str, path: &str, body: &str) -> Response {
        self.private.lock().extend(private::texts(body));
        let token = self.token.as_ref().map(|token| format!("Bearer {token}"));
        let headers: Vec<(&str, &str)> = token
            .iter()
            .map(|token| ("authorization", token.as_str()))
            .collect();
        http::send(self.address, method, path, &headers, body.as_bytes()).unwrap_or_else(|error| {
            panic!("{method} {path}: {error}; {}", processes::fate(self.pid()))
        })
    }

    /// Its metrics, if it still answers.
    fn figures(&self) -> String {
        let token = self.token.as_ref().map(|token| format!("Bearer {token}"));
        let token = token.iter().map(|token| ("authorization", token.as_str()));
        let headers: Vec<(&str, &str)> = token.collect();
        let page = http::send(self.address, "GET", "/metrics", &headers, b"");
        page.map(|page| page.body).unwrap_or_default()
    }

    /// A session's stream; `query` with its question mark.
    pub(crate) fn stream(&self, id: &str, query: &str) -> sse::Stream {
        self.stream_from(id, query, &[])
    }

    pub(crate) fn stream_from(
        &self,
        id: &str,
        query: &str,
        headers: &[(&str, &str)],
    ) -> sse::Stream {
        let path = format!("/sessions/{id}/stream{query}");
        sse::Stream::open(self.address, "GET", &path, headers, "")
    }

    pub(crate) fn engine(&self) -> Value {
        self.get("/engine/status").json()
    }

    /// As this process sees it, also where the sidecar has a namespace of its own.
    pub(crate) fn engine_pid(&self) -> i32 {
        let inner = i32::try_from(self.engine()["pid"].as_i64().unwrap()).unwrap();
        processes::outer_pid(self.pid(), inner).unwrap()
    }

    pub(crate) fn ready(self) -> Self {
        self.until("ready", |sidecar| sidecar.get("/ready").status == 200);
        self
    }

    /// Asks again and again, with a deadline. The server offers no event to wait on for these.
    pub(crate) fn until(&self, what: &str, mut holds: impl FnMut(&Self) -> bool) {
        let deadline = Instant::now() + TEST_TIMEOUT;
        while !holds(self) {
            assert!(
                Instant::now() < deadline,
                "not {what} in time; log:\n{}",
                self.log()
            );
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    pub(crate) fn signal(&self, signal: rustix::process::Signal) {
        let pid = i32::try_from(self.pid()).unwrap();
        let pid = rustix::process::Pid::from_raw(pid).unwrap();
        rustix::process::kill_process(pid, signal).unwrap();
    }

    /// Waits for its end, with a deadline.
    pub(crate) fn exit(&mut self) -> ExitStatus {
        let deadline = Instant::now() + TEST_TIMEOUT;
        loop {
            if let Some(status) = self.process.try_wait().unwrap() {
                return status;
            }
            assert!(
                Instant::now() < deadline,
                "it does not leave; log:\n{}",
                self.log()
            );
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    /// Starts another sidecar on the same directories, after this one has ended.
    pub(crate) fn again(mut self) -> Self {
        self.exit();
        self.checked.store(true, atomic::Ordering::Relaxed);
        let mut options = self.options.take().unwrap();
        // What the test wrote into the script since is to hold.
        options.script = None;
        options.start()
    }

    /// The same, in place: whoever shares the world with a test need not notice.
    pub(crate) fn restart(&mut self) -> ExitStatus {
        let status = self.exit();
        let options = self.options.take().unwrap();
        *self = options.start();
        status
    }

    /// Every process that carries the mark of this data directory.
    pub(crate) fn marked(&self) -> Vec<i32> {
        processes::marked(&self.data_dir())
    }
}

impl Drop for Sidecar {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("--- the sidecar's log:\n{}", self.log());
        }
        let Some(options) = self.options.as_ref() else {
            return;
        };
        let running = matches!(self.process.try_wait(), Ok(None));
        let figures = if running && !std::thread::panicking() {
            self.figures()
        } else {
            String::new()
        };
        if running {
            self.signal(rustix::process::Signal::TERM);
            let deadline = Instant::now() + TEST_TIMEOUT;
            while matches!(self.process.try_wait(), Ok(None)) && Instant::now() < deadline {
                std::thread::sleep(Duration::from_millis(5));
            }
            self.process.kill().ok();
            self.process.wait().ok();
        }
        let left = processes::marked(&options.dir.path().join("data"));
        for pid in &left {
            processes::kill(*pid);
        }
        if !std::thread::panicking() {
            let told = [
                ("log", self.log()),
                ("audit log", options.audit()),
                ("metrics", figures),
            ];
            private::assert_untold(&self.private.lock(), &told);
        }
        let expected = self.checked.load(atomic::Ordering::Relaxed);
        if running && !expected && !std::thread::panicking() {
            assert!(
                left.is_empty(),
                "processes outlived the sidecar: {left:?}; log:\n{}",
                self.log()
            );
        }
    }
}
