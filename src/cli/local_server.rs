//! `run --local`: a sidecar for one prompt, in this folder. It ends with this command, whatever ends it.

use std::ffi::{OsStr, OsString};
use std::io;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use reqwest::Url;
use rustix::process::{Pid, Signal, getppid, kill_process, set_parent_process_death_signal};
use serde_json::Value;
use tempfile::TempDir;
use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio::time::{Instant, sleep, timeout};

use super::client::Client;
use super::exit::{Exit, Problem};
use super::screen::Screen;
use super::terminal::Terminal;
use crate::config::{ClientEnvironment, ModelDefaults, Target};
use crate::engine;
use crate::secret::Secret;

/// The first argument that makes our binary a server that ends with whoever started it.
pub const LOCAL_SERVER: &str = "__local";

/// How long it may take to listen, and then to be ready for work.
const LISTENS: Duration = Duration::from_secs(20);
const READY: Duration = Duration::from_secs(90);

/// How long it may take to end what it started.
const ENDS: Duration = Duration::from_secs(15);

/// Between two looks at something that says nothing by itself.
const PAUSE: Duration = Duration::from_millis(50);

/// Lines of its log that are shown when it does not come up.
const LAST_LINES: usize = 5;

/// How the folders of these servers are called.
const PREFIX: &str = "local-";

/// A server of ours.
#[derive(Debug)]
pub(super) struct LocalServer {
    process: Child,
    url: Url,
    token: Secret,
    /// Its data and its log; removed when this is dropped.
    dir: TempDir,
}

// === impl LocalServer ===

impl LocalServer {
    /// Starts it. It does not listen yet.
    pub(super) fn spawn(environment: &ClientEnvironment) -> Result<Self, Problem> {
        let failed = |error: io::Error| {
            let reason = crate::text::plain(&error.to_string());
            Problem::failed(format!("no sidecar can be started here: {reason}"))
        };
        let dir = folder(&environment.cache_dir()).map_err(failed)?;
        let token = Secret::random();
        let process = spawn(dir.path(), &token).map_err(failed)?;
        Ok(Self {
            process,
            url: unknown()?,
            token,
            dir,
        })
    }

    /// Waits until it takes work.
    pub(super) async fn ready(&mut self, terminal: Terminal) -> Result<(), Problem> {
        let mut screen = Screen::new(terminal);
        let row = terminal.style().dim("starting a sidecar in this folder …");
        screen.show(&[], vec![row])?;
        let stdout = self.process.stdout.take();
        self.url = match timeout(LISTENS, listening(stdout)).await {
            Ok(Ok(Some(url))) => url,
            _ => return Err(self.did_not_start()),
        };
        self.until_ready().await?;
        screen.lines(&[])?;
        Ok(())
    }

    pub(super) fn target(&self) -> Target {
        Target {
            url: self.url.clone(),
            token: Some(self.token.clone()),
            ca_file: None,
            defaults: ModelDefaults::default(),
        }
    }

    /// Ends it and all it started.
    pub(super) async fn stop(mut self) {
        self.signal(Signal::TERM);
        let deadline = Instant::now() + ENDS;
        while matches!(self.process.try_wait(), Ok(None)) && Instant::now() < deadline {
            sleep(PAUSE).await;
        }
        // Dropping it kills what is left.
    }

    async fn until_ready(&mut self) -> Result<(), Problem> {
        let client = Client::new(&self.target())?;
        let deadline = Instant::now() + READY;
        loop {
            let reason = match client.not_ready().await {
                Ok(None) => return Ok(()),
                Ok(Some(reason)) => reason,
                Err(problem) => problem.sentence,
            };
            if !matches!(self.process.try_wait(), Ok(None)) {
                return Err(self.did_not_start());
            }
            if Instant::now() > deadline {
                return Err(Problem::new(
                    Exit::TryAgain,
                    format!("the sidecar is not ready: {reason}"),
                ));
            }
            sleep(PAUSE).await;
        }
    }

