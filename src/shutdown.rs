//! SIGTERM and SIGINT, as tokens.
//!
//! ```text
//! running --first signal, or POST /drain--> draining --a further signal, or the deadline--> hurrying
//! ```
//!
//! The first signal after a `POST /drain` changes nothing: the kubelet sends it when the preStop hook
//! that asked for the drain is done.

use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// What the rest of the program watches.
#[derive(Clone, Debug, Default)]
pub(crate) struct Shutdown {
    /// Leave in good order.
    pub(crate) drain: CancellationToken,
    /// Turns that still run end now, and then the engine.
    pub(crate) halt: CancellationToken,
    /// Leave now: no more waiting for anybody.
    pub(crate) hurry: CancellationToken,
    /// The child is gone and the last answers are out: background tasks end.
    pub(crate) gone: CancellationToken,
    since: Arc<OnceLock<Instant>>,
}

/// What is left of `DRAIN_TIMEOUT` for killing and sweeping when nobody went by himself.
const HURRY_BEFORE_END: Duration = Duration::from_secs(2);

// === impl Shutdown ===

impl Shutdown {
    /// Installs the handlers and starts the task that turns signals into tokens.
    pub(crate) fn listen(tracker: &TaskTracker, drain_timeout: Duration) -> std::io::Result<Self> {
        let shutdown = Self::default();
        let signals = (
            signal(SignalKind::terminate())?,
            signal(SignalKind::interrupt())?,
        );
        tracker.spawn(shutdown.clone().run(signals, drain_timeout));
        Ok(shutdown)
    }

    /// Begins the drain, if nothing has yet.
    pub(crate) fn begin(&self) {
        self.since.get_or_init(Instant::now);
        self.drain.cancel();
    }

    /// When the drain began.
    pub(crate) fn since(&self) -> Option<Instant> {
        self.since.get().copied()
    }

    async fn run(self, (mut term, mut int): (Signal, Signal), drain_timeout: Duration) {
        let asked = tokio::select! {
            () = either(&mut term, &mut int) => false,
            // A client asked for it, or the program ends by itself (a fatal error).
            () = self.drain.cancelled() => true,
        };
        tracing::info!(
            deadline_secs = drain_timeout.as_secs(),
            "shutting down; a second signal kills the engine at once"
        );
        self.begin();
        let wait = drain_timeout
            .checked_sub(HURRY_BEFORE_END)
            .unwrap_or(drain_timeout / 2);
        let second = async {
            if asked {
                either(&mut term, &mut int).await;
                tracing::info!("a signal during the drain that was asked for: it goes on");
            }
            either(&mut term, &mut int).await;
        };
        tokio::select! {
            () = second => tracing::warn!("second signal: not waiting any longer"),
            () = tokio::time::sleep(wait) => tracing::warn!("the drain deadline is near: not waiting any longer"),
            // Everything went by itself.
            () = self.gone.cancelled() => return,
        }
        self.hurry.cancel();
    }
}

/// Both receivers are cancel-safe: a signal is remembered until it is received.
async fn either(term: &mut Signal, int: &mut Signal) {
    tokio::select! {
        _ = term.recv() => {}
        _ = int.recv() => {}
    }
}
