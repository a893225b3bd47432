//! The proxy as the rest of the program sees it.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;

use tokio::net::TcpListener;
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::server;
use super::sessions::{Grant, Subject};
use super::shared::Shared;
use super::target::Targets;
use crate::egress_policy::{InstanceEgress, SessionEgress};
use crate::secret::Secret;

/// Connections of all sessions at a time.
const MOST_TUNNELS: usize = 512;

/// The listener, open but not yet served: the child may be told its address.
#[derive(Debug)]
pub(crate) struct Bound {
    listener: TcpListener,
    port: u16,
    shared: Arc<Shared>,
}

/// A cheap clone.
#[derive(Clone, Debug)]
pub(crate) struct Handle {
    shared: Arc<Shared>,
    port: u16,
}

/// What the child's plugin makes the credentials of sessions of.
#[derive(Clone, Debug)]
pub(crate) struct ChildAccess {
    pub(crate) port: u16,
    pub(crate) key: Secret,
}

// === impl Bound ===

impl Bound {
    /// Opens the port: 127.0.0.1, whichever is free. `own_ports` are those of this process.
    pub(crate) async fn bind(
        instance: Arc<InstanceEgress>,
        own_ports: Vec<u16>,
    ) -> std::io::Result<Self> {
        let (listener, port) = listen().await?;
        let own_ports = own_ports.into_iter().chain([port]).collect();
        Ok(Self::new(listener, port, instance, Targets::new(own_ports)))
    }

    pub(super) fn new(
        listener: TcpListener,
        port: u16,
        instance: Arc<InstanceEgress>,
        targets: Targets,
    ) -> Self {
        let shared = Arc::new(Shared {
            instance,
            sessions: Arc::default(),
            targets,
            tunnels: Arc::new(Semaphore::new(MOST_TUNNELS)),
        });
        Self {
            listener,
            port,
            shared,
        }
    }

    pub(crate) fn handle(&self) -> Handle {
        Handle {
            shared: Arc::clone(&self.shared),
            port: self.port,
        }
    }

    /// Serves until `cancelled`; then what is open is cut. Each connection is a task of `tracker`.
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

pub(super) async fn listen() -> std::io::Result<(TcpListener, u16)> {
    let address = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
    let listener = TcpListener::bind(address).await?;
    let port = listener.local_addr()?.port();
    Ok((listener, port))
}

// === impl Handle ===

impl Handle {
    /// Of loopback, where it listens.
    pub(crate) const fn port(&self) -> u16 {
        self.port
    }

    /// For a new child. From here on the credentials of the one before open nothing.
    pub(crate) fn new_child_access(&self) -> ChildAccess {
        ChildAccess {
            port: self.port,
            key: self.shared.sessions.new_key(),
        }
    }

    /// The session may reach what `now` says from here on. What is open to other hosts is cut.
    pub(crate) fn refresh(&self, remote_id: &str, now: impl FnOnce() -> SessionEgress) {
        self.shared.sessions.refresh(remote_id, now);
    }

    /// Lets the tools of a session ask, until the [`Grant`] is dropped.
    pub(crate) fn register(&self, subject: Subject, egress: SessionEgress) -> Grant {
        self.shared.sessions.register(subject, egress)
    }
}
