//! One entry of a list: a host, hosts below a name, a network, or everything; with ports.

use std::fmt;
use std::net::IpAddr;

use super::address::{contains, effective, is_public};
use super::host::{Host, name};

/// `pypi.org`, `*.npmjs.org`, `pypi.org:443`, `10.0.0.0/8`, `[fd00::1]:8443`, `*`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Entry {
    hosts: Hosts,
    ports: Ports,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Hosts {
    /// Every name, and every public address.
    All,
    Name(String),
    /// Every name below this one, and not the name itself.
    Below(String),
    Net(IpAddr, u8),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Ports {
    /// 80 and 443: what is meant where no port is named.
    Web,
    One(u16),
    All,
}

// === impl Entry ===

impl Entry {
    pub(super) fn parse(text: &str) -> Option<Self> {
        let (host, ports) = split(text)?;
        let hosts = match host {
            "*" => Hosts::All,
            host => match host.strip_prefix("*.") {
                Some(below) => Hosts::Below(name(below)?),
                None => net(host).or_else(|| name(host).map(Hosts::Name))?,
            },
        };
        Some(Self { hosts, ports })
    }

    pub(super) fn permits(&self, host: &Host, port: u16) -> bool {
        let host = match (&self.hosts, host) {
            (Hosts::All, Host::Name(_)) => true,
            (Hosts::All, Host::Address(ip)) => is_public(*ip),
            (Hosts::Name(listed), Host::Name(name)) => listed == name,
            (Hosts::Below(listed), Host::Name(name)) => is_below(name, listed),
            (Hosts::Net(net, prefix), Host::Address(ip)) => contains(*net, *prefix, effective(*ip)),
            _ => false,
        };
        host && self.ports.has(port)
    }

    /// Whether it names this address, so that it may be reached although it is not public.
    pub(super) fn names_address(&self, ip: IpAddr, port: u16) -> bool {
        let Hosts::Net(net, prefix) = self.hosts else {
            return false;
        };
        contains(net, prefix, effective(ip)) && self.ports.has(port)
    }

    /// Whether it names this one address and this one port and nothing else.
    pub(super) fn is_exactly(&self, ip: IpAddr, port: u16) -> bool {
        let ip = effective(ip);
        let whole = if ip.is_ipv4() { 32 } else { 128 };
        self.hosts == Hosts::Net(ip, whole) && self.ports == Ports::One(port)
    }

    /// Whether it permits everything that `other` does.
    pub(super) fn covers(&self, other: &Self) -> bool {
        let hosts = match (&self.hosts, &other.hosts) {
            (Hosts::All, Hosts::Net(..)) => false,
            (Hosts::All, _) => true,
            (Hosts::Name(ours), Hosts::Name(theirs)) => ours == theirs,
            (Hosts::Below(ours), Hosts::Name(theirs)) => is_below(theirs, ours),
            (Hosts::Below(ours), Hosts::Below(theirs)) => ours == theirs || is_below(theirs, ours),
            (Hosts::Net(ours, prefix), Hosts::Net(theirs, longer)) => {
                prefix <= longer && contains(*ours, *prefix, *theirs)
            }
            _ => false,
        };
        hosts && self.ports.cover(other.ports)
    }
}

impl fmt::Display for Entry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.hosts {
            Hosts::All => f.write_str("*")?,
            Hosts::Name(name) => f.write_str(name)?,
            Hosts::Below(name) => write!(f, "*.{name}")?,
            Hosts::Net(net @ IpAddr::V4(_), 32) => net.fmt(f)?,
            Hosts::Net(net @ IpAddr::V6(_), 128) => write!(f, "[{net}]")?,
            Hosts::Net(net @ IpAddr::V4(_), prefix) => write!(f, "{net}/{prefix}")?,
            Hosts::Net(net, prefix) => write!(f, "[{net}/{prefix}]")?,
        }
        match self.ports {
            Ports::Web => Ok(()),
            Ports::One(port) => write!(f, ":{port}"),
            Ports::All => f.write_str(":*"),
        }
    }
}

// === impl Ports ===

impl Ports {
    const fn has(self, port: u16) -> bool {
        match self {
            Self::Web => matches!(port, 80 | 443),
            Self::One(only) => only == port,
            Self::All => true,
        }
    }

    const fn cover(self, other: Self) -> bool {
        match (self, other) {
            (Self::All, _) | (Self::Web, Self::Web) => true,
            (_, Self::One(port)) => self.has(port),
            _ => false,
        }
    }
}

/// Host and ports. An address of IPv6 with a port stands in brackets.
fn split(text: &str) -> Option<(&str, Ports)> {
    let (host, rest) = match text.strip_prefix('[') {
        Some(inner) => inner.split_once(']')?,
        None if text.matches(':').count() > 1 => (text, ""),
        None => text.split_at(text.find(':').unwrap_or(text.len())),
    };
    let ports = match rest.strip_prefix(':') {
        None if rest.is_empty() => Ports::Web,
        None => return None,
        Some("*") => Ports::All,
        Some(port) => {
            let plain = port.bytes().all(|byte| byte.is_ascii_digit());
            Ports::One(port.parse().ok().filter(|port| plain && *port != 0)?)
        }
    };
    Some((host, ports))
}

fn net(text: &str) -> Option<Hosts> {
    let (ip, prefix) = match text.split_once('/') {
        Some((ip, prefix)) => (ip.parse::<IpAddr>().ok()?, Some(prefix)),
        None => (text.parse().ok()?, None),
    };
    // What is compared is where a connection ends.
    let at = effective(ip);
    let most = if ip.is_ipv4() { 32 } else { 128 };
    let prefix: u8 = prefix.map_or(Ok(most), str::parse).ok()?;
    let prefix = match (prefix, at == ip) {
        (prefix, true) => prefix,
        (128, false) => 32,
        // A network of addresses that stand for others.
        _ => return None,
    };
    (prefix <= most).then_some(Hosts::Net(at, prefix))
}

fn is_below(name: &str, parent: &str) -> bool {
    name.strip_suffix(parent)
        .is_some_and(|rest| rest.len() > 1 && rest.ends_with('.'))
}
