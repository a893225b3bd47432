//! What the rest of the program holds of the engine: ask for something, read the latest state.

use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;
use tokio_util::task::TaskTracker;

use super::actor::Actor;
use super::child::Context;
use super::child_config::ChildConfigs;
use super::config::Config;
use super::environment::{self, Home};
use super::guard::{Guard, RestartRequest};
use super::leftovers::sweep;
use super::load::{Load, LoadGuard};
use super::memory::{Memory, Places, Pressure};
use super::oom_score::OomScore;
use super::operation::{Admission, Operation};
use super::process_table;
use super::reaper::{Reaper, Scope};
use super::request::{Current, Request};
use super::runners::Runners;
use super::state::Snapshot;
use super::warm_up::{WarmUp, WarmUpTurn};
use crate::id::Generation;
use crate::sandbox;
use crate::shutdown::Shutdown;
use crate::workspace;

/// Requests waiting for the actor: the one in progress, and a stop that supersedes it.
const QUEUE: usize = 2;

/// Clients of the contract give up after 30 s: the answer comes before that, done or not.
const ANSWER_WITHIN: Duration = Duration::from_secs(25);

/// A cheap clone.
#[derive(Clone, Debug)]
pub(crate) struct Handle {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    requests_tx: mpsc::Sender<Request>,
    snapshot_rx: watch::Receiver<Snapshot>,
    /// The latest look at it; nothing where there is no limit.
    memory_rx: watch::Receiver<Option<Memory>>,
    load: Load,
    /// The lock covers "look and begin".
    current: Current,
    project_dir: String,
    reaper: Reaper,
    sandbox: sandbox::Report,
    recycling_tx: watch::Sender<Option<RestartRequest>>,
    shutdown: Shutdown,
}

/// How an operation ended, for the one who asked.
#[derive(Debug)]
pub(crate) enum Answer {
    Done(Status),
    /// Still in progress when the deadline passed.
    Pending(Status),
    /// The child did not come up; the sentence says why, and that it goes on trying.
    Failed(String),
}

/// Why an operation was not begun.
#[derive(Debug, thiserror::Error)]
pub(crate) enum AskError {
    #[error("a {} of the engine is in progress; try again when it is done", .0.noun())]
    InProgress(Operation),
    #[error("the engine is running on port {0}; restart it to change the port")]
    OtherPort(u16),
    #[error("the sidecar is shutting down")]
    ShuttingDown,
}

/// Everything there is to say about the child.
#[derive(Clone, Debug)]
pub(crate) struct Status {
    pub(crate) snapshot: Snapshot,
    pub(crate) resident_bytes: Option<u64>,
    pub(crate) memory: Option<Memory>,
    pub(crate) project_dir: String,
    pub(crate) sandbox: sandbox::Report,
}

/// Starts the reaper and the actor. What an earlier sidecar left behind is ended first. The second
/// part of the answer ends with the actor, and tells whether it panicked.
pub(crate) fn spawn(
    config: Config,
    (child_configs, warm_up_turn): (ChildConfigs, WarmUpTurn),
    oom_score: Option<OomScore>,
    workspace: workspace::Watch,
    shutdown: Shutdown,
    tracker: &TaskTracker,
) -> io::Result<(Handle, JoinHandle<()>)> {
    let mark = environment::mark(&config.data_dir)?;
    let own_binary = std::env::current_exe()?.to_string_lossy().into_owned();
    // Before anything is started: later there would be more than earlier.
    let earlier = process_table::earlier(
        &process_table::read(&[process_table::our_mark(&mark)]),
        rustix::process::getpid(),
    );
    let places = Places::of_this_process(config.memory_limit, earlier);
    let reaper = Reaper::start(mark.clone(), oom_score, tracker, shutdown.gone.clone())?;
    let (snapshot_tx, snapshot_rx) = watch::channel(Snapshot::new());
    let (requests_tx, requests_rx) = mpsc::channel(QUEUE);
    let project_dir = config.workspace.display().to_string();
    let home = Home::new(&config.data_dir, config.sandbox.user);
    let runners = Runners::start(&config, &home, &mark, reaper.clone(), tracker, &shutdown)?;
    let sandbox = runners.report().clone();
    let load = Load::default();
    let warm_up = WarmUp {
        mode: config.warm_up,
        workspace: config.workspace.clone(),
        turn: warm_up_turn,
        load: load.clone(),
        reaper: reaper.clone(),
    };
    let context = Context {
        home,
        config,
        runners,
        own_binary,
        mark,
        reaper: reaper.clone(),
        tracker: tracker.clone(),
        child_configs,
        warm_up,
    };
    let (recycling_tx, recycling_rx) = watch::channel(None);
    let requests = (requests_rx, recycling_rx);
    let actor = Actor::new(context, workspace, requests, snapshot_tx, shutdown.clone());
    let supervisor = tracker.spawn(actor.run());
    let (memory_tx, memory_rx) = watch::channel(None);
    let guard = Guard {
        places,
        load: load.clone(),
        snapshot_rx: snapshot_rx.clone(),
        memory_tx,
        recycling_tx: recycling_tx.clone(),
    };
    tracker.spawn(guard.run(shutdown.gone.clone()));
    let shared = Shared {
        requests_tx,
        snapshot_rx,
        memory_rx,
        load,
        current: Arc::default(),
        project_dir,
        reaper,
        sandbox,
        recycling_tx,
        shutdown,
    };
    let handle = Handle {
        shared: Arc::new(shared),
    };
    Ok((handle, supervisor))
}

