//! What became of the tools' requests to the network.

use serde::Serialize;
use utoipa::ToSchema;

/// A tool asked for a host, and it was decided whether it may reach it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
pub(crate) struct Egress {
    pub(crate) decision: EgressDecision,
    /// Null: several hosts, of a turn whose tools asked for very many.
    pub(crate) host: Option<String>,
    pub(crate) port: Option<u16>,
    /// Why not: `not_listed`, `none` (the session may reach nothing), `address` (the name leads to an address that is neither public nor
    /// listed), `own_port` (of the sidecar).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) reason: Option<&'static str>,
    /// How often since the event before this one that said the same. Repeats come together.
    pub(crate) count: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum EgressDecision {
    Allowed,
    Denied,
}
