//! What can be said of this host without calling anybody.

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::{Duration, Instant};

use rustix::process::{Resource, getrlimit};
use tokio::process::Command;

use super::report::Check;
use crate::cli::layout::{bytes, duration};
use crate::cli::plain_text::one_line;
use crate::clock::Timestamp;
use crate::config::{ConfigError, Inspection};
use crate::engine::{self, Memory, MemorySource};
use crate::sandbox::{self, Level};
use crate::{gateway, opencode, process, trust, workspace};

/// OpenCode is a large program, and a cold disk is slow.
const VERSION_DEADLINE: Duration = Duration::from_secs(20);

/// A commit of the journal that takes longer makes every event late.
const SLOW_DISK: Duration = Duration::from_millis(100);

/// OpenCode and one turn need about this much.
const LITTLE_MEMORY: u64 = 768 << 20;

/// What five turns with their streams need.
const FEW_FILES: u64 = 1024;

/// The threads of OpenCode and a build that an agent starts.
const FEW_PROCESSES: u64 = 256;

/// Any clock before this is wrong: this version is younger.
const OLDEST_NOW: &str = "2026-01-01T00:00:00Z";

pub(super) fn settings(inspection: &Inspection) -> Vec<Check> {
    let mut checks: Vec<Check> = inspection
        .hints
        .iter()
        .map(|hint| Check::warning("settings", hint, "rename it or take it away"))
        .collect();
    checks.push(match &inspection.secrets {
        Err(error) => Check::bad("settings", error.to_string(), ""),
        Ok(secrets) if secrets.required() => {
            Check::good("settings", "are good; clients must show the shared secret")
        }
        Ok(_) => Check::warning(
            "settings",
            "are good; no shared secret is set, so whoever reaches the port may use it",
            "set OPENCODE_SHARED_SECRET or OPENCODE_SHARED_SECRET_FILE where others can reach it",
        ),
    });
    if rustix::process::geteuid().is_root() && inspection.sandbox.user.is_none() {
        checks.push(Check::warning(
            "user",
            "root: the agent would run as root too",
            "run as an ordinary user, or set ENGINE_USER",
        ));
    }
    checks
}

/// That it is there, that it runs, and which version it is.
pub(super) async fn opencode(binary: &Result<PathBuf, ConfigError>) -> Check {
    let path = match binary {
        Ok(path) => path,
        Err(error) => return Check::bad("OpenCode", error.to_string(), ""),
    };
    let shown = path.display();
    // It makes folders in its home directory, whatever it is asked.
    let home = match tempfile::tempdir() {
        Ok(home) => home,
        Err(error) => {
            let reason = crate::text::plain(&error.to_string());
            return Check::bad(
                "disk",
                format!("no temporary folder: {reason}"),
                "make room, or set TMPDIR",
            );
        }
    };
    let run = Command::new(path)
        .arg("--version")
        .env_clear()
        .env("HOME", home.path())
        .env("PATH", "/usr/local/bin:/usr/bin:/bin")
        .stdin(Stdio::null())
        .kill_on_drop(true)
        .output();
    let remedy = "install it again with `make opencode`, or set OPENCODE_BIN";
    let output = match tokio::time::timeout(VERSION_DEADLINE, run).await {
        Ok(Ok(output)) => output,
        Ok(Err(error)) => {
            let reason = crate::text::plain(&error.to_string());
            return Check::bad(
                "OpenCode",
                format!("{shown} cannot be run: {reason}"),
                remedy,
            );
        }
        Err(_) => {
            let seconds = VERSION_DEADLINE.as_secs();
            return Check::bad(
                "OpenCode",
                format!("{shown} does not answer within {seconds} s"),
                remedy,
            );
        }
    };
    let version = one_line(&String::from_utf8_lossy(&output.stdout));
    if !output.status.success() || version.is_empty() {
        let said = String::from_utf8_lossy(&output.stderr);
        let said = one_line(said.lines().next().unwrap_or("it says nothing"));
        return Check::bad("OpenCode", format!("{shown} does not run: {said}"), remedy);
    }
    if version == opencode::VERSION {
        return Check::good("OpenCode", format!("{version} at {shown}"));
    }
    Check::warning(
        "OpenCode",
        format!(
            "{version} at {shown}; this sidecar was made for {}",
            opencode::VERSION
        ),
        "it may do; what is tested is the other one",
    )
}

