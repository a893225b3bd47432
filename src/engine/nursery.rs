//! The one thread that is the parent of everything.
//!
//! The kernel's death signal follows the *thread* that spawned a process, so children are spawned
//! here and not on a worker thread that may retire. The thread also reaps: the sidecar is subreaper,
//! what loses its parent becomes our child, and it is waited for by its pid (never "any child", which
//! would steal the exit of a child that tokio waits for). And it sweeps: what is left of a dead child
//! is killed, whatever session or group it hid in.

use std::collections::{HashMap, HashSet};
use std::process::ExitStatus;
use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{
    Pid, PidfdFlags, Signal, WaitId, WaitIdOptions, WaitOptions, getpid, pidfd_open,
    pidfd_send_signal, set_child_subreaper, waitid, waitpid,
};
use tokio::process::{Child, Command};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::{mpsc, oneshot};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::process_table::{self, Process};

/// Requests waiting for the thread. It is asked by one actor and one signal task.
const QUEUE: usize = 16;

/// How long a sweep goes on killing before it reports what it could not kill.
const SWEEP_DEADLINE: Duration = Duration::from_secs(2);

/// How long a sweep may take altogether: `/proc` itself can hang on a process that does.
const SWEEP_LIMIT: Duration = Duration::from_secs(3);

/// How long one killed process may take to go, before the next is looked at.
const DEATH_DEADLINE: Duration = Duration::from_millis(200);

/// Handle to the thread. It ends when the last handle is dropped.
#[derive(Clone, Debug)]
pub(super) struct Nursery {
    requests: mpsc::Sender<Request>,
    children: Children,
}

/// Children that tokio waits for: their pids are not the thread's to reap. Those that run the commands of
/// a session come with its name.
type Children = Arc<Mutex<HashMap<Pid, Option<String>>>>;

/// What a sweep found.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Swept {
    pub(super) killed: usize,
    /// Still there at the deadline: stuck in the kernel.
    pub(super) survived: usize,
    /// It did not come to an end, and nothing is known.
    pub(super) stuck: bool,
}

/// Whom a sweep ends.
#[derive(Debug)]
pub(super) enum Scope {
    /// What carries our mark: an earlier life's.
    Marked,
    /// Everything of ours that no living child accounts for.
    Leftovers,
    /// The commands of these sessions of OpenCode: all that descends from their runners. Also what has
    /// come to us from a runner that died, which is no living session's.
    Sessions(Vec<String>),
}

#[derive(Debug)]
enum Request {
    /// With the session whose commands it runs, if that is what it does.
    Spawn(
        Box<Command>,
        Option<String>,
        oneshot::Sender<std::io::Result<Child>>,
    ),
    Sweep(Scope, oneshot::Sender<Swept>),
    Reap,
}

// === impl Nursery ===

impl Nursery {
    /// Starts the thread and makes this process the one that orphans come to.
    ///
    /// `mark` is the value of [`process_table::MARK`] by which a sweep knows what is ours.
    pub(super) fn start(
        mark: String,
        tracker: &TaskTracker,
        stop: CancellationToken,
    ) -> std::io::Result<Self> {
        set_child_subreaper(Some(getpid()))?;
        let (requests, inbox) = mpsc::channel(QUEUE);
        let runtime = tokio::runtime::Handle::current();
        let children = Children::default();
        let marks = [process_table::our_mark(&mark)];
        let guests = process_table::guests(&process_table::read(&marks), getpid());
        let thread = Thread {
            mark,
            children: children.clone(),
            guests,
        };
        std::thread::Builder::new()
            .name("nursery".into())
            .spawn(move || {
                // Spawning a tokio child needs the runtime's signal driver.
                let _guard = runtime.enter();
                thread.run(inbox);
            })?;
        let mut deaths = signal(SignalKind::child())?;
        let nursery = Self { requests, children };
        let reaper = nursery.clone();
        tracker.spawn(async move {
            let reap = async {
                while deaths.recv().await.is_some() {
                    reaper.send(Request::Reap).await;
                }
            };
            stop.run_until_cancelled(reap).await;
        });
        Ok(nursery)
    }

    pub(super) async fn spawn(&self, command: Command) -> std::io::Result<Child> {
        self.spawn_for(None, command).await
    }

    /// The same, for what runs the commands of `session`.
    pub(super) async fn spawn_runner(
        &self,
        session: String,
        command: Command,
    ) -> std::io::Result<Child> {
        self.spawn_for(Some(session), command).await
    }

    async fn spawn_for(&self, session: Option<String>, command: Command) -> std::io::Result<Child> {
        let (reply, answer) = oneshot::channel();
        self.send(Request::Spawn(Box::new(command), session, reply))
            .await;
        answer.await.unwrap_or_else(|_| Err(gone()))
    }

    /// Whether one of these sessions has run a command.
    pub(super) fn has_runner(&self, sessions: &[String]) -> bool {
        self.children
            .lock()
            .values()
            .flatten()
            .any(|session| sessions.contains(session))
    }

    /// Waits for `child` and lets go of its pid. Cancel-safe.
    pub(super) async fn wait(&self, child: &mut Child, pid: Pid) -> std::io::Result<ExitStatus> {
        let status = child.wait().await;
        self.children.lock().remove(&pid);
        status
    }

