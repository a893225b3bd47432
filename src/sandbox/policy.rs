//! What each of the two domains may do, as data: written by the sidecar before each start of the child,
//! read by the processes that confine themselves.
//!
//! The file lies outside of what the child and the commands may write. It holds no secret.

use std::io;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::config::{Config, Limits, Mode};
use super::kernel::Kernel;
use super::level::Report;
use super::paths::{Places, Plan};
use super::rules::Rules;

/// The name of the file, beside the link by which OpenCode starts its shell.
const FILE: &str = "policy.json";

/// Everything the confined processes have to know.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Policy {
    /// The version of Landlock to use; 0 for no domain.
    pub(super) landlock: u32,
    pub(super) seccomp: bool,
    pub(super) limits: Limits,
    pub(super) child: Rules,
    pub(super) command: Rules,
    /// The one TCP port that commands may connect to, and no datagrams; `None`: the network is open.
    pub(super) proxy_port: Option<u16>,
    /// Variables of every command.
    pub(super) variables: Vec<(String, PathBuf)>,
}

// === impl Policy ===

impl Policy {
    /// What holds here, and how to say it.
    pub(crate) fn new(config: &Config, kernel: &Kernel, places: &Places) -> (Self, Report) {
        let plan = Plan::new(config, places);
        let report = Report::new(config, kernel, plan.overlap);
        let on = config.mode != Mode::Off;
        let policy = Self {
            landlock: if on { kernel.landlock } else { 0 },
            seccomp: on && kernel.seccomp,
            limits: config.limits,
            child: plan.child,
            command: plan.command,
            proxy_port: config.proxy_port,
            variables: plan.variables,
        };
        (policy, report)
    }

    /// Writes it into `folder`; gives the file.
    pub(crate) fn write(&self, folder: &Path) -> io::Result<PathBuf> {
        let file = folder.join(FILE);
        std::fs::write(&file, serde_json::to_vec(self)?)?;
        // To be read by the child also where it is another user.
        std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o644))?;
        Ok(file)
    }

    pub(super) fn read(file: &Path) -> io::Result<Self> {
        Ok(serde_json::from_slice(&std::fs::read(file)?)?)
    }
}