pub(super) fn workspace(path: &Path) -> Check {
    match workspace::check(path) {
        Ok(()) => Check::good("workspace", format!("{} can be written", path.display())),
        Err(sentence) => split("workspace", &sentence, "set WORKSPACE_DIR"),
    }
}

/// A sentence that has its remedy behind a semicolon, or this one.
fn split(about: &'static str, sentence: &str, otherwise: &str) -> Check {
    let (reason, remedy) = sentence.split_once("; ").unwrap_or((sentence, otherwise));
    Check::bad(about, reason, remedy)
}

/// The data directory: whose it is, how much room there is, and how fast it writes.
pub(super) fn data(inspection: &Inspection, sidecar_runs: bool) -> Vec<Check> {
    let dir = match &inspection.data_dir {
        Ok(dir) => dir,
        Err(error) => return vec![split("data", &error.to_string(), "set DATA_DIR")],
    };
    vec![
        lock(dir, sidecar_runs),
        room(dir, inspection.journal_bytes),
        disk(dir),
    ]
}

fn lock(dir: &Path, sidecar_runs: bool) -> Check {
    let shown = dir.display();
    match engine::lock(dir) {
        Ok(_) => Check::good("data", format!("{shown} is free to be used")),
        Err(_) if sidecar_runs => {
            Check::good("data", format!("{shown} is used by the sidecar that runs"))
        }
        Err(error) => split("data", &error.to_string(), "set DATA_DIR"),
    }
}

fn room(dir: &Path, journal: Option<u64>) -> Check {
    let Ok(disk) = rustix::fs::statvfs(dir) else {
        return Check::bad(
            "disk",
            format!("{} cannot be asked", dir.display()),
            "set DATA_DIR",
        );
    };
    let free = disk.f_bavail * disk.f_frsize;
    let words = format!("{} are free", bytes(free));
    match journal {
        Some(wanted) if free < wanted => Check::warning(
            "disk",
            format!("{words}, and the journal may take {}", bytes(wanted)),
            "make room, or lower JOURNAL_MAX_BYTES",
        ),
        Some(_) => Check::good("disk", words),
        None => Check::warning(
            "disk",
            format!("{words}; JOURNAL=off"),
            "sessions do not survive a restart",
        ),
    }
}

/// One write, as the journal does for every group of events.
fn disk(dir: &Path) -> Check {
    let written = || -> std::io::Result<Duration> {
        let mut file = tempfile::tempfile_in(dir)?;
        let began = Instant::now();
        file.write_all(&[0; 4096])?;
        file.sync_data()?;
        Ok(began.elapsed())
    };
    match written() {
        Ok(took) if took > SLOW_DISK => Check::warning(
            "disk",
            format!("a write takes {}", duration(took)),
            "events are shown when they are on disk: give DATA_DIR a faster one",
        ),
        Ok(took) => Check::good("disk", format!("a write takes {}", duration(took))),
        Err(error) => Check::bad(
            "disk",
            format!(
                "cannot be written: {}",
                crate::text::plain(&error.to_string())
            ),
            "make room, or set DATA_DIR",
        ),
    }
}

pub(super) fn kernel(config: &sandbox::Config) -> Check {
    let report = sandbox::Report::of_kernel(config);
    let words = format!("sandbox {}", report.words());
    if let Some(refusal) = report.refusal() {
        return Check::bad(
            "kernel",
            refusal,
            "use a newer kernel, or SANDBOX=best-effort",
        );
    }
    let reason = report.reason.unwrap_or_default();
    match report.level {
        Level::Full => Check::good("kernel", words),
        Level::Partial | Level::Off => Check::warning(
            "kernel",
            format!("{words}: {reason}"),
            "docs/SECURITY.md says what is open then",
        ),
    }
}

