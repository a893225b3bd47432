//! The port: whether it is free, or a sidecar has it.

use std::net::{IpAddr, SocketAddr, TcpListener};
use std::time::Duration;

use serde_json::Value;

use super::report::Check;
use crate::config::Inspection;
use crate::loopback::{self, ProbeError, Question};

/// How long whoever has the port may take to answer.
const ANSWER: Duration = Duration::from_secs(2);

/// Who has the port.
#[derive(Debug)]
pub(super) enum Holder {
    Nobody,
    /// A sidecar; nothing if it is ready, else why not.
    Sidecar(Option<String>),
    /// Something else.
    Other,
    /// Nobody, and we cannot have it either.
    Refused(std::io::Error),
}

// === impl Holder ===

impl Holder {
    pub(super) const fn is_sidecar(&self) -> bool {
        matches!(self, Self::Sidecar(_))
    }
}

pub(super) fn at(host: IpAddr, port: u16) -> Holder {
    if port == 0 {
        return Holder::Nobody;
    }
    let question = Question {
        line: "GET /ready",
        bearer: None,
        within: ANSWER,
    };
    match loopback::ask(host, port, question) {
        Ok(answer) => {
            let body: Value = serde_json::from_str(&answer.body).unwrap_or_default();
            match (answer.status, body["status"].as_str()) {
                (200, Some("ready")) => Holder::Sidecar(None),
                (503, Some("not ready")) => {
                    Holder::Sidecar(body["error"].as_str().map(str::to_owned))
                }
                _ => Holder::Other,
            }
        }
        Err(ProbeError::Unreachable(..)) => match bind(host, port) {
            Ok(()) => Holder::Nobody,
            Err(error) => Holder::Refused(error),
        },
        Err(ProbeError::Closed(_) | ProbeError::Late { .. }) => Holder::Other,
    }
}

/// As the sidecar does it: on a host without IPv6 `::` is 0.0.0.0.
fn bind(host: IpAddr, port: u16) -> std::io::Result<()> {
    let bind = |host| TcpListener::bind(SocketAddr::new(host, port)).map(drop);
    bind(host).or_else(|error| {
        let all = host.is_ipv6() && host.is_unspecified();
        if all {
            bind([0, 0, 0, 0].into())
        } else {
            Err(error)
        }
    })
}

pub(super) fn port(holder: &Holder, inspection: &Inspection) -> Check {
    let port = inspection.port;
    match holder {
        Holder::Nobody if port == 0 => Check::good("port", "PORT=0: a free one is taken"),
        Holder::Nobody => Check::good("port", format!("{port} is free")),
        Holder::Sidecar(None) => {
            Check::good("port", format!("a sidecar serves on {port}, and is ready"))
        }
        Holder::Sidecar(Some(reason)) => Check::bad(
            "port",
            format!("a sidecar serves on {port}, and takes no work: {reason}"),
            "its log says more; `opencode-sidecar top` shows its engine",
        ),
        Holder::Other => Check::bad(
            "port",
            format!("{port} is taken by something that is no sidecar"),
            "stop it, or set PORT",
        ),
        Holder::Refused(error) => Check::bad(
            "port",
            format!(
                "{port} cannot be had: {}",
                crate::text::plain(&error.to_string())
            ),
            "set HOST or PORT; below 1024 a capability is needed",
        ),
    }
}

/// One that the sidecar or OpenCode is to have besides, by the setting that names it.
pub(super) fn other_port(name: &str, host: IpAddr, port: u16) -> Check {
    match bind(host, port) {
        Ok(()) => Check::good("port", format!("{port} of {name} is free")),
        Err(error) => Check::bad(
            "port",
            format!(
                "{port} of {name} cannot be had: {}",
                crate::text::plain(&error.to_string())
            ),
            format!("set {name} to a free one"),
        ),
    }
}
