//! What the child finds when it wakes: its directories, its variables, its arguments.
//!
//! The environment is built from nothing. What is not named here does not reach the child, and so
//! does not reach the agent's shell.

use std::fs::{self, DirBuilder};
use std::io;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use tokio::process::Command;

use super::process_table::MARK;
use super::{Config, shim};
use crate::opencode;
use crate::secret::Secret;

/// Features of OpenCode that reach for the network, or run what lies in the workspace. FACTS §1 tells
/// what each does when it is left on.
const SWITCHES: &[(&str, &str)] = &[
    ("OPENCODE_DISABLE_AUTOUPDATE", "1"),
    ("OPENCODE_DISABLE_MODELS_FETCH", "1"),
    ("OPENCODE_DISABLE_LSP_DOWNLOAD", "1"),
    ("OPENCODE_DISABLE_DEFAULT_PLUGINS", "1"),
    ("OPENCODE_DISABLE_SHARE", "1"),
    ("OPENCODE_DISABLE_PROJECT_CONFIG", "1"),
    ("OPENCODE_DISABLE_EXTERNAL_SKILLS", "1"),
    ("OPENCODE_DISABLE_CLAUDE_CODE", "1"),
];

/// Where the child's files live. All of it is ours to wipe but `share`, which holds its sessions.
#[derive(Clone, Debug)]
pub(super) struct Home {
    root: PathBuf,
}

// === impl Home ===

impl Home {
    pub(super) fn new(data_dir: &Path) -> Self {
        Self {
            root: data_dir.join("engine"),
        }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.root.join(name)
    }

    /// Makes the directories anew. Blocking.
    ///
    /// Two are emptied first. Each start of OpenCode unpacks a library of 5.6 MB into the temporary one
    /// and never removes it. And the agent can write to the configuration folder, where a file would be
    /// run by the next child.
    pub(super) fn prepare(&self) -> io::Result<()> {
        let (tmp, config) = (self.path("tmp"), self.path("config"));
        for stale in [&tmp, &config] {
            match fs::remove_dir_all(stale) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                _ => {}
            }
        }
        let private = |path: &Path| DirBuilder::new().recursive(true).mode(0o700).create(path);
        for path in [
            &tmp,
            &self.path("home"),
            &self.path("share"),
            &self.path("state"),
            &self.path("cache"),
        ] {
            private(path)?;
        }
        for (name, text) in opencode::config::folder() {
            let file = config.join("opencode").join(name);
            file.parent().map_or(Ok(()), private)?;
            fs::write(file, text)?;
        }
        Ok(())
    }

    fn variables(&self) -> [(&'static str, PathBuf); 6] {
        [
            ("HOME", self.path("home")),
            ("XDG_CONFIG_HOME", self.path("config")),
            ("XDG_DATA_HOME", self.path("share")),
            ("XDG_STATE_HOME", self.path("state")),
            ("XDG_CACHE_HOME", self.path("cache")),
            ("TMPDIR", self.path("tmp")),
        ]
    }
}

/// The command that becomes the child, without its secrets.
pub(super) fn command(config: &Config, home: &Home, mark: &str, port: u16) -> Command {
    let mut command = Command::new("/proc/self/exe");
    command
        .arg(shim::NAME)
        .arg(std::process::id().to_string())
        .arg(&config.bin)
        .args([
            "serve",
            "--hostname",
            "127.0.0.1",
            "--print-logs",
            "--log-level",
            "WARN",
        ])
        .args(["--port", &port.to_string()])
        .env_clear()
        .envs(config.passed_on.iter().map(|(name, value)| (name, value)))
        .envs(home.variables())
        .envs(SWITCHES.iter().copied())
        .env(MARK, mark)
        // Not the workspace: a mount that is missing or hangs must not keep the child from starting.
        .current_dir(home.path("home"))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true);
    command
}

/// The variables that must not be seen, as the shim reads them from its stdin.
pub(super) fn secrets(password: &Secret, configuration: &Secret) -> Vec<u8> {
    let pairs = [
        (opencode::PASSWORD_VARIABLE, password),
        (opencode::CONFIG_VARIABLE, configuration),
    ];
    let mut bytes = Vec::new();
    for (name, value) in pairs {
        bytes.extend_from_slice(name.as_bytes());
        bytes.push(b'=');
        bytes.extend_from_slice(value.expose().as_bytes());
        bytes.push(0);
    }
    bytes
}

/// Names the processes of one data directory. The same in every life of the sidecar, so that a new one
/// recognises what a killed one left behind; made of the directory's identity and not its path, because
/// two pods may use the same path.
pub(super) fn mark(data_dir: &Path) -> io::Result<String> {
    use std::os::unix::fs::MetadataExt as _;
    let metadata = fs::metadata(data_dir)?;
    Ok(format!("{:x}-{:x}", metadata.dev(), metadata.ino()))
}
