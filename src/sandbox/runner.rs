//! Runs the commands of one session, in their domain, and is the subreaper of all that they start.
//!
//! One process per session, started by the sidecar at the session's first command. It confines itself and
//! then accepts commands from OpenCode's shell; what it starts inherits the domain, the filter and the limits.
//! The commands share its domain, so they can end it: that ends what they run and nothing else, and the next
//! command gets another. It ends itself, with all that it started, when the sidecar is gone.

use std::collections::HashMap;
use std::ffi::OsString;
use std::io::{self, Write as _};
use std::os::fd::OwnedFd;
use std::os::unix::net::{UnixListener, UnixStream};
use std::os::unix::process::{CommandExt as _, ExitStatusExt as _};
use std::path::PathBuf;
use std::process::{Command, ExitCode, ExitStatus, Stdio};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::time::Duration;

use parking_lot::{Condvar, Mutex};
use rustix::event::{PollFd, PollFlags, poll};
use rustix::fs::Mode;
use rustix::net::sockopt::socket_peercred;
use rustix::process::{
    Pid, PidfdFlags, WaitOptions, getpid, getppid, pidfd_open, set_child_subreaper, setsid, umask,
};

use super::message::{Request, Streams, complain, send_code};
use super::policy::Policy;
use super::{domain, network, privileges, seccomp, tree};

/// The first argument that makes our binary a runner.
pub const NAME: &str = "__run_commands";

/// What runs the agent's commands.
const BASH: &[&str] = &["/bin/bash", "/usr/bin/bash", "/bin/sh"];

/// How long a command that has to end may take to do so, before it is killed.
const GRACE: Duration = Duration::from_secs(1);

/// How long ending may take altogether. What can start is limited, so it does not take long.
const DEADLINE: Duration = Duration::from_secs(5);

/// How long a connection may take to tell its command.
const TELL: Duration = Duration::from_secs(5);

/// Commands of one session at a time. OpenCode runs a handful.
const MOST: usize = 128;

/// What a shell says when a command could not be started.
const CANNOT_RUN: u8 = 126;

/// Variables of OpenCode's own folders, which no command can use.
const REMOVED: &[&str] = &[
    "XDG_CACHE_HOME",
    "XDG_CONFIG_HOME",
    "XDG_DATA_HOME",
    "XDG_STATE_HOME",
];

/// What it was started with.
struct Runner {
    listener: UnixListener,
    /// Ready to be read once the sidecar is gone.
    sidecar: OwnedFd,
    /// The only process whose children may ask for something.
    child: Pid,
    variables: Vec<(String, OsString)>,
    commands: Arc<Commands>,
}

/// Who waits for which process. Everything is reaped in one place, because an orphan that came to us may be
/// any process.
#[derive(Default)]
struct Commands {
    waiting: Mutex<HashMap<Pid, SyncSender<ExitStatus>>>,
    /// There may be something to reap.
    started: Condvar,
}

/// Runs until the sidecar is gone: `arguments = [sidecar's pid, child's pid, policy]`, stdin the listener.
pub fn run(arguments: impl IntoIterator<Item = OsString>) -> ExitCode {
    let arguments: Vec<OsString> = arguments.into_iter().collect();
    let problem = match Runner::start(&arguments) {
        Ok(runner) => runner.serve(),
        Err(error) => error,
    };
    drop(writeln!(io::stderr(), "{NAME}: {problem}"));
    ExitCode::from(CANNOT_RUN)
}

// === impl Runner ===

impl Runner {
    /// Confines this process. Nothing may be started before.
    fn start(arguments: &[OsString]) -> io::Result<Self> {
        privileges::raise_oom_score()?;
        let number = |at: usize| {
            let text = arguments.get(at)?.to_str()?;
            Pid::from_raw(text.parse().ok()?)
        };
        let unusable = || io::Error::other("used by hand");
        let (parent, child) = (
            number(0).ok_or_else(unusable)?,
            number(1).ok_or_else(unusable)?,
        );
        let policy = Policy::read(&PathBuf::from(arguments.get(2).ok_or_else(unusable)?))?;
        let sidecar = pidfd_open(parent, PidfdFlags::empty())?;
        // The number may have been given to another process by now.
        if getppid() != Some(parent) {
            return Err(io::Error::other("the sidecar is gone"));
        }
        let listener = UnixListener::from(privileges::take_stdin()?);
        setsid()?;
        umask(Mode::from_raw_mode(0o022));
        set_child_subreaper(Some(getpid()))?;
        privileges::limit(policy.limits)?;
        privileges::drop_capabilities_now()?;
        domain::enter(policy.landlock, &policy.command, policy.proxy_port)?;
        if policy.seccomp {
            seccomp::apply()?;
            if policy.proxy_port.is_some() {
                network::apply()?;
            }
        }
        Ok(Self {
            listener,
            sidecar,
            child,
            variables: variables(policy.variables),
            commands: Arc::default(),
        })
    }

