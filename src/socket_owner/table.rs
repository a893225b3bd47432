//! The sockets of this network namespace, as the kernel lists them.

use std::net::SocketAddr;

use procfs::ProcError;
use procfs::net::{TcpNetEntry, TcpState};

use super::diagnosis;
use super::socket::{Socket, canonical};

/// What the other end of a connection may be.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Peer {
    /// At least one.
    Sockets(Vec<Socket>),
    /// It is not there any more, or nobody holds it: who held it cannot be told.
    Unknown,
}

#[derive(Debug)]
struct Entry {
    local: SocketAddr,
    remote: SocketAddr,
    listens: bool,
    socket: Socket,
}

/// Everything that speaks TCP.
#[derive(Debug)]
pub(super) struct Table(Vec<Entry>);

// === impl Table ===

impl Table {
    /// Within a protocol, listeners come first. So a listener that has handed a connection on, and was closed
    /// then, is missing only where the connection that it accepted is not.
    fn read() -> Option<Self> {
        let mut entries = procfs::net::tcp().ok()?;
        match procfs::net::tcp6() {
            Ok(more) => entries.extend(more),
            // A host without IPv6.
            Err(ProcError::NotFound(_)) => {}
            Err(_) => return None,
        }
        Some(Self(entries.into_iter().map(Entry::from).collect()))
    }

    /// The socket between two addresses. Where the kernel tells of one socket the whole table is not read.
    pub(super) fn find_client(client: SocketAddr, server: SocketAddr) -> Peer {
        match diagnosis::connected(client, server) {
            Ok(Some(socket)) if socket.inode != 0 => Peer::Sockets(vec![socket]),
            Ok(_) => Peer::Unknown,
            Err(_) => Self::read().map_or(Peer::Unknown, |table| table.client(client, server)),
        }
    }

    /// Who serves an address of this host.
    pub(super) fn find_server(server: SocketAddr) -> Peer {
        Self::read().map_or(Peer::Unknown, |table| table.server(server))
    }

    fn client(&self, client: SocketAddr, server: SocketAddr) -> Peer {
        peer(
            self.0
                .iter()
                .filter(|entry| entry.local == client && entry.remote == server),
        )
    }

    /// One that was connected and not accepted yet is nobody's (inode 0), but then its listener is here.
    fn server(&self, server: SocketAddr) -> Peer {
        peer(self.0.iter().filter(|entry| {
            let (local, ip) = (entry.local, entry.local.ip());
            // All addresses of IPv6 are often those of IPv4 too; the table does not say.
            let may_take = ip.is_unspecified() && (ip.is_ipv6() || server.is_ipv4());
            local.port() == server.port() && (ip == server.ip() || (entry.listens && may_take))
        }))
    }
}

/// What is nobody's has user 0, whoever had it before.
fn peer<'a>(entries: impl Iterator<Item = &'a Entry>) -> Peer {
    let sockets: Vec<Socket> = entries
        .filter(|entry| entry.socket.inode != 0)
        .map(|entry| Socket {
            cgroup: entry.cgroup(),
            ..entry.socket
        })
        .collect();
    if sockets.is_empty() {
        Peer::Unknown
    } else {
        Peer::Sockets(sockets)
    }
}

// === impl Entry ===

impl Entry {
    fn cgroup(&self) -> Option<u64> {
        if self.listens {
            diagnosis::listener_cgroup(self.local, self.socket.inode)
        } else {
            diagnosis::connected(self.local, self.remote)
                .ok()?
                .filter(|socket| socket.inode == self.socket.inode)?
                .cgroup
        }
    }
}

impl From<TcpNetEntry> for Entry {
    fn from(entry: TcpNetEntry) -> Self {
        Self {
            local: canonical(entry.local_address),
            remote: canonical(entry.remote_address),
            listens: entry.state == TcpState::Listen,
            socket: Socket {
                inode: entry.inode,
                user: entry.uid,
                cgroup: None,
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(text: &str) -> SocketAddr {
        text.parse().unwrap()
    }

    fn entry(local: &str, remote: &str, inode: u64) -> Entry {
        Entry {
            local: canonical(address(local)),
            remote: canonical(address(remote)),
            listens: remote.ends_with(":0"),
            socket: Socket {
                inode,
                user: 7,
                cgroup: None,
            },
        }
    }

    fn inodes(peer: Peer) -> Vec<u64> {
        match peer {
            Peer::Sockets(sockets) => sockets.iter().map(|socket| socket.inode).collect(),
            Peer::Unknown => Vec::new(),
        }
    }

    #[test]
    fn a_client_is_the_socket_between_both_addresses() {
        let table = Table(vec![
            entry("127.0.0.1:80", "127.0.0.1:4000", 1),
            entry("[::ffff:127.0.0.1]:4000", "[::ffff:127.0.0.1]:80", 2),
            entry("127.0.0.1:4000", "127.0.0.1:81", 3),
            entry("127.0.0.1:4001", "127.0.0.1:80", 0),
        ]);
        let find = |client, server| inodes(table.client(address(client), address(server)));
        assert_eq!(find("127.0.0.1:4000", "127.0.0.1:80"), [2]);
        // Closed at once by whoever sent a request: nobody's.
        assert_eq!(find("127.0.0.1:4001", "127.0.0.1:80"), [0; 0]);
        assert_eq!(find("127.0.0.1:4002", "127.0.0.1:80"), [0; 0]);
    }

    #[test]
    fn a_server_is_every_listener_that_may_have_got_it_and_all_that_was_accepted() {
        let table = Table(vec![
            entry("127.0.0.1:80", "0.0.0.0:0", 1),
            entry("0.0.0.0:80", "0.0.0.0:0", 2),
            entry("[::]:80", "[::]:0", 3),
            entry("[::1]:80", "[::]:0", 4),
            entry("127.0.0.2:80", "0.0.0.0:0", 5),
            entry("127.0.0.1:81", "0.0.0.0:0", 6),
            entry("127.0.0.1:80", "127.0.0.1:4000", 7),
            entry("127.0.0.1:80", "127.0.0.1:4001", 0),
            entry("127.0.0.1:4000", "127.0.0.1:80", 8),
        ]);
        let find = |server| inodes(table.server(address(server)));
        assert_eq!(find("127.0.0.1:80"), [1, 2, 3, 7]);
        assert_eq!(find("[::1]:80"), [3, 4]);
        assert_eq!(find("127.0.0.1:82"), [0; 0]);
    }
}
