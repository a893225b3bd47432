//! What the child finds when it wakes: its directories, its variables, its arguments.
//!
//! The environment is built from nothing. What is not named here does not reach the child, and so
//! does not reach the agent's shell.

use std::fs::{self, DirBuilder};
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::process::Stdio;

use tokio::process::Command;
use tokio::task::{JoinError, JoinHandle};

use super::config::Config;
use super::process_table::MARK;
use super::shim;
use crate::opencode;
use crate::sandbox::User;
use crate::text::plain;

/// Features of OpenCode that reach for the network, or run what lies in the workspace. Left on, each would do so without
/// being asked.
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

/// The directory of OpenCode's data, of which only [`DATABASE`] outlives a child.
const SESSIONS: &str = "share";

/// OpenCode's own folder in it.
const SESSIONS_OF_OPENCODE: &str = "opencode";

/// The file that Bun runs before OpenCode.
const PRELOAD: &str = "preload.js";

/// OpenCode's catalogue of models.
const MODELS: &str = "models.json";

/// The session database and what of it is not yet in its file. SQLite's third file, `-shm`, is made anew.
const DATABASE: [&str; 2] = ["opencode.db", "opencode.db-wal"];

/// The home and the temporary folder of the agent's commands. Not the child's own: what a command writes there
/// must not be read by OpenCode or by the git that OpenCode starts.
const COMMANDS: [&str; 2] = ["commands/home", "commands/tmp"];

/// Where the child's files live. All of it is ours to wipe but [`DATABASE`].
#[derive(Clone, Debug)]
pub(super) struct Home {
    root: PathBuf,
    /// Whose they are, if not ours.
    user: Option<User>,
}

// === impl Home ===

impl Home {
    pub(super) fn new(data_dir: &Path, user: Option<User>) -> Self {
        Self {
            root: data_dir.join("engine"),
            user,
        }
    }

    /// The home and the temporary folder of the agent's commands.
    pub(super) fn of_commands(&self) -> [PathBuf; 2] {
        COMMANDS.map(|name| self.path(name))
    }

    fn path(&self, name: &str) -> PathBuf {
        self.root.join(name)
    }

    pub(super) fn root(&self) -> &Path {
        &self.root
    }

    /// Makes the directories anew. Blocking.
    ///
    /// Everything but the sessions goes first, known or not: the agent can write here, OpenCode runs
    /// what it finds in several places (`.opencode/plugin` of the home, `plugin` of the configuration,
    /// filters that the git configuration of a snapshot names), and no file of one child may run in the
    /// next. It also ends the libraries of 5.6 MB that each start of OpenCode unpacks into the temporary
    /// directory and never removes. What the database holds besides sessions is cleared by the preload.
    fn prepare(&self) -> Result<(), PrepareError> {
        private(&self.root)?;
        remove_all_but(&self.root, |entry| {
            entry.file_name() == SESSIONS && is_directory(entry)
        })?;
        let data = self.path(SESSIONS);
        private(&data)?;
        remove_all_but(&data, |entry| {
            entry.file_name() == SESSIONS_OF_OPENCODE && is_directory(entry)
        })?;
        let opencode = data.join(SESSIONS_OF_OPENCODE);
        private(&opencode)?;
        remove_all_but(&opencode, |entry| {
            DATABASE.iter().any(|name| entry.file_name() == *name) && is_only_file(entry)
        })?;
        for name in ["tmp", "home", "state", "cache"].iter().chain(&COMMANDS) {
            private(&self.path(name))?;
        }
        for (name, text) in opencode::config::folder() {
            let file = self.path("config").join("opencode").join(name);
            file.parent().map_or(Ok(()), private)?;
            fs::write(&file, text).map_err(at(&file))?;
        }
        for (name, text) in [
            (PRELOAD, opencode::config::PRELOAD),
            (MODELS, opencode::config::MODELS),
        ] {
            let file = self.path(name);
            fs::write(&file, text).map_err(at(&file))?;
        }
        match self.user {
            Some(user) => give(&self.root, user).map_err(at(&self.root)),
            None => Ok(()),
        }
    }

