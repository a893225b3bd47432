//! Where the backend is, what the module asks of others, and how often it calls.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::BoxFuture;
use reqwest::Url;

use crate::backoff::Limits;
use crate::secret::Secret;

/// The settings of the backend module.
#[derive(Clone, Debug)]
pub(crate) struct Config {
    /// Up to where `/api` begins.
    pub(crate) url: Url,
    pub(crate) extra_ca_file: Option<PathBuf>,
}

/// Returns the shared secret as it is now: it may be renewed between two calls.
pub(crate) type Bearer = Arc<dyn Fn() -> Option<Secret> + Send + Sync>;

/// Whether the agent made a conversation for a session of ours: takes its id of the conversation and our id of
/// the session. `None`: the agent could not be asked.
pub(crate) type Conversations =
    Arc<dyn Fn(String, String) -> BoxFuture<'static, Option<bool>> + Send + Sync>;

/// How fast and how long. Tests are faster.
#[derive(Clone, Copy, Debug)]
pub(super) struct Timing {
    /// Until a connection stands.
    pub(super) connect: Duration,
    /// Until the last byte of an answer.
    pub(super) call: Duration,
    /// Between two attempts.
    pub(super) retry: Limits,
    /// An end that could not be reported for so long is not reported any more.
    pub(super) give_up: Duration,
    /// How often the registry is asked for reports when nothing happens: what is on a disk that failed announces
    /// no change.
    pub(super) poll: Duration,
    /// Between two readings of the backend's list, when the first left something over.
    pub(super) list_again: Duration,
    /// How long the end of an adopted session is waited for before the next one is adopted.
    pub(super) adoption: Duration,
}

pub(super) const TIMING: Timing = Timing {
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
    poll: Duration::from_mins(1),
    list_again: Duration::from_mins(1),
    adoption: Duration::from_mins(1),
};