    /// Kills everything in `scope`, and reaps what is ours to reap.
    pub(super) async fn sweep(&self, scope: Scope) -> Swept {
        let (reply, answer) = oneshot::channel();
        let swept = async {
            self.send(Request::Sweep(scope, reply)).await;
            answer.await
        };
        match tokio::time::timeout(SWEEP_LIMIT, swept).await {
            Ok(Ok(swept)) => swept,
            Ok(Err(_)) | Err(_) => Swept {
                stuck: true,
                ..Swept::default()
            },
        }
    }

    async fn send(&self, request: Request) {
        // A thread that is gone shows in the reply that never comes.
        drop(self.requests.send(request).await);
    }
}

fn gone() -> std::io::Error {
    std::io::Error::other("the nursery thread is gone")
}

/// What the thread keeps.
struct Thread {
    mark: String,
    children: Children,
    /// What ran under this process before it became the sidecar. An entry point starts such things.
    guests: Vec<Process>,
}

// === impl Thread ===

impl Thread {
    fn run(self, mut inbox: mpsc::Receiver<Request>) {
        while let Some(request) = inbox.blocking_recv() {
            match request {
                Request::Spawn(mut command, session, reply) => {
                    let child = command.spawn();
                    let pid = child.as_ref().ok().and_then(pid_of);
                    self.children.lock().extend(pid.map(|pid| (pid, session)));
                    // Whoever asked may have gone: dropping the child kills it (kill_on_drop), and
                    // nobody will wait for it.
                    if reply.send(child).is_err() {
                        pid.map(|pid| self.children.lock().remove(&pid));
                    }
                }
                Request::Sweep(scope, reply) => drop(reply.send(self.sweep(&scope))),
                Request::Reap => self.reap(),
            }
        }
    }

    /// Collects the orphans that died. Never touches a pid that tokio waits for.
    fn reap(&self) {
        let peek = WaitIdOptions::EXITED | WaitIdOptions::NOHANG | WaitIdOptions::NOWAIT;
        if !matches!(waitid(WaitId::All, peek), Ok(Some(_))) {
            return;
        }
        let me = getpid();
        for process in process_table::read(&[]) {
            let orphan = !self.children.lock().contains_key(&process.pid);
            if process.zombie && process.parent == Some(me) && orphan {
                waitpid(Some(process.pid), WaitOptions::NOHANG).ok();
            }
        }
    }

    fn sweep(&self, scope: &Scope) -> Swept {
        let deadline = Instant::now() + SWEEP_DEADLINE;
        let mut killed = HashSet::new();
        loop {
            let left = self.find(scope);
            if left.is_empty() || Instant::now() > deadline {
                return Swept {
                    killed: killed.len(),
                    survived: left.len(),
                    stuck: false,
                };
            }
            for process in left {
                if Instant::now() > deadline {
                    break;
                }
                if !process.zombie {
                    killed.insert((process.pid, process.started));
                    kill(&process);
                }
                let waited_for = self.children.lock().contains_key(&process.pid);
                if process.parent == Some(getpid()) && !waited_for {
                    waitpid(Some(process.pid), WaitOptions::NOHANG).ok();
                }
            }
        }
    }

    fn find(&self, scope: &Scope) -> Vec<Process> {
        let marks: Vec<String> = match scope {
            Scope::Marked | Scope::Leftovers => vec![process_table::our_mark(&self.mark)],
            Scope::Sessions(_) => Vec::new(),
        };
        let all = process_table::read(&marks);
        let found = match scope {
            Scope::Leftovers => {
                let child = {
                    let children = self.children.lock();
                    all.iter()
                        .map(|process| process.pid)
                        .find(|pid| matches!(children.get(pid), Some(None)))
                };
                process_table::leftovers(&all, getpid(), child, &self.guests(&all))
            }
            Scope::Marked => process_table::marked(&all),
            Scope::Sessions(sessions) => {
                let (mut ended, mut kept) = (Vec::new(), self.guests(&all));
                for (pid, session) in self.children.lock().iter() {
                    match session {
                        Some(session) if sessions.contains(session) => ended.push(*pid),
                        _ => kept.push(*pid),
                    }
                }
                process_table::descendants(&all, getpid(), &ended, &kept)
            }
        };
        found
            .into_iter()
            // A zombie with another parent is that parent's to collect; it comes to us when that dies. One
            // that tokio waits for is tokio's.
            .filter(|process| {
                !process.zombie
                    || (process.parent == Some(getpid())
                        && !self.children.lock().contains_key(&process.pid))
            })
            .collect()
    }

    /// Those of the guests that still live; their numbers may belong to others by now.
    fn guests(&self, all: &[Process]) -> Vec<Pid> {
        let same = |process: &&Process| {
            self.guests
                .iter()
                .any(|guest| (guest.pid, guest.started) == (process.pid, process.started))
        };
        all.iter().filter(same).map(|process| process.pid).collect()
    }
}

/// Kills by a descriptor and waits for the end, so that a pid given anew is never hit.
fn kill(process: &Process) {
    let Ok(pidfd) = pidfd_open(process.pid, PidfdFlags::empty()) else {
        return;
    };
    let same = process_table::one(process.pid).is_some_and(|now| now.started == process.started);
    if same && pidfd_send_signal(&pidfd, Signal::KILL).is_ok() {
        let limit = Timespec::try_from(DEATH_DEADLINE).ok();
        poll(&mut [PollFd::new(&pidfd, PollFlags::IN)], limit.as_ref()).ok();
    }
}

pub(super) fn pid_of(child: &Child) -> Option<Pid> {
    Pid::from_raw(i32::try_from(child.id()?).ok()?)
}
