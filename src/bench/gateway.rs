//! A gateway with one session, for `benches/gateway.rs`.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use tokio_util::sync::{CancellationToken, DropGuard};
use tokio_util::task::TaskTracker;

use crate::gateway::{Bound, Config, Grant, ProxySettings, Route};
use crate::model::{Budget, ModelCalls, ModelSpec};
use crate::provider::Upstream;
use crate::secret::Secret;
use crate::socket_owner::Finder;
use crate::trace::TurnTrace;

/// Serving on the runtime that made it, until it is dropped.
#[derive(Debug)]
pub struct Gateway {
    addr: SocketAddr,
    token: Secret,
    _serving: DropGuard,
}

/// Nothing measured takes this long.
const LONG: Duration = Duration::from_mins(1);

/// The session that may call.
pub const SESSION: &str = "ses_bench";

// === impl Gateway ===

impl Gateway {
    /// Its session's provider is at `base` and speaks chat completions.
    ///
    /// # Errors
    /// When there is no port, or `base` is no address.
    pub async fn start(base: &str) -> io::Result<Self> {
        let bound = Bound::bind(
            Config {
                header_timeout: LONG,
                idle_timeout: LONG,
                merge_ms: 0,
                max_retry_after: LONG,
                extra_ca_file: None,
                proxy: ProxySettings::default(),
                default_budget: Budget {
                    max_calls: Some(0),
                    ..Budget::default()
                },
            },
            Finder::new(),
        );
        let bound = bound.await.map_err(io::Error::other)?;
        let (handle, addr) = (bound.handle(), bound.addr());
        let upstream =
            Upstream::resolve("custom", Some(base), true, false).map_err(io::Error::other)?;
        let grant = handle.register(Route {
            session: SESSION.to_owned(),
            model: ModelSpec {
                upstream,
                name: "real-model".to_owned(),
                version: None,
                key: Some(Secret::new("KEY-A")),
                temperature: Some(0.5),
                max_tokens: Some(500),
                context_window: None,
                budget: Budget::default(),
            },
            enabled_tools: None,
            spent: ModelCalls::default(),
            counts: true,
            trace: TurnTrace::default(),
        });
        let serving = CancellationToken::new();
        let tracker = TaskTracker::new();
        tracker.spawn(repeat(grant, serving.clone()));
        bound.spawn(&tracker, serving.clone());
        Ok(Self {
            addr,
            token: handle.new_child_token(),
            _serving: serving.drop_guard(),
        })
    }

    #[must_use]
    pub const fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// What the child would send as its key.
    #[must_use]
    pub fn bearer(&self) -> &str {
        self.token.expose()
    }
}

/// Keeps the session. It is asked the same again and again, which no turn may do: each answer counts as news.
async fn repeat(grant: Grant, ended: CancellationToken) {
    let mut counts_rx = grant.changes();
    let news = async {
        while counts_rx.changed().await.is_ok() {
            grant.progressed();
        }
    };
    ended.run_until_cancelled(news).await;
}
