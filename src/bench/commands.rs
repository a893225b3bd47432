//! A runner of commands, and the shell by which OpenCode reaches it.

use std::fs;
use std::io;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use crate::sandbox::{
    Config, Kernel, Limits, Mode, Places, Policy, RUNNER, SHELL_LINK, listen_at, session_socket,
};

const SESSION: &str = "ses_bench";

/// A runner in the full sandbox. Dropping it ends it.
#[derive(Debug)]
pub struct Commands {
    runner: Child,
    shell: PathBuf,
    /// What was reached: without all of it the figures say nothing.
    pub level: String,
}

// === impl Commands ===

impl Commands {
    /// Starts a runner of `sidecar`, the program, that works in `dir`. This process takes OpenCode's place.
    pub fn start(sidecar: &Path, dir: &Path) -> io::Result<Self> {
        let at = |name: &str| dir.join(name);
        for folder in [
            "workspace",
            "data/shell",
            "data/engine/home",
            "data/engine/tmp",
        ] {
            fs::create_dir_all(at(folder))?;
        }
        let shell = at("data/shell").join(SHELL_LINK);
        std::os::unix::fs::symlink(sidecar, &shell)?;
        let places = Places {
            workspace: at("workspace"),
            data_dir: at("data"),
            child_data: at("data/engine"),
            command_home: at("data/engine/home"),
            command_temporary: at("data/engine/tmp"),
            shell: at("data/shell"),
            opencode: at("opencode"),
            sidecar: sidecar.to_owned(),
        };
        let config = Config {
            proxy_port: None,
            mode: Mode::Required,
            read: None,
            limits: Limits {
                processes: 8192,
                file_bytes: 1 << 34,
            },
            user: None,
            secret_files: Vec::new(),
            path_dirs: Vec::new(),
        };
        let (policy, report) = Policy::new(&config, &Kernel::ask(), &places);
        let policy = policy.write(&places.shell)?;
        let listener = listen_at(&places.shell, &session_socket(SESSION))?;
        let us = std::process::id().to_string();
        let runner = Command::new(sidecar)
            .args([RUNNER, &us, &us])
            .arg(policy)
            .env_clear()
            .stdin(Stdio::from(OwnedFd::from(listener)))
            .spawn()?;
        Ok(Self {
            runner,
            shell,
            level: report.words(),
        })
    }

    /// What OpenCode starts for a command.
    pub fn shell(&self) -> Command {
        let mut command = Command::new(&self.shell);
        command.env("SIDECAR_SESSION", SESSION);
        command
    }
}

impl Drop for Commands {
    fn drop(&mut self) {
        self.runner.kill().ok();
        self.runner.wait().ok();
    }
}
