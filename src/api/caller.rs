//! Where no secret is set: keeps the agent's tools out, which reach this port as everybody on this host does.
//!
//! Who is at the other end of a connection is found out once, at the first request that is no probe. A
//! connection from another host costs nothing.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use axum::extract::{Request, State as Extract};
use axum::middleware::Next;
use axum::response::{IntoResponse as _, Response};
use tokio::sync::OnceCell;

use super::State;
use super::error::ApiError;
use crate::socket_owner::{Finder, Owner};

/// The other end of one connection.
#[derive(Debug)]
pub(super) struct Caller {
    /// Both ends; `None` if the connection was gone before it was looked at.
    ends: Option<Ends>,
    owner: OnceCell<Owner>,
}

#[derive(Clone, Copy, Debug)]
struct Ends {
    server: SocketAddr,
    client: SocketAddr,
}

// === impl Caller ===

impl Caller {
    pub(super) fn of(stream: &tokio::net::TcpStream) -> Self {
        let ends = stream.local_addr().ok().zip(stream.peer_addr().ok());
        Self {
            ends: ends.map(|(server, client)| Ends { server, client }),
            owner: OnceCell::new(),
        }
    }

    /// Who asks, as far as the connection says: behind a proxy it is the proxy.
    pub(super) fn address(&self) -> Option<IpAddr> {
        self.ends.map(|ends| ends.client.ip())
    }

    async fn owner(&self, finder: &Finder) -> Owner {
        let look = || async {
            match self.ends {
                Some(Ends { server, client }) => finder.client(client, server).await,
                None => Owner::Unknown,
            }
        };
        *self.owner.get_or_init(look).await
    }
}

/// Refuses requests of our own descendants, unless a secret tells who may ask.
pub(super) async fn refuse_agent(
    Extract(state): Extract<Arc<State>>,
    request: Request,
    next: Next,
) -> Response {
    if state.secrets.required() {
        return next.run(request).await;
    }
    let caller = request.extensions().get::<Arc<Caller>>().cloned();
    let owner = match caller {
        Some(caller) => caller.owner(&state.socket_owners).await,
        None => Owner::Unknown,
    };
    match owner {
        Owner::Other => next.run(request).await,
        Owner::Descendant => ApiError::agent_process().into_response(),
        Owner::Unknown => ApiError::maybe_agent_process().into_response(),
    }
}
