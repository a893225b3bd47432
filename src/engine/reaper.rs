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
use rustix::process::{
    Pid, WaitId, WaitIdOptions, WaitOptions, getpid, set_child_subreaper, waitid, waitpid,
};
use tokio::process::{Child, Command};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::{mpsc, oneshot};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::oom_score::OomScore;
use super::process_table::{self, Process, Table};
use super::sweep::{self, Spared, Swept};
use crate::metrics;

/// Requests waiting for the thread. It is asked by one actor and one signal task.
const QUEUE: usize = 16;

/// How long a sweep may take altogether: `/proc` itself can hang on a process that does.
const SWEEP_LIMIT: Duration = Duration::from_secs(3);

/// How long a sweep by marks or sessions goes on killing before it reports what it could not kill.
const FOUND_DEADLINE: Duration = Duration::from_secs(2);

/// Handle to the thread. It ends when the last handle is dropped.
#[derive(Clone, Debug)]
pub(super) struct Reaper {
    requests: mpsc::Sender<Request>,
    children: Children,
}

/// Children that tokio waits for: their pids are not the thread's to reap. Those that run the commands of
/// a session come with its name.
type Children = Arc<Mutex<HashMap<Pid, Option<String>>>>;

/// Whom a sweep ends.
#[derive(Debug)]
pub(super) enum Scope {
    /// What carries our mark: an earlier life's.
    Marked,
    /// Everything that descends from us, but a living child.
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

// === impl Reaper ===

impl Reaper {
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
        let earlier = process_table::earlier(&process_table::read(&marks), getpid());
        let thread = Thread {
            mark,
            children: children.clone(),
            earlier,
            oom_score,
        };
        std::thread::Builder::new()
            .name("reaper".into())
            .spawn(move || {
                // Spawning a tokio child needs the runtime's signal driver.
                let _guard = runtime.enter();
                thread.run(inbox);
            })?;
        let mut deaths = signal(SignalKind::child())?;
        let reaper = Self { requests, children };
        let collector = reaper.clone();
        tracker.spawn(async move {
            let reap = async {
                while deaths.recv().await.is_some() {
                    collector.send(Request::Reap).await;
                }
            };
            stop.run_until_cancelled(reap).await;
        });
        Ok(reaper)
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

    /// The runners of these sessions.
    pub(super) fn runners(&self, sessions: &[String]) -> Vec<i32> {
        let children = self.children.lock();
        children
            .iter()
            .filter(|(_, session)| session.as_ref().is_some_and(|one| sessions.contains(one)))
            .map(|(pid, _)| pid.as_raw_nonzero().get())
            .collect()
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
    std::io::Error::other("the reaper thread is gone")
}

/// What the thread keeps.
struct Thread {
    mark: String,
    children: Children,
    /// What ran under this process before it became the sidecar. An entry point starts such things.
    earlier: Vec<Process>,
    oom_score: Option<OomScore>,
}

// === impl Thread ===

impl Thread {
    fn run(mut self, mut inbox: mpsc::Receiver<Request>) {
        while let Some(request) = inbox.blocking_recv() {
            match request {
                Request::Spawn(mut command, session, reply) => {
                    let child = match &mut self.oom_score {
                        Some(score) => score.for_child(|| command.spawn()),
                        None => command.spawn(),
                    };
                    let pid = child.as_ref().ok().and_then(pid_of);
                    self.children.lock().extend(pid.map(|pid| (pid, session)));
                    // Whoever asked may have gone: dropping the child kills it (kill_on_drop), and
                    // nobody will wait for it.
                    if reply.send(child).is_err() {
                        pid.map(|pid| self.children.lock().remove(&pid));
                    }
                }
                // Whoever asked may have given up meanwhile, and has asked anew.
                Request::Sweep(_, reply) if reply.is_closed() => {}
                Request::Sweep(scope, reply) => {
                    let swept = self.sweep(&scope);
                    metrics::engine::leftovers_killed(swept.killed);
                    reply.send(swept).ok();
                }
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
            if !self.children.lock().contains_key(&pid) {
                waitpid(Some(pid), WaitOptions::NOHANG).ok();
            }
        }
    }

    fn sweep(&self, scope: &Scope) -> Swept {
        match scope {
            Scope::Leftovers => sweep::descendants(&Spared {
                children: self.other_children(None),
                earlier: &self.earlier,
            }),
            Scope::Marked => {
                let marks = [process_table::our_mark(&self.mark)];
                sweep_found(|| {
                    let Table {
                        processes,
                        complete,
                    } = process_table::read_table(&marks);
                    (process_table::marked(&processes), complete)
                })
            }
            Scope::Sessions(sessions) => sweep_found(|| self.commands_of(sessions)),
        }
    }

    /// What descends from the runners of these sessions, and orphans; whether that is all of it.
    fn commands_of(&self, sessions: &[String]) -> (Vec<Process>, bool) {
        let ended: Vec<Pid> = self
            .children
            .lock()
            .iter()
            .filter(|(_, session)| session.as_ref().is_some_and(|one| sessions.contains(one)))
            .map(|(pid, _)| *pid)
            .collect();
        let kept = Spared {
            children: self.other_children(Some(&ended)),
            earlier: &self.earlier,
        };
        let Table {
            processes: all,
            complete,
        } = process_table::read_table(&[]);
        let commands = process_table::descendants(&all, getpid(), &ended, &kept.of(&all));
        (commands, complete)
    }

    /// The children that tokio waits for, without `ended`; without it those that run no session's commands.
    fn other_children(&self, ended: Option<&[Pid]>) -> HashSet<Pid> {
        let children = self.children.lock();
        let other = |(pid, session): &(&Pid, &Option<String>)| match ended {
            Some(ended) => !ended.contains(pid),
            None => session.is_none(),
        };
        children.iter().filter(other).map(|(pid, _)| *pid).collect()
    }
}

/// Kills what `find` finds, until it has looked at all and finds nothing that lives.
fn sweep_found(find: impl Fn() -> (Vec<Process>, bool)) -> Swept {
    let deadline = Instant::now() + FOUND_DEADLINE;
    let mut killed = HashSet::new();
    loop {
        // A zombie with another parent is that parent's to collect; it comes to us when that dies.
        let (found, complete) = find();
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
        let done = alive.is_empty() && complete;
        if done || Instant::now() > deadline {
            return Swept {
                killed: killed.len(),
                dying: alive.len() - fresh.min(alive.len()),
                // Of what was not looked at, something may run.
                running: fresh.max(usize::from(!complete)),
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
