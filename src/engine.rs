//! The OpenCode child: one process, started, watched, restarted and stopped by one actor.
//!
//! ```text
//!            start                    listening, healthy, warmed up
//! Stopped ----------> Starting ------------------------------------> Ready
//!    ^                  |   ^                                          |
//!    | stop             |   | delay over                               | exit, wedge
//!    |           failed v   |                                          v
//!    +------------- Waiting (budget left) / Failed (budget spent) <----+
//! ```
//!
//! A child that makes memory short goes from Ready to Starting, by the guard's wish; that is no failure.
//!
//! Promises: at most one child at a time; a new password with every start, kept in memory only; when
//! the actor is done no process of ours is left. It knows nothing of sessions, but for how many turns
//! there are ([`Handle::turn`]).

mod actor;
mod child;
mod environment;
mod git;
mod guard;
mod handle;
mod leftovers;
mod load;
mod memory;
mod oom_score;
mod operation;
mod output;
mod process_table;
mod reaper;
mod runners;
mod shim;
mod state;
mod sweep;

use std::ffi::OsString;
use std::fmt;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use rustix::fs::{Access, AtFlags, CWD, FlockOperation};

pub use self::git::{NAME as GIT, exec as git};
pub(crate) use self::handle::{Answer, AskError, Handle, Status, spawn};
pub(crate) use self::load::Busy;
pub(crate) use self::memory::Memory;
pub use self::oom_score::OomScore;
pub(crate) use self::operation::Operation;
pub(crate) use self::runners::shell_link;
pub use self::shim::{NAME as SHIM, exec as shim};
pub(crate) use self::state::Snapshot;

use crate::sandbox;
use crate::secret::Secret;
use crate::setting;

/// What a child is told that nobody else may know. Made anew for every start.
#[derive(Debug)]
pub(crate) struct ChildConfig {
    /// OpenCode's configuration, whole.
    pub(crate) configuration: Secret,
    /// What stands in it that must not show in the child's output.
    pub(crate) token: Secret,
}

/// Where briefings come from. The engine asks; what they say is not its business.
#[derive(Clone)]
pub(crate) struct ChildConfigs(Arc<dyn Fn() -> ChildConfig + Send + Sync>);

/// The settings of the engine. Their comments are the words of `--help`.
#[derive(Clone, Debug, clap::Args)]
#[command(next_help_heading = "Engine (the OpenCode child)")]
#[group(skip)]
pub(crate) struct Config {
    /// The checked `OPENCODE_BIN`.
    #[arg(skip)]
    pub(crate) bin: PathBuf,
    #[arg(skip)]
    pub(crate) data_dir: PathBuf,
    #[arg(skip)]
    pub(crate) workspace: PathBuf,
    /// Loopback port of the child (`OPENCOD_PORT` is read too)
    #[arg(id = "opencode_port", long = "opencode-port", default_value = "0", value_parser = setting::port)]
    pub(crate) port: u16,
    /// Longest a start may take, from spawn to warmed up
    #[arg(long = "engine-start-timeout", default_value = "60", value_parser = setting::duration)]
    pub(crate) start_timeout: Duration,
    /// Time between SIGTERM and SIGKILL when the child is stopped
    #[arg(long = "engine-stop-timeout", default_value = "5", value_parser = setting::duration)]
    pub(crate) stop_timeout: Duration,
    /// Time between two health checks of the child
    #[arg(long = "engine-probe-interval", default_value = "5", value_parser = setting::duration)]
    pub(crate) probe_interval: Duration,
    /// Time a health check of the child may take; three misses in a row recycle it
    #[arg(long = "engine-probe-timeout", default_value = "3", value_parser = setting::duration)]
    pub(crate) probe_timeout: Duration,
    /// Delay before the first restart; it doubles with each further one
    #[arg(long = "engine-backoff-min", default_value = "500ms", value_parser = setting::duration)]
    pub(crate) backoff_min: Duration,
    /// Longest delay before a restart
    #[arg(long = "engine-backoff-max", default_value = "30", value_parser = setting::duration)]
    pub(crate) backoff_max: Duration,
    /// Restarts within `ENGINE_RESTART_WINDOW` before the engine counts as failed
    #[arg(long = "engine-restart-budget", default_value = "5",
        value_parser = setting::number(1..=1000_usize, "a number from 1 to 1000"))]
    pub(crate) restart_budget: usize,
    /// The window of `ENGINE_RESTART_BUDGET`
    #[arg(long = "engine-restart-window", default_value = "300", value_parser = setting::duration)]
    pub(crate) restart_window: Duration,
    /// Time between attempts once the engine counts as failed
    #[arg(long = "engine-retry-interval", default_value = "60", value_parser = setting::duration)]
    pub(crate) retry_interval: Duration,
    /// Memory the engine and all it started may use; none: only the container's limit counts
    #[arg(long = "engine-memory-limit", value_parser =
        setting::bytes(16 << 20..=1 << 40, "a size from 16Mi to 1Ti, such as 900Mi, 1Gi or a number of bytes"))]
    pub(crate) memory_limit: Option<u64>,
    /// Variables that the child gets as we got them; `config` has the allow-list.
    #[arg(skip)]
    pub(crate) passed_on: Vec<(String, OsString)>,
    #[command(flatten)]
    pub(crate) sandbox: sandbox::Config,
}

