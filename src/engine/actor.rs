//! The one task that owns the child. Each state is a method that waits for what may happen in it and
//! returns the next; `engine.rs` has the diagram.

mod health;
mod interruption;

use std::pin::pin;
use std::time::{Duration, Instant};

use tokio::sync::{mpsc, watch};
use tokio_util::sync::CancellationToken;

use self::health::{log_ready, until_unresponsive};
use self::interruption::{Interruption, interruption, unless_interrupted};
use super::child::{Child, Context, StartError};
use super::environment::Preparation;
use super::guard::{self, RestartRequest};
use super::leftovers::{sweep, sweep_all, sweep_earlier};
use super::operation::Operation;
use super::request::Request;
use super::state::{Ready, Snapshot, State};
use super::sweep::Swept;
use crate::backoff::{self, Budget, Verdict, jitter};
use crate::id::Generation;
use crate::metrics::engine::Exit;
use crate::shutdown::Shutdown;
use crate::workspace;

/// Further sweeps at the end of the program, where the last one did not do.
const LAST_SWEEPS: usize = 2;

/// Between two sweeps, where one did not do.
const BETWEEN_SWEEPS: Duration = Duration::from_millis(100);

pub(super) struct Actor {
    context: Context,
    workspace: workspace::Watch,
    requests_rx: mpsc::Receiver<Request>,
    recycling_rx: watch::Receiver<Option<RestartRequest>>,
    snapshot_tx: watch::Sender<Snapshot>,
    shutdown: Shutdown,
    budget: Budget,
    preparation: Preparation,
    generation: Generation,
    port: u16,
    /// How the last sweep ended.
    swept: Swept,
}

/// The next state, with what it needs.
enum Next {
    Idle,
    /// `request`: who waits for this start.
    Start {
        attempt: usize,
        request: Option<Request>,
    },
    Serve {
        child: Box<Child>,
        ready: Ready,
    },
    Wait {
        attempt: usize,
        delay: Duration,
    },
    Leave,
}

// === impl Actor ===

impl Actor {
    pub(super) fn new(
        context: Context,
        workspace: workspace::Watch,
        (requests_rx, recycling_rx): (
            mpsc::Receiver<Request>,
            watch::Receiver<Option<RestartRequest>>,
        ),
        snapshot_tx: watch::Sender<Snapshot>,
        shutdown: Shutdown,
    ) -> Self {
        let config = &context.config;
        let budget = Budget::new(backoff::Limits {
            min: config.backoff_min,
            max: config.backoff_max,
            restarts: config.restart_budget,
            window: config.restart_window,
            exhausted: config.retry_interval,
        });
        let port = config.port;
        Self {
            context,
            workspace,
            requests_rx,
            recycling_rx,
            snapshot_tx,
            shutdown,
            budget,
            preparation: Preparation::default(),
            generation: Generation::default(),
            port,
            swept: Swept::default(),
        }
    }

    pub(super) async fn run(mut self) {
        self.swept = sweep_earlier(&self.context.reaper).await;
        let mut next = Next::Start {
            attempt: 0,
            request: None,
        };
        loop {
            next = match next {
                Next::Idle => self.idle().await,
                Next::Start { attempt, request } => self.start(attempt, request).await,
                Next::Serve { child, ready } => self.serve(*child, ready).await,
                Next::Wait { attempt, delay } => self.wait(attempt, delay).await,
                Next::Leave => break,
            };
        }
        for _ in 0..LAST_SWEEPS {
            if self.swept.ended() {
                break;
            }
            self.swept = sweep_all(&self.context.reaper).await;
        }
        self.publish(State::Stopped);
    }

    async fn idle(&mut self) -> Next {
        self.publish(State::Stopped);
        let interruption = self.interruption().await;
        self.on_interruption(interruption)
    }

    async fn wait(&mut self, attempt: usize, delay: Duration) -> Next {
        tokio::select! {
            () = tokio::time::sleep(delay) => Next::Start { attempt, request: None },
            interruption = self.interruption() => self.on_interruption(interruption),
        }
    }

    fn on_interruption(&mut self, interruption: Interruption) -> Next {
        match interruption {
            Interruption::Request(request) => self.on_operation_without_child(request),
            Interruption::Shutdown => Next::Leave,
        }
    }

