//! The model gateway: the agent works with a key it can never see.
//!
//! ```text
//! child --loopback, its own bearer--> server -> table (who is calling?) -> meter (may it?)
//!       -> rewrite (model, limits, tools) -> forward --the session's key--> provider
//! child <------- relay (event by event, judged and counted as it passes) <------ provider
//! ```
//!
//! Owns: the loopback listener, the credentials of running turns (in memory only), the dialects of the
//! providers, budgets and metering. Promises: a key is sent to its session's provider and nowhere else; a
//! route lives as long as its [`Grant`]; every call ends, within the two timeouts of [`Config`] and with
//! an error the child's client can read. Does not: publish events, retry faults (the child does, within
//! bounds set here), translate between dialects, or keep anything on disk.

mod class;
mod demo;
mod error;
mod error_body;
mod fix;
mod forward;
mod hold;
mod judge;
pub(crate) mod meter;
mod redact;
mod refusal;
mod relay;
mod request_body;
mod rewrite;
mod scan;
mod segments;
mod sentence;
mod server;
mod table;
mod tool_arguments;
mod unauthenticated;
mod upstream;
mod usage;
mod verdict;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::model::Budget;
use crate::secret::Secret;
use crate::setting;
use crate::socket_owner::Finder;
use request_body::BodyReader;

pub(crate) use class::CLASSES;
#[cfg(test)]
pub(crate) use error::stop_code;
pub(crate) use meter::{LastError, Stop, Wait};
pub(crate) use sentence::PROVIDER_AT;
pub(crate) use table::{Grant, Route};
pub(crate) use upstream::{ProxySettings, UpstreamError};
#[cfg(test)]
pub(crate) use usage::Tokens;

/// The settings of the gateway. Their comments are the words of `--help`.
#[derive(Clone, Debug, clap::Args)]
#[command(next_help_heading = "Models")]
#[group(skip)]
pub(crate) struct Config {
    /// Longest a provider may take to begin its answer
    // Second attempts included.
    #[arg(long = "model-header-timeout", default_value = "120", value_parser = setting::duration)]
    pub(crate) header_timeout: Duration,
    /// Longest pause within a provider's answer
    #[arg(long = "model-idle-timeout", default_value = "120", value_parser = setting::duration)]
    pub(crate) idle_timeout: Duration,
    /// Longest wait a provider may ask for with Retry-After
    // OpenCode obeys any, were it days.
    #[arg(long = "max-retry-after-secs", default_value = "60", value_parser = setting::duration)]
    pub(crate) max_retry_after: Duration,
    /// What a session may spend that brings no budget of its own.
    #[command(flatten)]
    pub(crate) default_budget: Budget,
    /// Certificates to trust besides the system's, for calls to providers and the backend
    #[arg(long = "extra-ca-file")]
    pub(crate) extra_ca_file: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) proxy: ProxySettings,
}

#[derive(Debug, thiserror::Error)]
pub(crate) enum BindError {
    #[error("open the model gateway's port")]
    Listen(#[source] std::io::Error),
    #[error(transparent)]
    Upstream(#[from] UpstreamError),
}

/// The listener, open but not yet served: the child may be told its address.
#[derive(Debug)]
pub(crate) struct Bound {
    listener: TcpListener,
    addr: SocketAddr,
    shared: Arc<Shared>,
}

/// What the rest of the program holds.
#[derive(Clone, Debug)]
pub(crate) struct Handle {
    shared: Arc<Shared>,
}

/// What every call needs.
#[derive(Debug)]
struct Shared {
    config: Config,
    /// The present child's; there is none before the first.
    token: Mutex<Option<Secret>>,
    table: Arc<table::Table>,
    request_body: BodyReader,
    providers: upstream::Providers,
}

// === impl Bound ===

impl Bound {
    /// `owners` finds out who serves an address of this host.
    pub(crate) async fn bind(config: Config, owners: Finder) -> Result<Self, BindError> {
        let providers =
            upstream::Providers::new(config.extra_ca_file.as_ref(), &config.proxy, owners)?;
        let (listener, addr) = server::listen().await.map_err(BindError::Listen)?;
        let shared = Shared {
            config,
            token: Mutex::new(None),
            table: Arc::default(),
            request_body: BodyReader::new(),
            providers,
        };
        Ok(Self {
            listener,
            addr,
            shared: Arc::new(shared),
        })
    }

    pub(crate) const fn addr(&self) -> SocketAddr {
        self.addr
    }

    pub(crate) fn handle(&self) -> Handle {
        Handle {
            shared: Arc::clone(&self.shared),
        }
    }

    /// Serves until `cancelled`; then what is under way is cut. Each connection is a task of `tracker`.
    pub(crate) fn spawn(self, tracker: &TaskTracker, cancelled: CancellationToken) {
        tracker.spawn(server::serve(
            self.listener,
            self.shared,
            tracker.clone(),
            cancelled,
        ));
    }
}

// === impl Handle ===

impl Handle {
    /// A fresh bearer for a new child. From here on the one before is refused.
    pub(crate) fn new_child_token(&self) -> Secret {
        let token = Secret::random();
        *self.shared.token.lock() = Some(token.clone());
        token
    }

    /// Lets a session call, as `route` says, until the [`Grant`] is dropped.
    pub(crate) fn register(&self, route: Route) -> Grant {
        self.shared
            .table
            .register(route, self.shared.config.default_budget)
    }

    /// `child` is a subagent of `parent` and calls as its root. Forgotten with the root's grant.
    pub(crate) fn adopt(&self, child: &str, parent: &str) {
        self.shared.table.adopt(child, parent);
    }

    /// How long the child's own clients must wait so that the gateway's timeouts come first.
    pub(crate) fn child_timeout(&self) -> Duration {
        self.shared
            .config
            .header_timeout
            .max(self.shared.config.idle_timeout)
            + CHILD_MARGIN
    }
}

/// The child would answer its own timeout by calling again, without the gateway's sentence.
const CHILD_MARGIN: Duration = Duration::from_secs(30);

// === impl Shared ===

impl Shared {
    fn token(&self) -> Option<Secret> {
        self.token.lock().clone()
    }
}

#[cfg(test)]
#[expect(dead_code, reason = "the black-box tests use the rest of it")]
#[path = "../tests/support/llm.rs"]
pub(crate) mod llm;
#[cfg(test)]
mod tests;
