//! Who runs the agent's commands: one process per session, started when the session's first command asks.
//!
//! OpenCode's shell (`sandbox::run_shell`) connects to the socket of its session. If nobody listens there, it
//! asks us by `start.sock`. Only a process that the present child has started itself is answered, so
//! no command can have a runner started, or reach that of another session.
//!
//! The folder with the sockets lies outside of what the child and the commands may write.

use std::fs::{self, Permissions};
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::os::unix::net::UnixListener as StdListener;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use rustix::process::Pid;
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::{UnixListener, UnixStream};
use tokio::process::Command;
use tokio_util::task::TaskTracker;

use super::config::Config;
use super::environment::Home;
use super::process_table::MARK;
use super::reaper::{Reaper, Scope, pid_of};
use crate::sandbox::{self, Kernel, Places, Policy, Report, User};
use crate::shutdown::Shutdown;

/// The folder in the data folder.
const FOLDER: &str = "shell";

/// The longest question: the name of a session.
const MAX_QUESTION: u64 = 128;

/// What a runner may say about its failure.
const MAX_COMPLAINT: u64 = 1024;

/// How long one question may take, from the connection to the answer. They are answered one after the other.
const ANSWER_WITHIN: Duration = Duration::from_secs(5);

/// The path that OpenCode has as its shell.
pub(crate) fn shell_link(data_dir: &Path) -> PathBuf {
    data_dir.join(FOLDER).join(sandbox::SHELL_LINK)
}

/// A cheap clone.
#[derive(Clone, Debug)]
pub(super) struct Runners {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    folder: PathBuf,
    policy: PathBuf,
    report: Report,
    mark: String,
    user: Option<User>,
    reaper: Reaper,
    tracker: TaskTracker,
    /// Whose shells are answered.
    child: Mutex<Option<Pid>>,
}

// === impl Runners ===

impl Runners {
    /// Asks the kernel, writes the policy and listens for questions until the program ends.
    pub(super) fn start(
        config: &Config,
        home: &Home,
        mark: &str,
        reaper: Reaper,
        tracker: &TaskTracker,
        shutdown: &Shutdown,
    ) -> io::Result<Self> {
        let folder = config.data_dir.join(FOLDER);
        let sidecar = fs::read_link("/proc/self/exe")?;
        let user = config.sandbox.user;
        prepare(&folder, &sidecar)?;
        let [command_home, command_temporary] = home.of_commands();
        let places = Places {
            workspace: config.workspace.clone(),
            data_dir: config.data_dir.clone(),
            child_data: home.root().to_owned(),
            command_home,
            command_temporary,
            shell: folder.clone(),
            opencode: config.bin.clone(),
            sidecar,
        };
        let (policy, report) = Policy::new(&config.sandbox, &Kernel::ask(), &places);
        let policy = policy.write(&folder)?;
        let questions = listen(&folder, sandbox::START_SOCKET, user)?;
        questions.set_nonblocking(true)?;
        let questions = UnixListener::from_std(questions)?;
        let runners = Self {
            shared: Arc::new(Shared {
                folder,
                policy,
                report,
                mark: mark.to_owned(),
                user,
                reaper,
                tracker: tracker.clone(),
                child: Mutex::new(None),
            }),
        };
        tell(&runners.shared.report);
        let (answering, gone) = (runners.clone(), shutdown.gone.clone());
        tracker.spawn(async move {
            gone.run_until_cancelled(answering.answer_all(questions))
                .await;
        });
        Ok(runners)
    }

    /// What the sandbox comes to here.
    pub(super) fn report(&self) -> &Report {
        &self.shared.report
    }

    /// The file by which the child confines itself.
    pub(super) fn policy(&self) -> &Path {
        &self.shared.policy
    }

    /// From now on the shells of this child are answered, and no other's.
    pub(super) fn serve(&self, child: Pid) {
        *self.shared.child.lock() = Some(child);
    }

    async fn answer_all(self, questions: UnixListener) {
        loop {
            match questions.accept().await {
                Ok((connection, _)) => {
                    let answered = tokio::time::timeout(ANSWER_WITHIN, self.answer(connection));
                    if answered.await.is_err() {
                        tracing::warn!("a command waited too long for its runner");
                    }
                }
                // No descriptor is free: there will be one.
                Err(error) => {
                    tracing::warn!(%error, "no command can be started for now");
                    tokio::time::sleep(Duration::from_millis(100)).await;
                }
            }
        }
    }