    /// Returns why it cannot go on; usually it does not return.
    fn serve(self) -> io::Error {
        let reaper = self.commands.clone();
        if let Err(error) = std::thread::Builder::new().spawn(move || reaper.reap()) {
            return error;
        }
        let this = Arc::new(self);
        loop {
            let mut ready = [
                PollFd::new(&this.sidecar, PollFlags::IN),
                PollFd::new(&this.listener, PollFlags::IN),
            ];
            if let Err(error) = poll(&mut ready, None)
                && error != rustix::io::Errno::INTR
            {
                return error.into();
            }
            if !ready[0].revents().is_empty() {
                tree::end(getpid(), getpid(), Duration::ZERO, DEADLINE);
                return io::Error::other("the sidecar is gone");
            }
            if !ready[1].revents().is_empty()
                && let Ok((connection, _)) = this.listener.accept()
            {
                let runner = this.clone();
                // Where there can be no thread the connection is closed, which says so.
                drop(std::thread::Builder::new().spawn(move || runner.answer(&connection)));
            }
        }
    }

    fn answer(&self, connection: &UnixStream) {
        if !self.allowed(connection) {
            return;
        }
        let told = connection
            .set_read_timeout(Some(TELL))
            .and_then(|()| Request::receive(connection));
        if let Ok((request, streams)) = told {
            self.carry_out(connection, request, streams);
        }
    }

    /// Only a process that OpenCode has started itself may ask. A command is none: it descends from us.
    fn allowed(&self, connection: &UnixStream) -> bool {
        socket_peercred(connection).is_ok_and(|peer| tree::is_started_by(peer.pid, self.child))
    }

    fn carry_out(&self, connection: &UnixStream, request: Request, streams: Streams) {
        let spare = streams[2].try_clone();
        let (pid, ended) = match self.spawn(request, streams) {
            Ok(spawned) => spawned,
            Err(error) => {
                if let Ok(stderr) = spare {
                    complain(stderr, &format!("the command was not started: {error}"));
                }
                return send_code(connection, CANNOT_RUN);
            }
        };
        // Nothing here may hold the streams: OpenCode waits until the last one is closed.
        drop(spare);
        if wait(connection, pid) {
            if let Ok(status) = ended.recv() {
                send_code(connection, code(status));
            }
        } else {
            tree::end(pid, getpid(), GRACE, DEADLINE);
        }
    }

    fn spawn(&self, request: Request, streams: Streams) -> io::Result<(Pid, Receiver<ExitStatus>)> {
        let [stdin, stdout, stderr] = streams.map(Stdio::from);
        let bash = BASH.iter().find(|path| PathBuf::from(path).exists());
        let mut command = Command::new(bash.unwrap_or(&"/bin/sh"));
        command
            .arg0("bash")
            .args(request.arguments)
            .env_clear()
            .envs(request.environment)
            .envs(self.variables.iter().map(|(name, value)| (name, value)))
            .current_dir(request.directory)
            .process_group(0)
            .stdin(stdin)
            .stdout(stdout)
            .stderr(stderr);
        for name in REMOVED {
            command.env_remove(name);
        }
        self.commands.spawn(command)
    }
}

/// What every command gets. Root without capabilities cannot give files away, which tar tries for root.
fn variables(of_policy: Vec<(String, PathBuf)>) -> Vec<(String, OsString)> {
    let tar = ("TAR_OPTIONS".to_owned(), OsString::from("--no-same-owner"));
    of_policy
        .into_iter()
        .map(|(name, path)| (name, path.into_os_string()))
        .chain(rustix::process::geteuid().is_root().then_some(tar))
        .collect()
}

/// Whether the command ended before its connection did.
fn wait(connection: &UnixStream, pid: Pid) -> bool {
    let Ok(process) = pidfd_open(pid, PidfdFlags::empty()) else {
        // Already reaped.
        return true;
    };
    loop {
        let mut ready = [
            PollFd::new(&process, PollFlags::IN),
            PollFd::new(connection, PollFlags::RDHUP),
        ];
        match poll(&mut ready, None) {
            Err(rustix::io::Errno::INTR) => {}
            Ok(_) if !ready[0].revents().is_empty() => return true,
            Ok(_) | Err(_) => return false,
        }
    }
}

/// As a shell says it.
fn code(status: ExitStatus) -> u8 {
    let code = status.code().or_else(|| Some(128 + status.signal()?));
    code.and_then(|code| u8::try_from(code).ok()).unwrap_or(255)
}

// === impl Commands ===

impl Commands {
    /// The lock is held until the process is known, so that it is not reaped before.
    fn spawn(&self, mut command: Command) -> io::Result<(Pid, Receiver<ExitStatus>)> {
        let (ended_tx, ended_rx) = sync_channel(1);
        let mut waiting = self.waiting.lock();
        if waiting.len() >= MOST {
            return Err(io::Error::other("too many commands of this session run"));
        }
        let pid = Pid::from_child(&command.spawn()?);
        waiting.insert(pid, ended_tx);
        drop(waiting);
        self.started.notify_one();
        Ok((pid, ended_rx))
    }

    fn reap(&self) {
        loop {
            match rustix::process::wait(WaitOptions::empty()) {
                Ok(Some((pid, status))) => {
                    let waiting = self.waiting.lock().remove(&pid);
                    if let Some(ended_tx) = waiting {
                        ended_tx
                            .try_send(ExitStatus::from_raw(status.as_raw()))
                            .ok();
                    }
                }
                Ok(None) | Err(rustix::io::Errno::INTR) => {}
                // No child: until there is one.
                Err(_) => {
                    let mut waiting = self.waiting.lock();
                    if waiting.is_empty() {
                        self.started.wait(&mut waiting);
                    }
                }
            }
        }
    }
}
