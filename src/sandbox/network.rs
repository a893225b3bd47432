//! The sockets that a command may not have where the sidecar decides which hosts are reached: what is not TCP, and the
//! ways of TCP past Landlock's rule for connections.
//!
//! Landlock looks at `connect` of ordinary TCP sockets. It does not see datagrams, raw sockets, Multipath TCP, SMC, or the
//! connection that `sendto` makes with `MSG_FASTOPEN`. Names are resolved over datagrams, so a command resolves none: the
//! proxy does it. All of it fails with `EACCES`.

use std::collections::BTreeMap;
use std::io;

use seccompiler::{BackendError, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompRule};

use super::seccomp;

/// Families of sockets: those within this host, and those that Landlock's rule is about.
const FAMILIES: [libc::c_int; 4] = [
    libc::AF_UNIX,
    libc::AF_INET,
    libc::AF_INET6,
    libc::AF_NETLINK,
];

/// The bits of a socket's type that are its type; the others are flags.
const TYPE: u64 = 0xf;

/// System calls that send, with the argument that has the flags, and their number in the x32 interface.
const SENDING: [(libc::c_long, u8, libc::c_long); 3] = [
    (libc::SYS_sendto, 3, libc::SYS_sendto),
    (libc::SYS_sendmsg, 2, 518),
    (libc::SYS_sendmmsg, 3, 538),
];

/// Puts the filter on the calling thread and on all it starts, besides those that are there.
pub(super) fn apply() -> io::Result<()> {
    let other = io::Error::other::<Box<dyn std::error::Error + Send + Sync>>;
    let filter = rules()
        .and_then(|rules| seccomp::filter(rules, libc::EACCES.cast_unsigned()))
        .map_err(|error| other(error.into()))?;
    seccompiler::apply_filter(&filter).map_err(|error| other(error.into()))
}

fn rules() -> Result<BTreeMap<i64, Vec<SeccompRule>>, BackendError> {
    let mut rules = BTreeMap::new();
    let mut add = |number: i64, of_x32: i64, refused: Vec<SeccompRule>| {
        #[cfg(target_arch = "x86_64")]
        rules.insert(seccomp::X32 + of_x32, refused.clone());
        #[cfg(not(target_arch = "x86_64"))]
        let _ = of_x32;
        rules.insert(number, refused);
    };
    add(libc::SYS_socket, libc::SYS_socket, sockets()?);
    for (number, flags, of_x32) in SENDING {
        let fast = u64::from(libc::MSG_FASTOPEN.cast_unsigned());
        let rule = SeccompRule::new(vec![is(flags, SeccompCmpOp::MaskedEq(fast), fast)?])?;
        add(number, of_x32, vec![rule]);
    }
    Ok(rules)
}

/// `socket(family, type, protocol)`.
fn sockets() -> Result<Vec<SeccompRule>, BackendError> {
    let number = |value: libc::c_int| u64::from(value.cast_unsigned());
    let unknown = FAMILIES.map(|family| is(0, SeccompCmpOp::Ne, number(family)));
    let mut refused = vec![SeccompRule::new(
        unknown.into_iter().collect::<Result<_, _>>()?,
    )?];
    for family in [libc::AF_INET, libc::AF_INET6] {
        let of_family = || is(0, SeccompCmpOp::Eq, number(family));
        for kind in (0..=TYPE).filter(|kind| *kind != number(libc::SOCK_STREAM)) {
            let of_type = is(1, SeccompCmpOp::MaskedEq(TYPE), kind)?;
            refused.push(SeccompRule::new(vec![of_family()?, of_type])?);
        }
        refused.push(SeccompRule::new(vec![
            of_family()?,
            is(2, SeccompCmpOp::Ne, 0)?,
            is(2, SeccompCmpOp::Ne, number(libc::IPPROTO_TCP))?,
        ])?);
    }
    Ok(refused)
}

fn is(argument: u8, operator: SeccompCmpOp, value: u64) -> Result<SeccompCondition, BackendError> {
    SeccompCondition::new(argument, SeccompCmpArgLen::Dword, operator, value)
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::*;

    /// One line for each kind of socket, tried behind the filter.
    const SCRIPT: &str = "
import errno, socket, sys
def tried(name, make):
    try:
        make()
        print(name, 'made')
    except OSError as error:
        print(name, errno.errorcode[error.errno])
for name, family in [('v4', socket.AF_INET), ('v6', socket.AF_INET6)]:
    tried(name + ' tcp', lambda: socket.socket(family, socket.SOCK_STREAM | socket.SOCK_CLOEXEC))
    tried(name + ' tcp by name', lambda: socket.socket(family, socket.SOCK_STREAM, 6))
    tried(name + ' udp', lambda: socket.socket(family, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK))
    tried(name + ' icmp', lambda: socket.socket(family, socket.SOCK_DGRAM, 1))
    tried(name + ' raw', lambda: socket.socket(family, socket.SOCK_RAW, 1))
    tried(name + ' mptcp', lambda: socket.socket(family, socket.SOCK_STREAM, 262))
    tried(name + ' sctp', lambda: socket.socket(family, socket.SOCK_STREAM, 132))
tried('unix', lambda: socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM))
tried('netlink', lambda: socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, 0))
tried('packet', lambda: socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0))
tried('vsock', lambda: socket.socket(socket.AF_VSOCK, socket.SOCK_STREAM))
tried('smc', lambda: socket.socket(43, socket.SOCK_STREAM, 0))
listener = socket.create_server(('127.0.0.1', 0))
address = listener.getsockname()
tried('fast open', lambda: socket.socket().sendto(b'x', 0x20000000, address))
tried('fast open of a message', lambda: socket.socket().sendmsg([b'x'], [], 0x20000000, address))
pair = socket.socketpair()
tried('an ordinary send', lambda: pair[0].sendmsg([b'x']))
";

    #[test]
    fn only_tcp_and_what_stays_on_this_host_is_left() {
        let output = std::thread::scope(|scope| {
            let thread = scope.spawn(|| {
                apply().unwrap();
                Command::new("python3")
                    .args(["-c", SCRIPT])
                    .output()
                    .unwrap()
            });
            thread.join().unwrap()
        });
        let text = String::from_utf8(output.stdout).unwrap();
        let made = [
            "v4 tcp",
            "v4 tcp by name",
            "v6 tcp",
            "v6 tcp by name",
            "unix",
            "netlink",
            "an ordinary send",
        ];
        assert_eq!(text.lines().count(), 22, "{text}");
        for line in text.lines() {
            let (name, what) = line.rsplit_once(' ').unwrap();
            let expected = if made.contains(&name) {
                "made"
            } else {
                "EACCES"
            };
            assert_eq!(what, expected, "{text}");
        }
    }
}