    /// An answer is empty, or says why not.
    async fn answer(&self, mut connection: UnixStream) {
        let Some(child) = self.asked_by_child(&connection) else {
            return;
        };
        let mut session = String::new();
        let mut question = BufReader::new((&mut connection).take(MAX_QUESTION));
        drop(question.read_line(&mut session).await);
        let session = session.trim_end().to_owned();
        if !sandbox::valid_session(&session) {
            return;
        }
        if let Err(error) = self.start_runner(session, child).await {
            tracing::error!(%error, "the runner of a session's commands could not be started");
            let words = crate::text::plain(&error.to_string());
            drop(connection.write_all(words.as_bytes()).await);
        }
    }

    fn asked_by_child(&self, connection: &UnixStream) -> Option<Pid> {
        let child = (*self.shared.child.lock())?;
        let peer = Pid::from_raw(connection.peer_cred().ok()?.pid()?)?;
        sandbox::is_started_by(peer, child).then_some(child)
    }

    async fn start_runner(&self, session: String, child: Pid) -> io::Result<()> {
        let shared = &self.shared;
        let name = sandbox::session_socket(&session);
        // Another command of the session may have asked first.
        if sandbox::connect_at(&shared.folder, &name).is_ok() {
            return Ok(());
        }
        let listener = listen(&shared.folder, &name, shared.user)?;
        let command = self.command(listener, child);
        let mut runner = shared.reaper.spawn_runner(session, command).await?;
        let pid = pid_of(&runner).ok_or_else(|| io::Error::other("it has no pid"))?;
        let reaper = shared.reaper.clone();
        let stderr = runner.stderr.take();
        shared.tracker.spawn(async move {
            let ended = reaper.wait(&mut runner, pid).await;
            let mut problem = String::new();
            if let Some(stderr) = stderr {
                // No command has this stream, so it ended with the runner.
                drop(
                    stderr
                        .take(MAX_COMPLAINT)
                        .read_to_string(&mut problem)
                        .await,
                );
            }
            if problem.is_empty() {
                tracing::debug!(?ended, "the runner of a session's commands ended");
            } else {
                tracing::error!(problem, "the runner of a session's commands failed");
            }
            // What it had started has come to us, and belongs to nobody any more.
            reaper.sweep(Scope::Sessions(Vec::new())).await;
        });
        Ok(())
    }

    fn command(&self, listener: StdListener, child: Pid) -> Command {
        let shared = &self.shared;
        let mut command = Command::new("/proc/self/exe");
        if let Some(user) = shared.user {
            command.uid(user.uid).gid(user.gid);
        }
        command
            .arg(sandbox::RUNNER)
            .arg(std::process::id().to_string())
            .arg(child.as_raw_nonzero().to_string())
            .arg(&shared.policy)
            .env_clear()
            .env(MARK, &shared.mark)
            .current_dir("/")
            .stdin(Stdio::from(OwnedFd::from(listener)))
            .stdout(Stdio::null())
            .stderr(Stdio::piped());
        command
    }
}

/// Makes the folder and the link in it. Sockets of an earlier life are overwritten when they are needed.
fn prepare(folder: &Path, sidecar: &Path) -> io::Result<()> {
    fs::create_dir_all(folder)?;
    // To be walked through by the child, also as another user, and to be written by nobody else.
    fs::set_permissions(folder, Permissions::from_mode(0o711))?;
    let link = folder.join(sandbox::SHELL_LINK);
    match fs::remove_file(&link) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    symlink(sidecar, link)
}

/// Listens at a socket that `user` may use, if it is not ours alone.
fn listen(folder: &Path, name: &str, user: Option<User>) -> io::Result<StdListener> {
    let listener = sandbox::listen_at(folder, name)?;
    let path = folder.join(name);
    fs::set_permissions(&path, Permissions::from_mode(0o600))?;
    if let Some(user) = user {
        std::os::unix::fs::chown(&path, Some(user.uid), Some(user.gid))?;
    }
    Ok(listener)
}

fn tell(report: &Report) {
    let (level, mode) = (report.words(), report.mode.as_str());
    match &report.reason {
        None => tracing::info!(level, mode, "sandbox: {level}"),
        Some(reason) => tracing::warn!(level, mode, reason, "sandbox: {level}: {reason}"),
    }
}