// === impl Handle ===

impl Handle {
    /// Carries out `operation`, or joins the one that does. Returns when it is done or the deadline
    /// has passed; it goes on either way.
    pub(crate) async fn ask(&self, operation: Operation) -> Result<Answer, AskError> {
        let mut done_rx = self.begin(operation)?;
        // The sender never sends: the wait ends when the request is dropped.
        let over = tokio::time::timeout(ANSWER_WITHIN, done_rx.changed())
            .await
            .is_ok();
        let status = self.status();
        if !over {
            return Ok(Answer::Pending(status));
        }
        // It came up elsewhere while this was on its way.
        self.check_port(operation)?;
        let reached = match operation {
            Operation::Stop => status.snapshot.process.is_none(),
            Operation::Start { .. } | Operation::Restart { .. } => {
                status.snapshot.ready().is_some()
            }
        };
        Ok(match status.snapshot.not_ready(Instant::now()) {
            Some(reason) if !reached => Answer::Failed(match status.snapshot.last_error {
                Some(error) if !reason.contains(&error) => format!("{reason}: {error}"),
                _ => reason,
            }),
            _ => Answer::Done(status),
        })
    }

    /// The latest state, to wait on.
    pub(crate) fn watch(&self) -> watch::Receiver<Snapshot> {
        self.shared.snapshot_rx.clone()
    }

    /// Ends what the commands of these sessions of OpenCode have started, wherever it went. Returns how many
    /// processes there were. Costs nothing where a session has run no command.
    pub(crate) async fn end_tools(&self, sessions: Vec<String>) -> usize {
        if !self.shared.reaper.has_runner(&sessions) {
            return 0;
        }
        self.shared
            .reaper
            .sweep(Scope::Sessions(sessions))
            .await
            .killed
    }

    /// Why no work can be taken, if so. Cheap: probes ask this.
    pub(crate) fn not_ready(&self, now: Instant) -> Option<String> {
        let refusal = self.shared.sandbox.refusal();
        refusal.or_else(|| self.shared.snapshot_rx.borrow().not_ready(now))
    }

    /// Health checks that the child has missed in a row.
    pub(crate) fn missed_checks(&self) -> u32 {
        self.shared.snapshot_rx.borrow().missed_checks
    }

    /// The processes below which the commands of these sessions of OpenCode run.
    pub(crate) fn runners(&self, sessions: &[String]) -> Vec<i32> {
        self.shared.reaper.runners(sessions)
    }

    /// Says that a turn runs, until what it gets is dropped: a child with turns is not recycled for
    /// memory before it must.
    pub(crate) fn turn(&self) -> LoadGuard {
        self.shared.load.turn()
    }

    /// Why memory allows no new session, if so.
    pub(crate) fn short_of_memory(&self) -> Option<String> {
        let memory = (*self.shared.memory_rx.borrow()).filter(|memory| is_short(*memory))?;
        Some(format!(
            "memory is short: {}; try again later, or {}",
            memory.words(),
            memory.remedy()
        ))
    }

