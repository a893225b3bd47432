//! A host as somebody asks for it: a name or an address.

use std::fmt;
use std::net::IpAddr;

/// As long as a name of DNS may be.
const MAX_NAME: usize = 253;

/// A host that somebody wants to reach.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Host {
    /// In lower case, without the dot at the end.
    Name(String),
    Address(IpAddr),
}

// === impl Host ===

impl Host {
    /// As it stands in a request; brackets round an address of IPv6 are taken off.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let bare = text
            .strip_prefix('[')
            .and_then(|text| text.strip_suffix(']'));
        match bare.unwrap_or(text).parse() {
            Ok(ip) => Some(Self::Address(ip)),
            Err(_) if bare.is_some() => None,
            Err(_) => name(text).map(Self::Name),
        }
    }
}

impl fmt::Display for Host {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Name(name) => f.write_str(name),
            Self::Address(IpAddr::V6(ip)) => write!(f, "[{ip}]"),
            Self::Address(ip) => ip.fmt(f),
        }
    }
}

/// A name of DNS in lower case.
pub(super) fn name(text: &str) -> Option<String> {
    let label = |label: &str| {
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_');
        (1..=63).contains(&label.len()) && label.bytes().all(plain)
    };
    let text = text.strip_suffix('.').unwrap_or(text);
    // What ends in a number is an address, and one that is not written as addresses are is none of ours.
    let numeric = text.rsplit('.').next().is_some_and(|last| {
        last.bytes().all(|byte| byte.is_ascii_digit()) || last.starts_with("0x")
    });
    (text.len() <= MAX_NAME && text.split('.').all(label) && !numeric)
        .then(|| text.to_ascii_lowercase())
}
