//! The settings of the sandbox.

use std::path::PathBuf;

use super::user::User;
use crate::setting;

/// Whether the agent has to be confined.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mode {
    /// No turn runs unless the kernel can do all of it.
    Required,
    /// What the kernel can do is done.
    BestEffort,
    /// No domain and no filter. Limits, capabilities and ending by descent stay.
    Off,
}

/// What the agent's commands may use at most.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::Args, serde::Serialize, serde::Deserialize)]
#[group(skip)]
pub(crate) struct Limits {
    /// Processes and threads that the user of the agent's commands may have, as the kernel counts them
    #[arg(long = "tool-max-processes", default_value = "8192", value_parser =
        setting::number(64..=1_000_000_u64, "a number from 64 to 1000000"))]
    pub(crate) processes: u64,
    /// Size of the largest file a command of the agent may write
    #[arg(long = "tool-max-file-bytes", default_value = "16Gi", value_parser =
        setting::bytes(1 << 20..=1 << 40, "a size from 1Mi to 1Ti, such as 2Gi or a number of bytes"))]
    pub(crate) file_bytes: u64,
}

/// Under this name, because clap takes a plain `Vec` for a flag given many times.
type List = Vec<PathBuf>;

/// The settings of the sandbox. Their comments are the words of `--help`.
#[derive(Clone, Debug, clap::Args)]
#[command(next_help_heading = "Sandbox (what the agent may reach)")]
#[group(skip)]
pub(crate) struct Config {
    /// Whether the kernel confines the agent: required (else no turn runs), best-effort (as far as it can) or off
    #[arg(id = "sandbox", long = "sandbox", default_value = "best-effort", value_parser = setting::word(
        [("required", Mode::Required), ("best-effort", Mode::BestEffort), ("off", Mode::Off)],
        "required, best-effort or off"))]
    pub(crate) mode: Mode,
    /// Paths that the agent may read besides the system's folders and what PATH names
    #[arg(id = "sandbox_read", long = "sandbox-read", value_parser = setting::paths)]
    pub(crate) read: Option<List>,
    #[command(flatten)]
    pub(crate) limits: Limits,
    /// User that the engine and the agent's commands run as; needs the capabilities SETUID, SETGID, KILL, CHOWN and
    /// `DAC_OVERRIDE`; none: as the sidecar
    #[arg(id = "engine_user", long = "engine-user", value_parser = User::parse)]
    pub(crate) user: Option<User>,
    /// Files and folders that nobody in here may read.
    #[arg(skip)]
    pub(crate) secret_files: Vec<PathBuf>,
    /// The one TCP port that commands may connect to, where `EGRESS` is not open.
    #[arg(skip)]
    pub(crate) proxy_port: Option<u16>,
    /// Folders of PATH, for the toolchains they name.
    #[arg(skip)]
    pub(crate) path_dirs: Vec<PathBuf>,
}

// === impl Mode ===

impl Mode {
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Required => "required",
            Self::BestEffort => "best-effort",
            Self::Off => "off",
        }
    }
}

#[cfg(test)]
impl Config {
    /// Of a sandbox that confines nothing.
    pub(crate) fn off() -> Self {
        Self {
            mode: Mode::Off,
            read: None,
            limits: Limits {
                processes: 1 << 16,
                file_bytes: 1 << 40,
            },
            user: None,
            secret_files: Vec::new(),
            proxy_port: None,
            path_dirs: Vec::new(),
        }
    }
}
