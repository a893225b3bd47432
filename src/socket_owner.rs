//! Whose process has the other end of a TCP connection within this host's network.
//!
//! All containers of a pod share one loopback, and so does the agent. Before such a connection is trusted,
//! with a key or with this API, its other end must belong to somebody who does not descend from us. The
//! network namespace lists every socket with its user and its inode; `/proc` tells who holds an inode, as far
//! as we may look. Proofs that a socket is not a descendant's, the cheap one first:
//!
//! 1. its user is none that a descendant of ours has or can become;
//! 2. a process that we see, and that does not descend from us, holds it;
//! 3. every descendant was looked through whole, twice, and none holds it or could hide it.
//!
//! Without one of them the answer is [`Owner::Unknown`], and that is not trusted: OpenCode's own descriptors
//! cannot be read where its binary is not readable, and any program can close its own.
//!
//! What ran under this process before it became the sidecar is not the agent's, and counts as somebody else.
//! Does not decide what becomes of a connection.

mod processes;
mod table;

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Semaphore;
use tokio::time::timeout;

use self::processes::{Process, View};
use self::table::{Peer, Socket, Table};

/// Who has the other end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Owner {
    /// Proven not to descend from us.
    Other,
    /// A process that descends from us: OpenCode, or what its tools started.
    Descendant,
    /// Neither is proven.
    Unknown,
}

/// Finds owners. A cheap clone.
#[derive(Clone, Debug)]
pub(crate) struct Finder {
    /// What descended from us before we started anything.
    guests: Arc<Vec<Process>>,
    turns: Arc<Semaphore>,
}

/// Searches at one time: each reads much of `/proc`, and a hostile program can cause many.
const SEARCHES: usize = 2;

/// Longest a search may take, with its wait for a turn.
const DEADLINE: Duration = Duration::from_secs(5);

// === impl Finder ===

impl Finder {
    /// Takes what descends from us now as not ours. To be called before anything is started.
    pub(crate) fn new() -> Self {
        Self {
            guests: Arc::new(View::read().descendants(&[])),
            turns: Arc::new(Semaphore::new(SEARCHES)),
        }
    }

    /// Who has the client's end of a connection that `server` accepted from `client`. A client on another host
    /// is somebody else, without a look.
    pub(crate) async fn client(&self, client: SocketAddr, server: SocketAddr) -> Owner {
        let (client, server) = (canonical(client), canonical(server));
        if client.ip() != server.ip() && !is_here(client.ip()) {
            return Owner::Other;
        }
        self.find(move |table| table.client(client, server)).await
    }

    /// Who serves `server`, an address of this host to which we are connected: every listener that may have
    /// got the connection, and everybody who has accepted one there.
    pub(crate) async fn server(&self, server: SocketAddr) -> Owner {
        let server = reached(server);
        self.find(move |table| table.server(server)).await
    }

    async fn find(&self, which: impl FnOnce(&Table) -> Peer + Send + 'static) -> Owner {
        let (turns, guests) = (Arc::clone(&self.turns), Arc::clone(&self.guests));
        let search = async move {
            let turn = turns.acquire_owned().await.ok()?;
            // Abandoned at the deadline it goes on to its end, and keeps its turn until then.
            let search = move || {
                let _turn = turn;
                match Table::read().as_ref().map(which)? {
                    Peer::Sockets(sockets) => Some(owner(&sockets, &guests)),
                    Peer::Unknown => None,
                }
            };
            tokio::task::spawn_blocking(search).await.ok()?
        };
        timeout(DEADLINE, search)
            .await
            .ok()
            .flatten()
            .unwrap_or(Owner::Unknown)
    }
}

/// Whether an address leads to this host: loopback, all addresses, or one of its own.
pub(crate) fn is_here(ip: IpAddr) -> bool {
    let ip = ip.to_canonical();
    // Only an own address can be bound. Nothing is sent.
    ip.is_loopback() || ip.is_unspecified() || UdpSocket::bind((ip, 0)).is_ok()
}

/// An IPv4 address as such, also where a socket of IPv6 shows it.
fn canonical(address: SocketAddr) -> SocketAddr {
    SocketAddr::new(address.ip().to_canonical(), address.port())
}

/// The address that a connection really goes to: "all addresses" leads to loopback.
fn reached(address: SocketAddr) -> SocketAddr {
    let ip = match address.ip().to_canonical() {
        IpAddr::V4(ip) if ip.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(ip) if ip.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
        ip => ip,
    };
    SocketAddr::new(ip, address.port())
}

/// Whose `sockets` are, all of them together: one descendant's is enough.
fn owner(sockets: &[Socket], guests: &[Process]) -> Owner {
    let view = View::read();
    let ours = view.descendants(guests);
    let mut open: Vec<u64> = match processes::possible_users(&ours) {
        Some(users) if view.is_whole() => {
            let foreign = |socket: &&Socket| !users.contains(&socket.user);
            sockets
                .iter()
                .filter(|socket| !foreign(socket))
                .map(|socket| socket.inode)
                .collect()
        }
        _ => sockets.iter().map(|socket| socket.inode).collect(),
    };
    if open.is_empty() {
        return Owner::Other;
    }
    if ours.iter().any(|process| process.holds(&open)) {
        return Owner::Descendant;
    }
    for process in view.others(guests) {
        process.remove_held(&mut open);
        if open.is_empty() {
            return Owner::Other;
        }
    }
    let cleared = || {
        let view = View::read();
        view.is_whole()
            && view
                .descendants(guests)
                .iter()
                .all(|process| process.cannot_hold(&open))
    };
    if processes::shows_descriptors_in_flight() && cleared() && cleared() {
        Owner::Other
    } else {
        Owner::Unknown
    }
}

#[cfg(test)]
mod tests;