    fn on_operation_without_child(&mut self, request: Request) -> Next {
        match request.operation {
            Operation::Stop => {
                // The request is over only once the new state can be seen.
                self.publish(State::Stopped);
                Next::Idle
            }
            Operation::Start { .. } | Operation::Restart { .. } => self.start_for(request),
        }
    }

    fn start_for(&mut self, request: Request) -> Next {
        self.port = request.operation.port().unwrap_or(self.port);
        self.budget.reset();
        Next::Start {
            attempt: 0,
            request: Some(request),
        }
    }

    async fn start(&mut self, attempt: usize, mut request: Option<Request>) -> Next {
        if let Err(interruption) = self.end_leftovers(&mut request).await {
            return self.on_interruption(interruption);
        }
        self.generation = self.generation.next();
        // While it keeps failing, the reason is worth more than the news that it is tried again.
        self.publish(if self.budget.is_spent() {
            State::Failed { until: None }
        } else {
            State::Starting { attempt }
        });
        let spawned = {
            let Self {
                context,
                preparation,
                port,
                requests_rx,
                shutdown,
                ..
            } = &mut *self;
            let spawning = Child::spawn(context, preparation, *port);
            unless_interrupted(spawning, requests_rx, shutdown, *port, &mut request).await
        };
        let mut child = match spawned {
            Ok(Ok(child)) => child,
            Ok(Err(error)) => {
                self.swept = sweep(&self.context.reaper).await;
                return self.failed(&error, request);
            }
            Err(interruption) => {
                self.publish(State::Stopping);
                self.swept = sweep(&self.context.reaper).await;
                return self.on_interruption(interruption);
            }
        };
        tracing::info!(
            child.pid = child.pid.as_raw_nonzero(),
            child.generation = self.generation.get(),
            "engine spawned"
        );
        self.snapshot_tx.send_modify(|snapshot| {
            snapshot.process = Some((child.pid, child.since));
            snapshot.history.begun(child.tail.clone());
        });
        let ready = {
            let Self {
                context,
                workspace,
                port,
                requests_rx,
                shutdown,
                ..
            } = &mut *self;
            let readying = child.ready(context, workspace);
            unless_interrupted(readying, requests_rx, shutdown, *port, &mut request).await
        };
        match ready {
            Ok(Ok(ready)) => {
                self.budget.succeeded();
                log_ready(&ready, self.generation, child.since);
                self.publish(State::Ready(ready.clone()));
                drop(request);
                let child = Box::new(child);
                Next::Serve { child, ready }
            }
            Ok(Err(error)) => {
                self.stop(child).await;
                self.failed(&error, request)
            }
            Err(interruption) => self.leave_child(child, interruption).await,
        }
    }

    /// Sweeps until nothing of an earlier child runs: what does could take the next one's secrets.
    async fn end_leftovers(&mut self, request: &mut Option<Request>) -> Result<(), Interruption> {
        while !self.swept.ended() {
            self.publish(State::Sweeping);
            let reaper = self.context.reaper.clone();
            let sweeping = async {
                tokio::time::sleep(BETWEEN_SWEEPS).await;
                sweep_all(&reaper).await
            };
            let Self {
                requests_rx,
                shutdown,
                port,
                ..
            } = &mut *self;
            self.swept =
                unless_interrupted(sweeping, requests_rx, shutdown, *port, request).await?;
        }
        Ok(())
    }

    async fn serve(&mut self, mut child: Child, ready: Ready) -> Next {
        let context = self.context.clone();
        // Outside the loop: somebody who asks often must not keep it from counting.
        let snapshot_tx = self.snapshot_tx.clone();
        let mut unresponsive = pin!(until_unresponsive(&ready, &context.config, &snapshot_tx));
        let mut told = pin!(guard::told(self.recycling_rx.clone(), self.generation));
        loop {
            let (end, exit) = tokio::select! {
                end = child.wait(&context.reaper) => {
                    let exit = if end.was_killed { Exit::Killed } else { Exit::Crash };
                    (end, exit)
                }
                end = &mut unresponsive => (end, Exit::Unresponsive),
                restart = &mut told => return self.recycle(child, restart).await,
                interruption = self.interruption() => match interruption {
                    // It runs already.
                    Interruption::Request(request) if matches!(request.operation, Operation::Start { .. }) => continue,
                    other => return self.leave_child(child, other).await,
                },
            };
            // Nothing may use it from here on.
            self.publish(State::Stopping);
            let (was_killed, error) = (end.was_killed, StartError::Ended(end));
            self.snapshot_tx.borrow().ended(exit, &error);
            self.stop(child).await;
            let verdict = if was_killed {
                // Any command of the agent may do that where the kernel's sandbox does not hold it back, and
                // ten of them are no crash loop of OpenCode's.
                self.budget.interrupted(jitter())
            } else {
                self.budget.failed(Instant::now(), jitter())
            };
            return self.wait_after(&error, verdict, None);
        }
    }

