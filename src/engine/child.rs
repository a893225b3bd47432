//! One life of the child: spawn, wait until it takes work, stop. Owned by the actor.

use std::io;
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::process::ExitStatus;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process, kill_process_group};
use tokio::io::AsyncWriteExt as _;
use tokio::process;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::child_config::ChildConfigs;
use super::config::Config;
use super::environment::{self, Home, Preparation, PrepareError};
use super::output::{self, Announced, Tail};
use super::reaper::{Reaper, pid_of};
use super::runners::Runners;
use super::state::Ready;
use super::sweep::Swept;
use super::warm_up::WarmUp;
use super::{git, leftovers};
use crate::opencode::{self, CallError, Client};
use crate::secret::Secret;
use crate::workspace;

/// A health check of a starting child is repeated, so each may be short; and it must be: a connection
/// made in the moment OpenCode begins to listen is never answered.
const START_PROBE: Duration = Duration::from_millis(250);

/// Between two health checks of a starting child.
const START_PAUSE: Duration = Duration::from_millis(50);

/// How long OpenCode may take to end its tools before it is told to go.
const DISPOSE: Duration = Duration::from_secs(2);

/// How long the kernel may take to end a process that was killed.
const DEATH: Duration = Duration::from_secs(2);

/// How long the last lines of a dead child may take to arrive.
const LAST_WORDS: Duration = Duration::from_millis(200);

/// Why a child is not there. Reads as a sentence about it.
#[derive(Debug, thiserror::Error)]
pub(super) enum StartError {
    #[error("its directories could not be prepared: {0}")]
    Prepare(PrepareError),
    #[error("its directories were not prepared within {} s: the disk of {} does not answer", .within.as_secs(), .path.display())]
    Stuck { within: Duration, path: PathBuf },
    #[error("it is not started: {0}")]
    Sandbox(String),
    #[error("it could not be spawned: {0}")]
    Spawn(io::Error),
    #[error("it {} before it was ready{}", .0.how, .0.last_words)]
    Exited(End),
    #[error("it did not say where it listens within {} s", .0.as_secs())]
    Silent(Duration),
    #[error(
        "it listens without having asked for its secrets: this binary is not OpenCode {}",
        crate::opencode::VERSION
    )]
    Unprotected,
    #[error("it listens, but was not healthy within {} s: could not {error}", .within.as_secs())]
    Unhealthy { within: Duration, error: CallError },
    #[error("it {}{}", .0.how, .0.last_words)]
    Ended(End),
    #[error("the warm-up did not succeed: {0}")]
    WarmUp(String),
    #[error("it is healthy, but was not warmed up within {} s", .0.as_secs())]
    Cold(Duration),
}

/// How a child ended.
#[derive(Debug)]
pub(super) struct End {
    /// Completes "it …".
    pub(super) how: String,
    /// Follows at the end of the sentence; may be empty.
    pub(super) last_words: String,
    /// By a signal that is sent and not by a fault of its own.
    pub(super) was_killed: bool,
}

/// A running child.
#[derive(Debug)]
pub(super) struct Child {
    process: process::Child,
    pub(super) pid: Pid,
    pub(super) since: Instant,
    /// When it has to be ready, but for the time that a missing mount takes.
    deadline: tokio::time::Instant,
    password: Secret,
    announced_rx: watch::Receiver<Announced>,
    pub(super) tail: Tail,
    /// Ends when the child and all that hold its stderr are gone.
    stderr: Option<JoinHandle<()>>,
    client: Option<Client>,
}

/// What all children share.
#[derive(Clone, Debug)]
pub(super) struct Context {
    pub(super) config: Config,
    /// The path of our binary, as the child can run it.
    pub(super) own_binary: String,
    pub(super) home: Home,
    pub(super) mark: String,
    pub(super) reaper: Reaper,
    pub(super) runners: Runners,
    pub(super) child_configs: ChildConfigs,
    pub(super) warm_up: WarmUp,
    pub(super) tracker: TaskTracker,
}

// === impl Child ===

