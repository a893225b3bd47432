//! How a turn is.

use std::sync::Arc;

use serde::Serialize;
use strum::IntoStaticStr;
use utoipa::ToSchema;

/// How the turn is. `cancelled` ends it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
pub(crate) struct Status {
    #[serde(rename = "status")]
    pub(crate) state: State,
    /// Never less than before in the same turn.
    #[schema(maximum = 100)]
    pub(crate) progress: u8,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) phase: Option<Phase>,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    pub(crate) current_tool: Option<Arc<str>>,
    /// Why it is in this phase.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) reason: Option<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, IntoStaticStr, ToSchema)]
#[serde(rename_all = "snake_case")]
#[strum(serialize_all = "snake_case", const_into_str)]
pub(crate) enum State {
    Pending,
    Running,
    WaitingInput,
    Completed,
    Failed,
    Cancelled,
}

/// What a running turn is doing, when it is not simply working.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, IntoStaticStr, ToSchema)]
#[serde(rename_all = "snake_case")]
#[strum(serialize_all = "snake_case", const_into_str)]
pub(crate) enum Phase {
    /// The provider failed; it is asked again soon.
    ProviderRetry,
    /// The conversation is being summarised to fit the model's context.
    Compacting,
    /// Nothing is heard although something should be.
    Stalled,
    /// The agent's process died; the turn goes on in the next one.
    Recovering,
    /// What is published cannot be written to disk for now.
    JournalDegraded,
}

// === impl Phase ===

impl Phase {
    pub(crate) const fn as_str(self) -> &'static str {
        self.into_str()
    }
}

// === impl State ===

impl State {
    pub(crate) const ALL: [Self; 6] = [
        Self::Pending,
        Self::Running,
        Self::WaitingInput,
        Self::Completed,
        Self::Failed,
        Self::Cancelled,
    ];

    pub(crate) const fn as_str(self) -> &'static str {
        self.into_str()
    }

    /// The state that is spelt like this.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|state| state.as_str() == text)
    }
}