    fn variables(&self) -> [(&'static str, PathBuf); 8] {
        [
            (opencode::config::MODELS_VARIABLE, self.path(MODELS)),
            (opencode::config::PRELOAD_VARIABLE, self.path(PRELOAD)),
            ("HOME", self.path("home")),
            ("XDG_CONFIG_HOME", self.path("config")),
            ("XDG_DATA_HOME", self.path(SESSIONS)),
            ("XDG_STATE_HOME", self.path("state")),
            ("XDG_CACHE_HOME", self.path("cache")),
            ("TMPDIR", self.path("tmp")),
        ]
    }
}

/// Why a directory is not as it has to be.
#[derive(Debug, thiserror::Error)]
#[error("{}: {reason}", path.display())]
pub(super) struct PrepareError {
    path: PathBuf,
    reason: String,
}

/// Runs preparations, one at a time: a disk that hangs must not get a second one to hang on, nor may
/// an old one come back and wipe what a new child is using.
#[derive(Debug, Default)]
pub(super) struct Preparation {
    running: Option<JoinHandle<Result<(), PrepareError>>>,
}

// === impl Preparation ===

impl Preparation {
    /// Cancel-safe: what is running when the wait is given up is waited for by the next one.
    pub(super) async fn of(&mut self, home: &Home) -> Result<(), PrepareError> {
        let (path, home) = (home.root.clone(), home.clone());
        self.run(move || home.prepare())
            .await
            .unwrap_or_else(|_| Err(at(&path)(io::Error::other("the preparation broke off"))))
    }

    async fn run(
        &mut self,
        work: impl FnOnce() -> Result<(), PrepareError> + Send + 'static,
    ) -> Result<Result<(), PrepareError>, JoinError> {
        if let Some(earlier) = &mut self.running {
            // How it ended does not matter: everything is done again.
            drop(earlier.await);
            self.running = None;
        }
        let done = self.running.insert(tokio::task::spawn_blocking(work)).await;
        self.running = None;
        done
    }
}

fn at(path: &Path) -> impl FnOnce(io::Error) -> PrepareError {
    move |error| PrepareError {
        path: path.to_owned(),
        reason: plain(&error.to_string()),
    }
}

fn private(path: &Path) -> Result<(), PrepareError> {
    let made = DirBuilder::new().recursive(true).mode(0o700).create(path);
    made.map_err(at(path))
}

fn remove_all_but(
    directory: &Path,
    kept: impl Fn(&fs::DirEntry) -> bool,
) -> Result<(), PrepareError> {
    for entry in fs::read_dir(directory).map_err(at(directory))? {
        let entry = entry.map_err(at(directory))?;
        if !kept(&entry) {
            remove(&entry.path())?;
        }
    }
    Ok(())
}

/// Whether it is a directory, and not a link to one: what the agent links to is not ours.
fn is_directory(entry: &fs::DirEntry) -> bool {
    entry.file_type().is_ok_and(|kind| kind.is_dir())
}

/// Whether it is a file that has no other name: under another one it may be the journal, which a child
/// would then write to.
fn is_only_file(entry: &fs::DirEntry) -> bool {
    // Does not follow links.
    entry
        .metadata()
        .is_ok_and(|metadata| metadata.is_file() && metadata.nlink() == 1)
}

/// Removes a file or a whole directory, never what a link points to.
fn remove(path: &Path) -> Result<(), PrepareError> {
    let is_dir = fs::symlink_metadata(path).map_err(at(path))?.is_dir();
    if !is_dir {
        return fs::remove_file(path).map_err(at(path));
    }
    // A tool may have closed directories to their owner, which we are.
    match fs::remove_dir_all(path) {
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {
            open_up(path).map_err(at(path))?;
            fs::remove_dir_all(path).map_err(at(path))
        }
        other => other.map_err(at(path)),
    }
}

/// Makes `user` the owner of `path` and of all below, never of what a link points to.
fn give(path: &Path, user: User) -> io::Result<()> {
    std::os::unix::fs::lchown(path, Some(user.uid), Some(user.gid))?;
    if fs::symlink_metadata(path)?.is_dir() {
        for entry in fs::read_dir(path)? {
            give(&entry?.path(), user)?;
        }
    }
    Ok(())
}

fn open_up(dir: &Path) -> io::Result<()> {
    fs::set_permissions(dir, fs::Permissions::from_mode(0o700))?;
    for entry in fs::read_dir(dir)? {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            open_up(&entry.path())?;
        }
    }
    Ok(())
}

/// The command that becomes the child, without its secrets; it reads them from `secrets`. `policy` is what it
/// confines itself by.
pub(super) fn command(
    config: &Config,
    home: &Home,
    mark: &str,
    port: u16,
    secrets: OwnedFd,
    policy: &Path,
) -> Command {
    let mut command = Command::new("/proc/self/exe");
    if let Some(user) = config.sandbox.user {
        command.uid(user.uid).gid(user.gid);
    }
    command
        .arg(shim::NAME)
        .arg(std::process::id().to_string())
        .arg(policy)
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
        .stdin(secrets)
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true);
    command
}

/// Names the processes of one data directory. The same in every life of the sidecar, so that a new one
/// recognises what a killed one left behind; made of the directory's identity and not its path, because
/// two pods may use the same path.
pub(super) fn mark(data_dir: &Path) -> io::Result<String> {
    let metadata = fs::metadata(data_dir)?;
    Ok(format!("{:x}-{:x}", metadata.dev(), metadata.ino()))
}

#[cfg(test)]
mod tests;