impl Child {
    /// May be dropped at any point: what was spawned by then dies, and the next sweep finds its rest.
    pub(super) async fn spawn(
        context: &Context,
        preparation: &mut Preparation,
        port: u16,
    ) -> Result<Self, StartError> {
        if let Some(reason) = context.runners.report().refusal() {
            return Err(StartError::Sandbox(reason));
        }
        let within = context.config.start_timeout;
        let deadline = tokio::time::Instant::now() + within;
        tokio::time::timeout_at(deadline, preparation.of(&context.home))
            .await
            .map_err(|_| StartError::Stuck {
                within,
                path: context.home.root().to_owned(),
            })?
            .map_err(StartError::Prepare)?;
        let password = Secret::random();
        let child_config = context.child_configs.next();
        // A pair of sockets and not a pipe: the end that a process holds of a pipe can be opened a second
        // time through `/proc` by others of its user, as long as the process is not closed to inspection.
        let (ours, theirs) = UnixStream::pair().map_err(StartError::Spawn)?;
        let command = environment::command(
            &context.config,
            &context.home,
            &context.mark,
            port,
            theirs.into(),
            context.runners.policy(),
        );
        let spawned = tokio::time::timeout_at(deadline, context.reaper.spawn(command)).await;
        let mut process = spawned
            .unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()))
            .map_err(StartError::Spawn)?;
        let pid =
            pid_of(&process).ok_or_else(|| StartError::Spawn(io::Error::other("it has no pid")))?;
        context.runners.serve(pid);

        let (announced_tx, announced_rx) = watch::channel(Announced::default());
        let tail = Tail::default();
        let egress = child_config.egress;
        let secrets = vec![password.clone(), child_config.token]
            .into_iter()
            .chain(egress.as_ref().map(|(_, key)| key.clone()))
            .collect::<Vec<_>>();
        if let Some(stdout) = process.stdout.take() {
            context
                .tracker
                .spawn(output::stdout(stdout, secrets.clone(), announced_tx));
        }
        let stderr = process.stderr.take().map(|stderr| {
            context
                .tracker
                .spawn(output::stderr(stderr, secrets, tail.clone()))
        });
        let git = [context.own_binary.as_str(), git::NAME];
        let egress = egress.as_ref().map(|(port, key)| (*port, key));
        let configuration = &child_config.configuration;
        let secrets = opencode::config::secrets(&password, configuration, &git, egress);
        let handing_over = hand_over(ours, announced_rx.clone(), secrets);
        context.tracker.spawn(handing_over);
        Ok(Self {
            process,
            pid,
            since: Instant::now(),
            deadline,
            password,
            announced_rx,
            tail,
            stderr,
            client: None,
        })
    }

    /// Waits until the child listens, is healthy and warmed up. May be dropped: the
    /// child stays whole and can be stopped.
    pub(super) async fn ready(
        &mut self,
        context: &Context,
        workspace: &mut workspace::Watch,
    ) -> Result<Ready, StartError> {
        let (limit, deadline) = (context.config.start_timeout, self.deadline);
        let announced = tokio::select! {
            announced = self.announced_rx.wait_for(|announced| announced.address.is_some()) => {
                announced.ok().map(|announced| *announced)
            }
            // The arms below watch for the end; a closed stdout alone says nothing.
            () = tokio::time::sleep_until(deadline) => None,
            _ = context.reaper.wait(&mut self.process, self.pid) => None,
        };
        let Some(Announced {
            address: Some(address),
            closed,
        }) = announced
        else {
            return Err(
                match tokio::time::timeout_at(deadline, self.wait(&context.reaper)).await {
                    Ok(end) => StartError::Exited(end),
                    Err(_) => StartError::Silent(limit),
                },
            );
        };
        if !closed {
            return Err(StartError::Unprotected);
        }
        let client = Client::new(address, self.password.clone())
            .map_err(|error| StartError::WarmUp(format!("could not {error}")))?;
        self.client = Some(client.clone());
        let warming = async {
            let version = healthy(&client, deadline, limit).await?;
            let left = deadline.saturating_duration_since(tokio::time::Instant::now());
            // No restart mends a missing mount, so this waits, and `/ready` names the mount meanwhile.
            // A closed channel is the program's end, where somebody drops this future.
            drop(workspace.wait_for(workspace::Checked::is_ok).await);
            let warm_up = tokio::time::timeout(left, context.warm_up.run(&client))
                .await
                .map_err(|_| StartError::Cold(limit))?
                .map_err(StartError::WarmUp)?;
            Ok(Ready {
                address,
                version,
                client: client.clone(),
                warm_up,
            })
        };
        tokio::select! {
            ready = warming => ready,
            end = self.wait(&context.reaper) => Err(StartError::Exited(end)),
        }
    }

    /// Waits for the end and says how it came. Cancel-safe: called again, it goes on.
    pub(super) async fn wait(&mut self, reaper: &Reaper) -> End {
        let status = reaper.wait(&mut self.process, self.pid).await;
        if let Some(stderr) = &mut self.stderr {
            // An orphaned tool may hold the pipe open: then what was read so far has to do.
            if tokio::time::timeout(LAST_WORDS, &mut *stderr).await.is_ok() {
                self.stderr = None;
            }
        }
        End {
            was_killed: status.as_ref().is_ok_and(|status| was_killed(*status)),
            how: describe(status),
            last_words: self.tail.sentence(),
        }
    }

    /// The steps of a stop: dispose, TERM, KILL, sweep. Each has its deadline; `hurry` skips to KILL.
    /// Returns what became of the processes that outlived the child.
    pub(super) async fn stop(mut self, context: &Context, hurry: &CancellationToken) -> Swept {
        if let Some(client) = self.client.clone() {
            tokio::select! {
                disposed = client.dispose(DISPOSE) => if let Err(error) = disposed {
                    tracing::debug!(%error, "the engine did not end its tools");
                },
                () = hurry.cancelled() => {}
                _ = context.reaper.wait(&mut self.process, self.pid) => {}
            }
        }
        self.signal(Signal::TERM);
        let exited = tokio::select! {
            _ = context.reaper.wait(&mut self.process, self.pid) => true,
            () = tokio::time::sleep(context.config.stop_timeout) => false,
            () = hurry.cancelled() => false,
        };
        if !exited {
            tracing::warn!(
                child.pid = self.pid.as_raw_nonzero(),
                "the engine did not leave when asked; killing it"
            );
            self.signal(Signal::KILL);
            let death = context.reaper.wait(&mut self.process, self.pid);
            if tokio::time::timeout(DEATH, death).await.is_err() {
                tracing::error!(
                    child.pid = self.pid.as_raw_nonzero(),
                    "the kernel does not end the engine"
                );
            }
        }
        leftovers::sweep(&context.reaper).await
    }

    /// To the whole group: the tools of a healthy OpenCode have groups of their own, but what it
    /// starts otherwise is in this one. A group that is gone is no error.
    fn signal(&self, signal: Signal) {
        // Once the child is reaped its number may belong to somebody else.
        if self.process.id().is_some() && kill_process_group(self.pid, signal).is_err() {
            // The shim has not made the group yet.
            kill_process(self.pid, signal).ok();
        }
    }
}

