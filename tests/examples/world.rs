//! A sidecar, programs that are not ours, and what they print.

use std::io::{BufRead as _, BufReader, Lines};
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, Stdio};
use std::time::{Duration, Instant};

use crate::support::{Options, Sidecar, TEST_TIMEOUT};

pub(crate) const TOKEN: &str = "s3cret-of-the-test";

/// A file or folder of the repository.
pub(crate) fn file(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(name)
}

/// What `tools/examples/install` makes.
pub(crate) fn installed(name: &str) -> PathBuf {
    let path = file(name);
    assert!(
        path.exists(),
        "{} is missing: run tools/examples/install (make test does)",
        path.display()
    );
    path
}

/// The demo model, and a shared secret.
pub(crate) fn options() -> Options {
    Options::real()
        .env("DEMO_MODEL", "on")
        .env("OPENCODE_SHARED_SECRET", TOKEN)
}

pub(crate) fn ready(options: Options) -> Sidecar {
    let mut sidecar = options.start();
    sidecar.token = Some(TOKEN.to_owned());
    sidecar.ready()
}

pub(crate) fn free_port() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    listener.local_addr().unwrap().port()
}

/// A prompt that the demo model plays.
pub(crate) fn script(lines: &str) -> String {
    format!("```script\n{lines}\n```")
}

/// A program with the address and the token in its environment, and little else.
pub(crate) fn program(name: impl AsRef<std::ffi::OsStr>, url: &str) -> Command {
    let mut command = Command::new(name);
    command
        .env_clear()
        .env("PATH", std::env::var_os("PATH").unwrap())
        .env("HOME", "/nonexistent")
        .env("SIDECAR_URL", url)
        .env("SIDECAR_TOKEN", TOKEN)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    command
}

/// A program that runs. Dropping it kills it.
pub(crate) struct Running {
    child: Child,
    lines: Lines<BufReader<ChildStdout>>,
    seen: String,
}

impl Running {
    pub(crate) fn start(mut command: Command) -> Self {
        let mut child = command.spawn().unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        Self {
            child,
            lines,
            seen: String::new(),
        }
    }

    /// Reads up to the first line that has this.
    pub(crate) fn until(&mut self, what: &str) {
        loop {
            let line = self.lines.next();
            let line = line.unwrap_or_else(|| panic!("no {what:?} in:\n{}", self.seen));
            let line = line.unwrap();
            self.seen.push_str(&line);
            self.seen.push('\n');
            if line.contains(what) {
                return;
            }
        }
    }

    /// Everything it printed, when it has ended well.
    pub(crate) fn done(mut self) -> String {
        for line in self.lines.by_ref() {
            self.seen.push_str(&line.unwrap());
            self.seen.push('\n');
        }
        let deadline = Instant::now() + TEST_TIMEOUT;
        while self.child.try_wait().unwrap().is_none() {
            assert!(Instant::now() < deadline, "it does not end:\n{}", self.seen);
            std::thread::sleep(Duration::from_millis(5));
        }
        let status = self.child.wait().unwrap();
        let mut said = String::new();
        if let Some(mut stderr) = self.child.stderr.take() {
            std::io::Read::read_to_string(&mut stderr, &mut said).unwrap();
        }
        assert!(status.success(), "{status}\n{}\n{said}", self.seen);
        std::mem::take(&mut self.seen)
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // It has ended, or its test has failed.
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

/// The numbers of event ids, which have one epoch: 1, 2, 3, … without a gap and without a repeat.
pub(crate) fn assert_whole<'a>(ids: impl Iterator<Item = &'a str>) {
    let parts: Vec<(&str, u64)> = ids
        .map(|id| {
            let (epoch, number) = id.rsplit_once('-').unwrap();
            (epoch, number.parse().unwrap())
        })
        .collect();
    assert!(!parts.is_empty(), "there are no events");
    let first = parts[0].0;
    for (at, (epoch, number)) in parts.iter().enumerate() {
        assert_eq!(
            (*epoch, *number),
            (first, u64::try_from(at).unwrap() + 1),
            "{parts:?}"
        );
    }
}
