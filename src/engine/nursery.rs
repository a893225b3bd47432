//! The one thread that is the parent of everything.
//!
//! The kernel's death signal follows the *thread* that spawned a process, so children are spawned
//! here and not on a worker thread that may retire. The thread also reaps: the sidecar is subreaper,
//! what loses its parent becomes our child, and it is waited for by its pid (never "any child", which
//! would steal the exit of a child that tokio waits for). And it sweeps: what is left of a dead child
//! is killed, whatever session or group it hid in.

use std::collections::HashSet;
use std::process::ExitStatus;
use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use rustix::process::{
    Pid, WaitId, WaitIdOptions, WaitOptions, getpid, set_child_subreaper, waitid, waitpid,
};
use tokio::process::{Child, Command};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::{mpsc, oneshot};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::oom_score::OomScore;
use super::process_table::{self, Process};
use super::sweep::{self, Spared, Swept};

/// Requests waiting for the thread. It is asked by one actor and one signal task.
const QUEUE: usize = 16;

/// How long a sweep may take altogether: `/proc` itself can hang on a process that does.
const SWEEP_LIMIT: Duration = Duration::from_secs(3);

/// How long a sweep by marks goes on killing before it reports what it could not kill.
const MARKED_DEADLINE: Duration = Duration::from_secs(2);

/// Handle to the thread. It ends when the last handle is dropped.
#[derive(Clone, Debug)]
pub(super) struct Nursery {
    requests: mpsc::Sender<Request>,
    children: Children,
}

/// Children that tokio waits for: their pids are not the thread's to reap.
type Children = Arc<Mutex<HashSet<Pid>>>;

/// Whom a sweep ends.
#[derive(Debug)]
pub(super) enum Scope {
    /// What carries our mark: an earlier life's.
    Marked,
    /// Everything that descends from us, but a living child.
    Leftovers,
    /// The commands of these sessions of OpenCode, wherever they hid.
    Sessions(Vec<String>),
}

#[derive(Debug)]
enum Request {
    Spawn(Box<Command>, oneshot::Sender<std::io::Result<Child>>),
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
        oom_score: Option<OomScore>,
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
            oom_score,
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
        let (reply, answer) = oneshot::channel();
        self.send(Request::Spawn(Box::new(command), reply)).await;
        answer.await.unwrap_or_else(|_| Err(gone()))
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
                lost: true,
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
    oom_score: Option<OomScore>,
}

// === impl Thread ===

impl Thread {
    fn run(mut self, mut inbox: mpsc::Receiver<Request>) {
        while let Some(request) = inbox.blocking_recv() {
            match request {
                Request::Spawn(mut command, reply) => {
                    let child = match &mut self.oom_score {
                        Some(score) => score.for_child(|| command.spawn()),
                        None => command.spawn(),
                    };
                    let pid = child.as_ref().ok().and_then(pid_of);
                    self.children.lock().extend(pid);
                    // Whoever asked may have gone: dropping the child kills it (kill_on_drop), and
                    // nobody will wait for it.
                    if reply.send(child).is_err() {
                        pid.map(|pid| self.children.lock().remove(&pid));
                    }
                }
                // Whoever asked may have given up meanwhile, and has asked anew.
                Request::Sweep(_, reply) if reply.is_closed() => {}
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
        // Not all processes are looked at: somebody who goes on replacing himself leaves thousands of dead a
        // second, and they have to be collected faster than they come.
        for pid in sweep::orphans() {
            if !self.children.lock().contains(&pid) {
                waitpid(Some(pid), WaitOptions::NOHANG).ok();
            }
        }
    }

    fn sweep(&self, scope: &Scope) -> Swept {
        let marks = match scope {
            Scope::Leftovers => {
                return sweep::descendants(&Spared {
                    children: self.children.lock().clone(),
                    guests: &self.guests,
                });
            }
            Scope::Marked => vec![process_table::our_mark(&self.mark)],
            Scope::Sessions(ids) => ids
                .iter()
                .map(|id| process_table::session_mark(id))
                .collect(),
        };
        sweep_marked(&marks)
    }
}

/// Kills what carries one of `marks`, and what descends from it.
fn sweep_marked(marks: &[String]) -> Swept {
    let deadline = Instant::now() + MARKED_DEADLINE;
    let mut killed = HashSet::new();
    loop {
        let found = process_table::marked(&process_table::read(marks));
        // A zombie with another parent is that parent's to collect; it comes to us when that dies.
        let (dead, alive): (Vec<Process>, Vec<Process>) =
            found.into_iter().partition(|process| process.zombie);
        let before = killed.len();
        for process in &alive {
            if sweep::kill(process) {
                killed.insert((process.pid, process.started));
            }
        }
        for process in alive.iter().chain(&dead) {
            if process.parent == Some(getpid()) {
                waitpid(Some(process.pid), WaitOptions::NOHANG).ok();
            }
        }
        let fresh = killed.len() - before;
        if alive.is_empty() || Instant::now() > deadline {
            return Swept {
                killed: killed.len(),
                dying: alive.len() - fresh.min(alive.len()),
                running: if alive.is_empty() { 0 } else { fresh },
                lost: false,
            };
        }
        if fresh == 0 {
            sweep::wait_for(alive.first().map(|process| &process.pid));
        }
    }
}

pub(super) fn pid_of(child: &Child) -> Option<Pid> {
    Pid::from_raw(i32::try_from(child.id()?).ok()?)
}