pub(super) fn memory(engine_limit: Option<u64>) -> Check {
    let container = Memory::of_container();
    let limits = container.map(|memory| memory.limit).into_iter();
    let used = container.map_or(String::new(), |memory| {
        let cgroup = match memory.source {
            MemorySource::CgroupV1 => "cgroup v1",
            MemorySource::CgroupV2 | MemorySource::ProcessTree => "cgroup v2",
        };
        let used = bytes(memory.used);
        format!(", {used} of the container's are used ({cgroup})")
    });
    match limits.chain(engine_limit).min() {
        None => Check::warning(
            "memory",
            "no limit: the kernel kills something when the host's is full",
            "set a limit of the container, or ENGINE_MEMORY_LIMIT",
        ),
        Some(limit) if limit < LITTLE_MEMORY => Check::warning(
            "memory",
            format!("the limit is {}{used}", bytes(limit)),
            "OpenCode and one turn need about 768 MiB",
        ),
        Some(limit) => Check::good("memory", format!("the limit is {}{used}", bytes(limit))),
    }
}

/// Open files, and processes of this user.
pub(super) fn limits() -> Check {
    let files = process::Usage::now().max_files;
    let processes = getrlimit(Resource::Nproc).current;
    let of = |limit: Option<u64>, what: &str| match limit {
        Some(limit) => format!("{limit} {what}"),
        None => format!("any number of {what}"),
    };
    let words = format!(
        "{}, {}",
        of(files, "open files"),
        of(processes, "processes")
    );
    let few = |limit: Option<u64>, least| limit.is_some_and(|limit| limit < least);
    if few(files, FEW_FILES) || few(processes, FEW_PROCESSES) {
        let remedy = "raise it with `ulimit`, or in the container runtime";
        return Check::warning("limits", words, remedy);
    }
    Check::good("limits", words)
}

pub(super) fn clock() -> Check {
    let now = Timestamp::now();
    if Timestamp::parse(OLDEST_NOW).is_some_and(|oldest| now < oldest) {
        return Check::bad(
            "clock",
            format!("it says {now}"),
            "set it: certificates are not valid yet",
        );
    }
    Check::good("clock", now.to_string())
}

pub(super) fn certificates(extra: Option<&Path>) -> Check {
    let extra = match extra.map(|path| (path, trust::certificates(path))) {
        Some((path, Err(reason))) => {
            let words = format!("EXTRA_CA_FILE {}: {reason}", path.display());
            return Check::bad("certificates", words, "give a PEM file");
        }
        Some((_, Ok(extra))) => extra.len(),
        None => 0,
    };
    let added = if extra > 0 {
        format!(", and {extra} of EXTRA_CA_FILE")
    } else {
        String::new()
    };
    match trust::system_certificates() {
        0 if extra == 0 => Check::bad(
            "certificates",
            "this host trusts nobody, so no https address can be called",
            "install the package ca-certificates, or set EXTRA_CA_FILE",
        ),
        number => Check::good(
            "certificates",
            format!("{number} authorities are trusted{added}"),
        ),
    }
}

/// The proxy's own address may hold a password, so it is not shown.
pub(super) fn proxy(config: &gateway::Config) -> Option<Check> {
    let given =
        |value: &Option<String>| value.as_ref().is_some_and(|value| !value.trim().is_empty());
    let which = match (given(&config.proxy.https), given(&config.proxy.http)) {
        (true, true) => "HTTPS_PROXY and HTTP_PROXY",
        (true, false) => "HTTPS_PROXY",
        (false, true) => "HTTP_PROXY",
        (false, false) => return None,
    };
    Some(Check::good(
        "proxy",
        format!("providers are called through {which}"),
    ))
}
