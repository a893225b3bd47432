//! Starts the two tasks of the module, and waits for their end.

use std::time::Duration;

use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::adoption::Adopter;
use super::circuit_breaker::CircuitBreaker;
use super::client::Client;
use super::config::{Bearer, Config, Conversations, TIMING, Timing};
use super::context::{Context, RecentReports};
use super::reports::Reporter;
use crate::session::Registry;
use crate::shutdown::Shutdown;
use crate::socket_owner::Finder;

/// How long the program waits for the last reports when it leaves.
const LAST_REPORTS: Duration = Duration::from_secs(2);

/// For whoever waits for the last reports.
#[derive(Debug)]
pub(crate) struct Handle {
    /// Cancelled when no turn runs any more.
    last: CancellationToken,
    /// Cancelled when the last reports are sent.
    pub(super) done: CancellationToken,
}

#[derive(Debug, thiserror::Error)]
#[error("BACKEND_API_URL cannot be called: {0}")]
pub(crate) struct BackendError(String);

/// Starts to report and to adopt, each in a task of its own; nothing without a backend.
pub(crate) fn spawn(
    config: Option<Config>,
    registry: &Registry,
    (bearer, conversations): (Bearer, Conversations),
    owners: Finder,
    shutdown: &Shutdown,
    tracker: &TaskTracker,
) -> Result<Handle, BackendError> {
    let Some(config) = config else {
        let handle = Handle {
            last: CancellationToken::new(),
            done: CancellationToken::new(),
        };
        handle.done.cancel();
        return Ok(handle);
    };
    let client = Client::new(&config, bearer, owners, TIMING).map_err(BackendError)?;
    Ok(spawn_with(
        TIMING,
        client,
        registry,
        conversations,
        shutdown,
        tracker,
    ))
}

pub(super) fn spawn_with(
    timing: Timing,
    client: Client,
    registry: &Registry,
    conversations: Conversations,
    shutdown: &Shutdown,
    tracker: &TaskTracker,
) -> Handle {
    let context = Context {
        client,
        breaker: CircuitBreaker::new(timing.retry),
        registry: registry.clone(),
        timing,
        recent: RecentReports::default(),
    };
    let adopter = Adopter::new(context.clone(), conversations);
    // A sidecar that leaves adopts nothing.
    let drain = shutdown.drain.clone();
    tracker.spawn(async move { drain.run_until_cancelled(adopter.run()).await });

    let (last, done) = (CancellationToken::new(), CancellationToken::new());
    let reporter = Reporter::new(context, last.clone());
    let (gone, guard) = (shutdown.gone.clone(), done.clone().drop_guard());
    tracker.spawn(async move {
        gone.run_until_cancelled(reporter.run()).await;
        drop(guard);
    });
    Handle { last, done }
}

// === impl Handle ===

impl Handle {
    /// When no turn runs any more: waits until every end is reported that can be, for a while and never longer
    /// than `most`. The rest is reported after the next start, if there is a journal.
    pub(crate) async fn report_the_rest(&self, most: Duration) {
        self.last.cancel();
        if tokio::time::timeout(LAST_REPORTS.min(most), self.done.cancelled())
            .await
            .is_err()
        {
            tracing::warn!("the backend does not answer: leaving without the last reports");
        }
    }
}