    /// A person or the end of the program wants the child gone.
    async fn leave_child(&mut self, child: Child, why: Interruption) -> Next {
        self.publish(State::Stopping);
        self.snapshot_tx.borrow().ended(Exit::Requested, &why);
        self.stop(child).await;
        self.on_interruption(why)
    }

    /// The child makes room for memory. That is the guard's decision and no failure: it costs no budget.
    async fn recycle(&mut self, child: Child, restart: RestartRequest) -> Next {
        self.snapshot_tx.send_modify(|snapshot| {
            snapshot.ended(Exit::Recycled, &restart.why);
            snapshot.recycled += 1;
            snapshot.last_error = Some(restart.why);
        });
        self.publish(State::Stopping);
        if restart.at_once {
            let hurry = CancellationToken::new();
            hurry.cancel();
            self.stop_until(child, &hurry).await;
        } else {
            self.stop(child).await;
        }
        Next::Start {
            attempt: 0,
            request: None,
        }
    }

    async fn stop(&mut self, child: Child) {
        let hurry = self.shutdown.hurry.clone();
        self.stop_until(child, &hurry).await;
    }

    /// Stops it in good order, until `hurry`.
    async fn stop_until(&mut self, child: Child, hurry: &CancellationToken) {
        self.swept = child.stop(&self.context, hurry).await;
        self.snapshot_tx
            .send_modify(|snapshot| snapshot.process = None);
    }

    fn failed(&mut self, error: &StartError, request: Option<Request>) -> Next {
        self.snapshot_tx.borrow().ended(Exit::StartFailed, error);
        let verdict = self.budget.failed(Instant::now(), jitter());
        self.wait_after(error, verdict, request)
    }

    fn wait_after(
        &mut self,
        error: &StartError,
        verdict: Verdict,
        request: Option<Request>,
    ) -> Next {
        let unfit = matches!(error, StartError::WarmUp(_) | StartError::Cold(_));
        let reason = unfit.then(|| error.to_string());
        let now = Instant::now();
        let (attempt, delay, state) = match verdict {
            Verdict::Retry { attempt, delay } => {
                let until = now + delay;
                let state = State::Waiting {
                    attempt,
                    until,
                    reason,
                };
                (attempt, delay, state)
            }
            Verdict::Exhausted { delay } => {
                let until = Some(now + delay);
                let attempt = self.context.config.restart_budget + 1;
                (attempt, delay, State::Failed { until })
            }
        };
        let delay_ms = u64::try_from(delay.as_millis()).unwrap_or(u64::MAX);
        let generation = self.generation.get();
        if matches!(state, State::Failed { .. }) {
            tracing::error!(%error, delay_ms, child.generation = generation, "the engine keeps failing");
        } else {
            tracing::warn!(%error, delay_ms, child.generation = generation, "the engine failed; starting it again");
        }
        self.snapshot_tx
            .send_modify(|snapshot| snapshot.last_error = Some(error.to_string()));
        self.publish(state);
        // Only now, so that whoever waited sees this state and not the start.
        drop(request);
        Next::Wait { attempt, delay }
    }

    fn publish(&self, state: State) {
        self.snapshot_tx.send_modify(|snapshot| {
            snapshot.generation = self.generation;
            snapshot.restarts = self.generation.get().saturating_sub(1);
            // Those of a child that is gone say nothing of the next.
            snapshot.missed_checks = 0;
            snapshot.state = state;
        });
    }

    async fn interruption(&mut self) -> Interruption {
        interruption(&mut self.requests_rx, &self.shutdown).await
    }
}
