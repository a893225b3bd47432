//! The subagents of a session.

use serde::Serialize;
use utoipa::ToSchema;

use crate::clock::Timestamp;
use crate::event::Usage;

/// All that the session's agent started, and those that they started, each after its parent.
#[derive(Debug, Default, Serialize, ToSchema)]
#[schema(as = SubagentList)]
pub(crate) struct Subagents {
    pub(crate) children: Vec<Subagent>,
    /// There are more.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    #[schema(value_type = Option<bool>)]
    pub(crate) truncated: bool,
}

/// A subagent. `id`, `name` and `parent` are those of `agent` in its events.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Subagent {
    pub(crate) id: String,
    pub(crate) name: Option<String>,
    pub(crate) parent: String,
    /// What it was started for.
    pub(crate) title: Option<String>,
    pub(crate) running: bool,
    pub(crate) usage: Usage,
    pub(crate) created_at: Timestamp,
    pub(crate) last_activity: Timestamp,
}
