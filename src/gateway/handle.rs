//! The gateway as the rest of the program sees it.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::config::Config;
use super::merge_window::MergeWindow;
use super::request_body::BodyReader;
use super::routes::{Grant, Route};
use super::server;
use super::shared::Shared;
use super::upstream::{Providers, UpstreamError};
use crate::secret::Secret;
use crate::socket_owner::Finder;

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

/// A cheap clone.
#[derive(Clone, Debug)]
pub(crate) struct Handle {
    shared: Arc<Shared>,
}

/// The child would answer a timeout of its own by calling again, without the gateway's sentence.
const CHILD_MARGIN: Duration = Duration::from_secs(30);

// === impl Bound ===

impl Bound {
    /// `owners` finds out who serves an address of this host.
    pub(crate) async fn bind(config: Config, owners: Finder) -> Result<Self, BindError> {
        let providers = Providers::new(config.extra_ca_file.as_ref(), &config.proxy, owners)?;
        let (listener, addr) = server::listen().await.map_err(BindError::Listen)?;
        let shared = Shared {
            merge_window: MergeWindow::new(Duration::from_millis(config.merge_ms)),
            config,
            token: Mutex::new(None),
            routes: Arc::default(),
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

    /// Serves until `cancelled`; then calls that are under way are cut. Each connection is a task of `tracker`.
    pub(crate) fn spawn(self, tracker: &TaskTracker, cancelled: CancellationToken) {
        let connections = tracker.clone();
        tracker.spawn(server::serve(
            self.listener,
            self.shared,
            connections,
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
        let default_budget = self.shared.config.default_budget;
        self.shared.routes.register(route, default_budget)
    }

    /// `child` is a subagent of `parent` and calls as its root. Forgotten with the root's grant.
    pub(crate) fn adopt(&self, child: &str, parent: &str) {
        self.shared.routes.adopt(child, parent);
    }

    /// An answer of which nothing more comes for this long is given up.
    pub(crate) fn idle_timeout(&self) -> Duration {
        self.shared.config.idle_timeout
    }

    /// How long the child's own clients must wait so that the gateway's timeouts come first.
    pub(crate) fn child_timeout(&self) -> Duration {
        let config = &self.shared.config;
        config.header_timeout.max(config.idle_timeout) + CHILD_MARGIN
    }
}