    /// With its last words: it says on stderr what is wrong.
    fn did_not_start(&self) -> Problem {
        let log = std::fs::read_to_string(log_file(self.dir.path())).unwrap_or_default();
        let lines: Vec<String> = log
            .lines()
            .rev()
            .take(LAST_LINES)
            .map(super::plain_text::one_line)
            .collect();
        let lines: Vec<String> = lines.into_iter().rev().collect();
        let words = lines.join("\n  ");
        let words = words
            .strip_prefix("opencode-sidecar: ")
            .unwrap_or(&words)
            .to_owned();
        Problem::failed(format!("no sidecar can be started here: {words}"))
    }

    fn signal(&self, signal: Signal) {
        if let Some(pid) = i32::try_from(self.process.id())
            .ok()
            .and_then(Pid::from_raw)
        {
            // It may have ended by itself.
            kill_process(pid, signal).ok();
        }
    }
}

impl Drop for LocalServer {
    fn drop(&mut self) {
        self.process.kill().ok();
        self.process.wait().ok();
    }
}

/// Has the kernel tell this process to leave when the one that started it is gone. Whether that one is there.
pub fn dies_with_parent(parent: Option<OsString>) -> bool {
    let parent = parent
        .and_then(|pid| pid.to_str()?.parse().ok())
        .and_then(Pid::from_raw);
    let set = set_parent_process_death_signal(Some(Signal::TERM)).is_ok();
    // It may have gone before that.
    set && parent.is_some() && getppid() == parent
}

fn folder(cache: &Path) -> io::Result<TempDir> {
    std::fs::create_dir_all(cache)?;
    remove_leftovers(cache);
    tempfile::Builder::new().prefix(PREFIX).tempdir_in(cache)
}

/// Removes what servers left whose command was killed: the folders that nobody holds.
fn remove_leftovers(cache: &Path) {
    let ours = |name: &OsStr| name.to_str().is_some_and(|name| name.starts_with(PREFIX));
    for folder in std::fs::read_dir(cache).into_iter().flatten().flatten() {
        // One without a lock is just being made.
        let lock = data(&folder.path());
        if ours(&folder.file_name()) && lock.join("lock").exists() && engine::lock(&lock).is_ok() {
            // What cannot be removed now is tried again by the next one.
            std::fs::remove_dir_all(folder.path()).ok();
        }
    }
}

fn data(dir: &Path) -> PathBuf {
    dir.join("data")
}

fn log_file(dir: &Path) -> PathBuf {
    dir.join("log")
}

fn spawn(dir: &Path, token: &Secret) -> io::Result<Child> {
    let data = data(dir);
    std::fs::create_dir(&data)?;
    let log = std::fs::File::create(log_file(dir))?;
    Command::new(std::env::current_exe()?)
        .arg(LOCAL_SERVER)
        .arg(std::process::id().to_string())
        .env("HOST", "127.0.0.1")
        .env("PORT", "0")
        .env("WORKSPACE_DIR", std::env::current_dir()?)
        .env("DATA_DIR", data)
        .env("ANNOUNCE", "json")
        .env("LOG_FORMAT", "text")
        .env("DEMO_MODEL", "on")
        .env("OPENCODE_SHARED_SECRET", token.expose())
        .env_remove("OPENCODE_SHARED_SECRET_FILE")
        .env_remove("BACKEND_API_URL")
        // The key of the prompt comes with the prompt.
        .env_remove("SIDECAR_API_KEY")
        .env_remove("SIDECAR_TOKEN")
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(log)
        // Ctrl-C is for this command, which then decides what becomes of the turn.
        .process_group(0)
        .spawn()
}

/// The address that it prints when it listens.
async fn listening(stdout: Option<std::process::ChildStdout>) -> io::Result<Option<Url>> {
    let stdout = stdout.ok_or_else(|| io::Error::other("it has no stdout"))?;
    let stdout = tokio::process::ChildStdout::from_std(stdout)?;
    let mut line = String::new();
    BufReader::new(stdout).read_line(&mut line).await?;
    let line: Value = serde_json::from_str(&line).unwrap_or_default();
    let address = line["address"].as_str();
    Ok(address.and_then(|address| Url::parse(&format!("http://{address}")).ok()))
}

fn unknown() -> Result<Url, Problem> {
    Url::parse("http://127.0.0.1").map_err(|error| Problem::failed(error.to_string()))
}
