//! The ports that the child may listen on.

use std::fs;

/// Linux's own, where it does not say another.
const USUAL: u16 = 1024;

/// The first of them. The child has no capabilities, so this binds it whoever the sidecar runs as.
pub(crate) fn least_port() -> u16 {
    let said = fs::read_to_string("/proc/sys/net/ipv4/ip_unprivileged_port_start").ok();
    said.and_then(|text| text.trim().parse().ok())
        .unwrap_or(USUAL)
}