#[cfg(test)]
impl Config {
    /// Of an engine whose child never comes up.
    pub(crate) fn without_child(dir: &Path) -> Self {
        let second = Duration::from_secs(1);
        Self {
            bin: "/bin/false".into(),
            data_dir: dir.into(),
            workspace: dir.into(),
            port: 0,
            start_timeout: second,
            stop_timeout: second,
            probe_interval: second,
            probe_timeout: second,
            backoff_min: second,
            backoff_max: second,
            restart_budget: 1,
            restart_window: second,
            retry_interval: second,
            memory_limit: None,
            passed_on: Vec::new(),
            sandbox: sandbox::Config::off(),
        }
    }
}

// === impl ChildConfigs ===

impl ChildConfigs {
    pub(crate) fn new(make: impl Fn() -> ChildConfig + Send + Sync + 'static) -> Self {
        Self(Arc::new(make))
    }

    fn next(&self) -> ChildConfig {
        (self.0)()
    }
}

impl fmt::Debug for ChildConfigs {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ChildConfigs")
    }
}

/// Why a data directory cannot be taken.
#[derive(Debug, thiserror::Error)]
pub(crate) enum LockError {
    #[error("DATA_DIR={0:?} is in use by another opencode-sidecar; give each its own")]
    Taken(PathBuf),
    #[error("DATA_DIR={0:?} cannot be locked: {1}")]
    Failed(PathBuf, String),
}

/// Makes the data directory ours until the file is dropped. Two sidecars on one would kill each
/// other's children and share one database.
pub(crate) fn lock(data_dir: &Path) -> Result<File, LockError> {
    let failed = |error: std::io::Error| {
        LockError::Failed(data_dir.into(), crate::text::plain(&error.to_string()))
    };
    let file = File::create(data_dir.join("lock")).map_err(failed)?;
    match rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => Ok(file),
        Err(rustix::io::Errno::WOULDBLOCK) => Err(LockError::Taken(data_dir.into())),
        Err(error) => Err(failed(error.into())),
    }
}

/// Whether this user can make files in `path`.
pub(crate) fn writable(path: &Path) -> std::io::Result<()> {
    Ok(rustix::fs::accessat(
        CWD,
        path,
        Access::WRITE_OK | Access::EXEC_OK,
        AtFlags::empty(),
    )?)
}

/// Whether `path` is a file this user can run; if not, why.
pub(crate) fn executable(path: &Path) -> Result<(), &'static str> {
    let metadata = std::fs::metadata(path).map_err(|error| match error.kind() {
        std::io::ErrorKind::PermissionDenied => "this user may not look at it",
        _ => "there is no such file",
    })?;
    if !metadata.is_file() {
        return Err("it is not a file");
    }
    rustix::fs::accessat(CWD, path, Access::EXEC_OK, AtFlags::empty())
        .map_err(|_| "this user may not execute it")
}
