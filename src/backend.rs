//! The Go backend: it is told how sessions end, and asked which it thinks are active.
//!
//! ```text
//! registry --unreported--> reports --PATCH, up to 4 at once--> backend
//!     ^                       |
//!     +------- reported ------+
//!     +------- adopt --- adoption <--GET, at start, until it works-- backend
//! ```
//!
//! Owns the calls to `BACKEND_API_URL`: their deadlines, repetitions and log lines. Promises: the end of
//! every turn is told until the backend has it, over restarts of the sidecar too where there is a journal;
//! an end is told once unless an answer is lost; a session that neither the journal nor the agent knows is
//! never touched; and a backend that is down, slow or talks nonsense delays nothing else. Knows nothing of
//! OpenCode and of our own clients, and reads no answer but the list.

mod adoption;
mod circuit_breaker;
mod client;
mod reports;

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::BoxFuture;
use reqwest::Url;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use self::adoption::{Adopter, Lately};
use self::circuit_breaker::CircuitBreaker;
use self::client::Client;
use self::reports::Reporter;
use crate::backoff::Limits;
use crate::secret::Secret;
use crate::session::Registry;
use crate::shutdown::Shutdown;
use crate::socket_owner::Finder;

/// The settings of the backend module.
#[derive(Clone, Debug)]
pub(crate) struct Config {
    /// Up to where `/api` begins.
    pub(crate) url: Url,
    pub(crate) extra_ca_file: Option<PathBuf>,
}

/// Gives the shared secret as it is now: it may be renewed between two calls.
#[derive(Clone)]
pub(crate) struct Bearer(Arc<dyn Fn() -> Option<Secret> + Send + Sync>);

/// Says whether the agent made a conversation for a session of ours: its id of the conversation, our id of
/// the session. `None`: it could not be asked.
#[derive(Clone)]
pub(crate) struct Conversations(Arc<Ask>);

type Ask = dyn Fn(String, String) -> BoxFuture<'static, Option<bool>> + Send + Sync;

/// For whoever waits for the last reports.
#[derive(Debug)]
pub(crate) struct Handle {
    last: CancellationToken,
    done: CancellationToken,
}

#[derive(Debug, thiserror::Error)]
#[error("BACKEND_API_URL cannot be called: {0}")]
pub(crate) struct BackendError(String);

/// How fast and how long. Tests are faster.
#[derive(Clone, Copy, Debug)]
struct Pace {
    /// Until a connection stands, and until the last byte of an answer.
    connect: Duration,
    call: Duration,
    /// Between two attempts.
    retry: Limits,
    /// An end that could not be told for so long is not told any more.
    give_up: Duration,
    /// How often one looks when nothing happens: what is on a disk that failed makes no noise.
    look: Duration,
    /// Between two looks at the backend's list, when the first left something over.
    later: Duration,
    /// How long one waits for the end of an adopted session before the next one is adopted.
    recovery: Duration,
}

/// What both tasks share. A cheap clone.
#[derive(Clone, Debug)]
struct Context {
    client: Client,
    breaker: CircuitBreaker,
    registry: Registry,
    pace: Pace,
    lately: Lately,
}

/// How long the program waits for the last reports when it leaves.
const LAST_REPORTS: Duration = Duration::from_secs(2);

const PACE: Pace = Pace {
    connect: Duration::from_secs(3),
    call: Duration::from_secs(10),
    retry: Limits {
        min: Duration::from_millis(500),
        max: Duration::from_mins(1),
        restarts: 16,
        window: Duration::from_hours(1),
        exhausted: Duration::from_mins(1),
    },
    give_up: Duration::from_hours(24),
    look: Duration::from_mins(1),
    later: Duration::from_mins(1),
    recovery: Duration::from_mins(1),
};

/// Starts telling and asking, each a task of its own; nothing without a backend.
pub(crate) fn spawn(
    config: Option<Config>,
    registry: &Registry,
    (bearer, conversations): (Bearer, Conversations),
    owners: Finder,
    shutdown: &Shutdown,
    tracker: &TaskTracker,
) -> Result<Handle, BackendError> {
    match config {
        Some(config) => {
            let client = Client::new(&config, bearer, owners, PACE).map_err(BackendError)?;
            Ok(spawn_at(
                PACE,
                client,
                registry,
                conversations,
                shutdown,
                tracker,
            ))
        }
        None => Ok(Handle::of_none()),
    }
}

fn spawn_at(
    pace: Pace,
    client: Client,
    registry: &Registry,
    conversations: Conversations,
    shutdown: &Shutdown,
    tracker: &TaskTracker,
) -> Handle {
    let context = Context {
        client,
        breaker: CircuitBreaker::new(pace.retry),
        registry: registry.clone(),
        pace,
        lately: Lately::default(),
    };
    let adopter = Adopter::new(context.clone(), conversations);
    // Whoever leaves takes nothing in.
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
    /// There is nobody to tell.
    fn of_none() -> Self {
        let done = CancellationToken::new();
        done.cancel();
        Self {
            last: CancellationToken::new(),
            done,
        }
    }

    /// Waits until what can be told is told, when no turn runs any more, for a while and never longer than
    /// `most`. The rest is told after the next start, if there is a journal.
    pub(crate) async fn tell_the_rest(&self, most: Duration) {
        self.last.cancel();
        if tokio::time::timeout(LAST_REPORTS.min(most), self.done.cancelled())
            .await
            .is_err()
        {
            tracing::warn!("the backend does not answer: leaving without the last reports");
        }
    }
}

// === impl Bearer ===

impl Bearer {
    pub(crate) fn new(present: impl Fn() -> Option<Secret> + Send + Sync + 'static) -> Self {
        Self(Arc::new(present))
    }

    fn present(&self) -> Option<Secret> {
        (self.0)()
    }
}

// === impl Conversations ===

impl Conversations {
    pub(crate) fn new(
        ask: impl Fn(String, String) -> BoxFuture<'static, Option<bool>> + Send + Sync + 'static,
    ) -> Self {
        Self(Arc::new(ask))
    }

    /// Whether the agent made its conversation `remote_id` for our session `id`.
    async fn made_for(&self, remote_id: &str, id: &str) -> Option<bool> {
        (self.0)(remote_id.to_owned(), id.to_owned()).await
    }
}

impl fmt::Debug for Conversations {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Conversations(…)")
    }
}

impl fmt::Debug for Bearer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Bearer(…)")
    }
}

#[cfg(test)]
mod tests;