    /// The child of this generation answers and does no work: the next one takes its place, and turns
    /// that run go on there. A later child is left alone.
    pub(crate) fn replace(&self, generation: Generation, why: &str) {
        self.shared.recycling_tx.send_replace(Some(RestartRequest {
            generation,
            at_once: true,
            why: why.to_owned(),
        }));
    }

    /// Waits until memory allows a new session. The guard makes room for those who wait. Cancel-safe.
    pub(crate) async fn room(&self) {
        let mut memory_rx = self.shared.memory_rx.clone();
        if self.short_of_memory().is_some() {
            let _waiting = self.shared.load.wait();
            // A guard that has ended leaves no one to wait for.
            drop(
                memory_rx
                    .wait_for(|memory| !memory.is_some_and(is_short))
                    .await,
            );
        }
    }

    /// Ends everything of the engine's. Only for when the actor is gone and cannot do it.
    pub(crate) async fn end_all(&self) {
        sweep(&self.shared.reaper).await;
    }

    pub(crate) fn status(&self) -> Status {
        let snapshot = self.shared.snapshot_rx.borrow().clone();
        Status {
            resident_bytes: snapshot
                .process
                .and_then(|(pid, _)| process_table::resident_bytes(pid)),
            memory: *self.shared.memory_rx.borrow(),
            snapshot,
            project_dir: self.shared.project_dir.clone(),
            sandbox: self.shared.sandbox.clone(),
        }
    }

    fn begin(&self, operation: Operation) -> Result<watch::Receiver<()>, AskError> {
        if self.shared.shutdown.drain.is_cancelled() {
            return Err(AskError::ShuttingDown);
        }
        let mut current = self.shared.current.lock();
        let in_progress = current.as_ref().map(|(operation, _)| *operation);
        match (operation.admit(in_progress), current.as_ref()) {
            (Admission::Join, Some((_, done_rx))) => return Ok(done_rx.clone()),
            (Admission::Refuse, Some((other, _))) => return Err(AskError::InProgress(*other)),
            _ => {}
        }
        self.check_port(operation)?;
        let (done_tx, done_rx) = watch::channel(());
        let request = Request {
            operation,
            current: self.shared.current.clone(),
            done_tx,
        };
        // Dropping a refused request would lock what is locked here, so it is taken apart first.
        if let Err(error) = self.shared.requests_tx.try_send(request) {
            drop(current);
            drop(error);
            return Err(AskError::ShuttingDown);
        }
        *current = Some((operation, done_rx.clone()));
        Ok(done_rx)
    }

    fn check_port(&self, operation: Operation) -> Result<(), AskError> {
        let snapshot = self.shared.snapshot_rx.borrow();
        match (operation, snapshot.ready()) {
            (Operation::Start { .. }, Some(ready))
                if !operation.is_satisfied_by(ready.address.port()) =>
            {
                Err(AskError::OtherPort(ready.address.port()))
            }
            _ => Ok(()),
        }
    }
}

fn is_short(memory: Memory) -> bool {
    memory.pressure() >= Pressure::High
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::ChildConfigs;

    #[tokio::test(flavor = "multi_thread")]
    async fn a_panic_of_the_actor_shows_in_its_end() {
        let dir = tempfile::tempdir().unwrap();
        let (tracker, shutdown) = (TaskTracker::new(), Shutdown::default());
        let config = Config::without_child(dir.path());
        let workspace = workspace::spawn(dir.path(), &tracker, shutdown.gone.clone());
        let child_configs = ChildConfigs::new(|| panic!("no child_config"));
        let warm_up_turn = WarmUpTurn::new(|_| async { Err("no child comes up".into()) });
        let made = (child_configs, warm_up_turn);
        let (handle, supervisor) =
            spawn(config, made, None, workspace, shutdown, &tracker).unwrap();
        let ended = tokio::time::timeout(Duration::from_secs(20), supervisor).await;
        assert!(ended.unwrap().unwrap_err().is_panic());
        // Nobody is there to ask, and nobody waits for ever.
        handle.end_all().await;
        assert!(handle.ask(Operation::Stop).await.is_err());
    }
}
