//! What turns cost.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// What the turn cost, subagents included.
// The journal of a version before this one has the names in the aliases.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(default)]
pub(crate) struct Usage {
    #[serde(alias = "input")]
    #[schema(required)]
    pub(crate) input_tokens: u64,
    #[serde(alias = "output")]
    #[schema(required)]
    pub(crate) output_tokens: u64,
    #[serde(alias = "reasoning")]
    #[schema(required)]
    pub(crate) reasoning_tokens: u64,
    #[serde(alias = "cache_read")]
    #[schema(required)]
    pub(crate) cache_read_tokens: u64,
    #[serde(alias = "cache_write")]
    #[schema(required)]
    pub(crate) cache_write_tokens: u64,
    #[schema(required)]
    pub(crate) cost: f64,
}

impl Usage {
    /// Both together.
    #[must_use]
    pub(crate) fn plus(self, other: Self) -> Self {
        Self {
            input_tokens: self.input_tokens.saturating_add(other.input_tokens),
            output_tokens: self.output_tokens.saturating_add(other.output_tokens),
            reasoning_tokens: self.reasoning_tokens.saturating_add(other.reasoning_tokens),
            cache_read_tokens: self
                .cache_read_tokens
                .saturating_add(other.cache_read_tokens),
            cache_write_tokens: self
                .cache_write_tokens
                .saturating_add(other.cache_write_tokens),
            cost: self.cost + other.cost,
        }
    }
}