/// Gives the child its secrets once it says that it is closed to inspection. A child that ends before that
/// is found by whoever waits for it.
async fn hand_over(
    stream: UnixStream,
    mut announced_rx: watch::Receiver<Announced>,
    secrets: Secret,
) {
    let closed = announced_rx.wait_for(|announced| announced.closed).await;
    if closed.map(drop).is_err() {
        return;
    }
    let handed_over = async {
        stream.set_nonblocking(true)?;
        let mut stream = tokio::net::UnixStream::from_std(stream)?;
        stream.write_all(secrets.expose().as_bytes()).await
    };
    if let Err(error) = handed_over.await
        && error.kind() != io::ErrorKind::BrokenPipe
    {
        tracing::error!(%error, "the engine could not be given its secrets");
    }
}

async fn healthy(
    client: &Client,
    deadline: tokio::time::Instant,
    limit: Duration,
) -> Result<String, StartError> {
    loop {
        let error = match client.health(START_PROBE).await {
            Ok(health) => return Ok(health.version),
            Err(error) => error,
        };
        if tokio::time::Instant::now() > deadline {
            return Err(StartError::Unhealthy {
                within: limit,
                error,
            });
        }
        tokio::time::sleep(START_PAUSE).await;
    }
}

/// Whether somebody sent the signal that ended it.
fn was_killed(status: ExitStatus) -> bool {
    use std::os::unix::process::ExitStatusExt as _;
    let sent = [Signal::HUP, Signal::INT, Signal::KILL, Signal::TERM];
    let signal = status.signal().and_then(Signal::from_named_raw);
    signal.is_some_and(|signal| sent.contains(&signal))
}

fn describe(status: io::Result<ExitStatus>) -> String {
    use std::os::unix::process::ExitStatusExt as _;
    match status {
        Err(error) => format!("was lost ({error})"),
        Ok(status) => match (status.code(), status.signal()) {
            (Some(code), _) => format!("exited with status {code}"),
            (None, Some(signal)) => format!("was killed by signal {signal}"),
            (None, None) => "ended".into(),
        },
    }
}
