//! The settings of the engine.

use std::ffi::OsString;
#[cfg(test)]
use std::path::Path;
use std::path::PathBuf;
use std::time::Duration;

use super::warm_up::Mode;
use crate::sandbox;
use crate::setting;

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
    /// What a started child does before it counts as ready: a whole turn (turn), a session that is made and
    /// deleted (session), or nothing (off)
    #[arg(id = "warm_up", long = "warm-up", default_value = "turn", value_parser = setting::word(
        [("turn", Mode::Turn), ("session", Mode::Session), ("off", Mode::Off)],
        "turn, session or off"))]
    pub(crate) warm_up: Mode,
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
            warm_up: Mode::Off,
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
