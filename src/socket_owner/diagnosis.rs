//! One socket, asked of the kernel by its two addresses. Costs the same however many sockets there are.

use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener};

use netlink_packet_core::{NLM_F_REQUEST, NetlinkHeader, NetlinkMessage, NetlinkPayload, Nla as _};
use netlink_packet_sock_diag::SockDiagMessage;
use netlink_packet_sock_diag::constants::{AF_INET, AF_INET6, IPPROTO_TCP};
use netlink_packet_sock_diag::inet::nlas::Nla;
use netlink_packet_sock_diag::inet::{
    ExtensionFlags, InetRequest, InetResponse, SocketId, StateFlags,
};
use netlink_sys::protocols::NETLINK_SOCK_DIAG;

use super::socket::{Socket, canonical};

/// `INET_DIAG_CGROUP_ID`: the cgroup (v2) of whoever made the socket.
const CGROUP_ID: u16 = 21;

/// An answer is one socket: a few hundred bytes.
const MAX_ANSWER: usize = 8192;

/// The socket at `local` that is connected to `remote`; `None` if there is none. An error where this is not
/// offered, as in a sandbox that has its own network.
pub(super) fn connected(local: SocketAddr, remote: SocketAddr) -> io::Result<Option<Socket>> {
    let found = ask(local, remote)?;
    // Without such a connection the kernel tells of whoever listens at `local`.
    let is_it = |found: &InetResponse| {
        let id = &found.header.socket_id;
        canonical(SocketAddr::new(id.destination_address, id.destination_port)) == remote
    };
    Ok(found.filter(is_it).map(|found| socket(&found)))
}

/// The cgroup of a listening socket, if that is still the one at this address.
pub(super) fn listener_cgroup(local: SocketAddr, inode: u64) -> Option<u64> {
    let nobody = match local.ip() {
        IpAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
        IpAddr::V6(_) => std::net::Ipv6Addr::UNSPECIFIED.into(),
    };
    let found = socket(&ask(local, SocketAddr::new(nobody, 0)).ok()??);
    (found.inode == inode).then_some(found.cgroup).flatten()
}

/// Our own cgroup: that of a socket we make.
pub(super) fn own_cgroup() -> Option<u64> {
    use std::os::unix::fs::MetadataExt as _;
    let own = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).ok()?;
    let descriptor = std::os::fd::AsRawFd::as_raw_fd(&own);
    let inode = std::fs::metadata(format!("/proc/self/fd/{descriptor}"))
        .ok()?
        .ino();
    listener_cgroup(own.local_addr().ok()?, inode)
}

fn ask(local: SocketAddr, remote: SocketAddr) -> io::Result<Option<InetResponse>> {
    let mut header = NetlinkHeader::default();
    header.flags = NLM_F_REQUEST;
    let request = InetRequest {
        family: if local.is_ipv4() { AF_INET } else { AF_INET6 },
        protocol: IPPROTO_TCP,
        extensions: ExtensionFlags::empty(),
        states: StateFlags::all(),
        socket_id: SocketId {
            source_port: local.port(),
            destination_port: remote.port(),
            source_address: local.ip(),
            destination_address: remote.ip(),
            interface_id: 0,
            // Any socket with these addresses.
            cookie: [0xff; 8],
        },
    };
    let mut packet = NetlinkMessage::new(header, SockDiagMessage::InetRequest(request).into());
    packet.finalize();
    let mut bytes = vec![0; packet.buffer_len()];
    packet.serialize(&mut bytes);

    let mut socket = netlink_sys::Socket::new(NETLINK_SOCK_DIAG)?;
    socket.bind_auto()?;
    socket.connect(&netlink_sys::SocketAddr::new(0, 0))?;
    socket.send(&bytes, 0)?;
    // The kernel answers within `send`: there is an answer, or none will come.
    socket.set_non_blocking(true)?;
    let mut answer = Vec::with_capacity(MAX_ANSWER);
    socket.recv(&mut answer, 0)?;
    let answer = NetlinkMessage::<SockDiagMessage>::deserialize(&answer)
        .map_err(|error| io::Error::other(error.to_string()))?;
    match answer.payload {
        NetlinkPayload::InnerMessage(SockDiagMessage::InetResponse(found)) => Ok(Some(*found)),
        NetlinkPayload::Error(error) => {
            let error = error.to_io();
            if error.kind() == io::ErrorKind::NotFound {
                Ok(None)
            } else {
                Err(error)
            }
        }
        _ => Err(io::Error::other("an answer of another kind")),
    }
}

fn socket(found: &InetResponse) -> Socket {
    let cgroup = found.nlas.iter().find_map(|attribute| match attribute {
        Nla::Other(attribute) if attribute.kind() == CGROUP_ID => {
            let mut bytes = vec![0; attribute.value_len()];
            attribute.emit_value(&mut bytes);
            Some(u64::from_ne_bytes(bytes.try_into().ok()?))
        }
        _ => None,
    });
    Socket {
        inode: found.header.inode.into(),
        user: found.header.uid,
        cgroup,
    }
}
