//! A socket as the kernel tells of it.

use std::net::SocketAddr;

/// One socket that somebody holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Socket {
    pub(super) inode: u64,
    /// The user who made it.
    pub(super) user: u32,
    /// The cgroup of whoever made it, where the kernel says.
    pub(super) cgroup: Option<u64>,
}

/// An IPv4 address as such, also where a socket of IPv6 shows it.
pub(super) fn canonical(address: SocketAddr) -> SocketAddr {
    SocketAddr::new(address.ip().to_canonical(), address.port())
}
