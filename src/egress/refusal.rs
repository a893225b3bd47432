//! Why a tool does not get what it asks for, in words that the agent reads.

use crate::egress_policy::Host;

/// Why not.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Refusal {
    /// What was sent is no request of a proxy.
    Malformed(&'static str),
    Credential,
    /// The session may reach nothing.
    Nothing,
    NotListed,
    /// Its name leads to an address that is not listed.
    Address,
    OwnPort,
    Crowded,
    Unresolved,
    Unreachable(String),
}

/// An answer, whole.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Answer {
    pub(super) text: String,
}

// === impl Refusal ===

impl Refusal {
    /// The word of the metric, of the audit log and of the event.
    pub(super) const fn word(&self) -> &'static str {
        match self {
            Self::Malformed(_) => "malformed",
            Self::Credential => "credential",
            Self::Nothing => "none",
            Self::NotListed => "not_listed",
            Self::Address => "address",
            Self::OwnPort => "own_port",
            Self::Crowded => "crowded",
            Self::Unresolved => "unresolved",
            Self::Unreachable(_) => "unreachable",
        }
    }

    /// Whether it was decided so, and no accident of the network.
    pub(super) const fn is_denial(&self) -> bool {
        matches!(
            self,
            Self::Nothing | Self::NotListed | Self::Address | Self::OwnPort
        )
    }

    const fn status(&self) -> u16 {
        match self {
            Self::Malformed(_) => 400,
            Self::Credential => 407,
            Self::Nothing | Self::NotListed | Self::Address | Self::OwnPort => 403,
            Self::Crowded => 429,
            Self::Unresolved | Self::Unreachable(_) => 502,
        }
    }

    /// What stands behind the status: several tools show it and not the body.
    const fn reason(&self) -> &'static str {
        match self {
            Self::Malformed(_) => "Bad Request",
            Self::Credential => "Proxy Authentication Required",
            Self::Nothing => "Refused by the sidecar: this session has no network",
            Self::NotListed => "Refused by the sidecar: the host is not on the egress list",
            Self::Address => {
                "Refused by the sidecar: the address is not public and not on the egress list"
            }
            Self::OwnPort => "Refused by the sidecar: the port is its own",
            Self::Crowded => "Too many connections of this session",
            Self::Unresolved => "The name of the host cannot be resolved",
            Self::Unreachable(_) => "The host cannot be reached",
        }
    }

    fn sentence(&self, host: &str) -> String {
        let ask = "Do not try another way: ask the person you work for";
        match self {
            Self::Malformed(what) => {
                format!("The sidecar's proxy did not take this request: {what}.")
            }
            Self::Credential => "The sidecar's proxy needs the credential of a session whose turn is running. It stands in HTTPS_PROXY of each command; use that address unchanged.".into(),
            Self::Nothing => format!(
                "The sidecar did not connect to {host}: this session may reach no host. Nothing was sent. {ask} to allow it (EGRESS of the sidecar, model_config.egress of the session)."
            ),
            Self::NotListed => format!(
                "The sidecar did not connect to {host}: it is not on the list of hosts that this session may reach. Nothing was sent. {ask} to add {host} to the list (EGRESS_ALLOW of the sidecar, model_config.egress_allow of the session)."
            ),
            Self::Address => format!(
                "The sidecar did not connect to {host}: it leads to an address that is not public (loopback, link-local, private or reserved) and is not on the list. Nothing was sent. {ask} to add the address to the list (EGRESS_ALLOW of the sidecar)."
            ),
            Self::OwnPort => format!(
                "The sidecar did not connect to {host}: that is a port of the sidecar itself, and no list opens it."
            ),
            Self::Crowded => format!(
                "The sidecar did not connect to {host}: too many connections are open. Wait until some have ended, and open fewer at a time."
            ),
            Self::Unresolved => format!("The sidecar found no address for {host}."),
            Self::Unreachable(why) => format!("The sidecar could not connect to {host}: {why}."),
        }
    }

    /// The answer to a request for `host`.
    pub(super) fn answer(&self, host: &str) -> Answer {
        let body = format!("{}\n", self.sentence(host));
        let challenge = match self {
            Self::Credential => "Proxy-Authenticate: Basic realm=\"opencode-sidecar egress\"\r\n",
            _ => "",
        };
        let text = format!(
            "HTTP/1.1 {} {}\r\n{challenge}X-Sidecar-Egress: {}\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{body}",
            self.status(),
            self.reason(),
            self.word(),
            body.len(),
        );
        Answer { text }
    }
}

/// As it is named in sentences.
pub(super) fn named(host: &Host, port: u16) -> String {
    format!("{host}:{port}")
}
