//! Which addresses are anybody's to reach, and which lead into a network of somebody.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// Not loopback, not private, not link-local (cloud metadata lies there), not reserved for anything.
const SPECIAL_V4: &[(Ipv4Addr, u8)] = &[
    (Ipv4Addr::UNSPECIFIED, 8),
    (Ipv4Addr::new(10, 0, 0, 0), 8),
    (Ipv4Addr::new(100, 64, 0, 0), 10),
    (Ipv4Addr::new(127, 0, 0, 0), 8),
    // The platform's own server of Azure, which has a public address.
    (Ipv4Addr::new(168, 63, 129, 16), 32),
    (Ipv4Addr::new(169, 254, 0, 0), 16),
    (Ipv4Addr::new(172, 16, 0, 0), 12),
    (Ipv4Addr::new(192, 0, 0, 0), 24),
    (Ipv4Addr::new(192, 0, 2, 0), 24),
    (Ipv4Addr::new(192, 88, 99, 0), 24),
    (Ipv4Addr::new(192, 168, 0, 0), 16),
    (Ipv4Addr::new(198, 18, 0, 0), 15),
    (Ipv4Addr::new(198, 51, 100, 0), 24),
    (Ipv4Addr::new(203, 0, 113, 0), 24),
    (Ipv4Addr::new(224, 0, 0, 0), 3),
];

/// What of `2000::/3`, the only part of IPv6 that is given to anybody, is nobody's host.
const SPECIAL_V6: &[(Ipv6Addr, u8)] = &[
    // Teredo, benchmarks, hashes: all of the addresses for protocols.
    (Ipv6Addr::new(0x2001, 0, 0, 0, 0, 0, 0, 0), 23),
    (Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 0), 32),
    (Ipv6Addr::new(0x3fff, 0, 0, 0, 0, 0, 0, 0), 20),
];

/// The address that a connection ends at: one of IPv4 may be written inside of one of IPv6 (mapped, compatible, NAT64,
/// 6to4).
pub(crate) fn effective(ip: IpAddr) -> IpAddr {
    let IpAddr::V6(v6) = ip else { return ip };
    let segments = v6.segments();
    let [.., high, low] = segments;
    let inner = |high: u16, low: u16| {
        let bits = u32::from(high) << 16 | u32::from(low);
        IpAddr::V4(Ipv4Addr::from_bits(bits))
    };
    match segments {
        // `::` and `::1` are themselves.
        [0, 0, 0, 0, 0, 0, 0, 0 | 1] => ip,
        [0, 0, 0, 0, 0, 0 | 0xffff, ..] | [0x64, 0xff9b, 0, 0, 0, 0, ..] => inner(high, low),
        [0x2002, high, low, ..] => inner(high, low),
        _ => ip,
    }
}

/// Whether it is an ordinary address of the internet.
pub(crate) fn is_public(ip: IpAddr) -> bool {
    match effective(ip) {
        IpAddr::V4(v4) => {
            let within =
                |(net, prefix): &(Ipv4Addr, u8)| contains((*net).into(), *prefix, v4.into());
            !SPECIAL_V4.iter().any(within)
        }
        IpAddr::V6(v6) => {
            let within =
                |(net, prefix): &(Ipv6Addr, u8)| contains((*net).into(), *prefix, v6.into());
            v6.segments()[0] & 0xe000 == 0x2000 && !SPECIAL_V6.iter().any(within)
        }
    }
}

/// Whether `ip` lies in the network. The families are not mixed.
pub(super) fn contains(net: IpAddr, prefix: u8, ip: IpAddr) -> bool {
    match (net, ip) {
        (IpAddr::V4(net), IpAddr::V4(ip)) => {
            let shift = 32_u32.saturating_sub(prefix.into());
            let high = |ip: Ipv4Addr| ip.to_bits().checked_shr(shift).unwrap_or(0);
            high(net) == high(ip)
        }
        (IpAddr::V6(net), IpAddr::V6(ip)) => {
            let shift = 128_u32.saturating_sub(prefix.into());
            let high = |ip: Ipv6Addr| ip.to_bits().checked_shr(shift).unwrap_or(0);
            high(net) == high(ip)
        }
        _ => false,
    }
}
