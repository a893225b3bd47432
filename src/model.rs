//! The model of a session: where its calls go, what they may cost, and what they came to.
//!
//! These types are the same from the body of a request to the gateway, and from the gateway's counters to
//! the status that a client reads.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::provider::Upstream;
use crate::secret::Secret;
use crate::setting;

/// The model that a session asked for.
#[derive(Clone, Debug)]
pub(crate) struct ModelSpec {
    pub(crate) upstream: Upstream,
    pub(crate) name: String,
    pub(crate) version: Option<String>,
    /// `None` where the provider needs none.
    pub(crate) key: Option<Secret>,
    /// `None` leaves what OpenCode asks for; the same for the next.
    pub(crate) temperature: Option<f64>,
    pub(crate) max_tokens: Option<u32>,
    /// Tokens the model can take in; `None`: guessed from its name.
    pub(crate) context_window: Option<u32>,
    /// What is absent here is taken from the pod's default.
    pub(crate) budget: Budget,
}

/// What a session may spend, over all its turns. Absent: no limit. The comments are the words of `--help`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::Args)]
#[command(next_help_heading = "Models")]
pub(crate) struct Budget {
    /// Tokens a session may spend over all its turns, unless it brings its own limit; none: no limit
    // Input and output of all calls together. A call that is running when it is spent runs to its end.
    #[arg(long = "max-total-tokens", value_parser =
        setting::number(1..=1_000_000_000_000_u64, "a number of tokens from 1 to 1000000000000"))]
    pub(crate) max_total_tokens: Option<u64>,
    /// Model calls a session may make over all its turns, unless it brings its own limit; none: 500 in each
    /// turn; 0: no limit
    #[arg(long = "max-calls", value_parser =
        setting::number(0..=1_000_000_000_u64, "a number of calls from 0 to 1000000000 (0 is no limit)"))]
    pub(crate) max_calls: Option<u64>,
}

/// What the gateway counted. More than `usage` where the agent threw an answer away.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(default)]
pub(crate) struct ModelCalls {
    /// Calls that reached a provider (or the demo model).
    // The journal of a version before this one has the name in the alias.
    #[serde(alias = "made")]
    #[schema(required)]
    pub(crate) calls: u64,
    /// Of these, calls made again because one before had failed.
    #[serde(alias = "retried")]
    #[schema(required)]
    pub(crate) retries: u64,
    #[schema(required)]
    pub(crate) total_tokens: u64,
    /// From the last call to the first byte of its answer.
    pub(crate) first_byte_ms: Option<u64>,
    /// What all calls took together.
    #[schema(required)]
    pub(crate) duration_ms: u64,
    pub(crate) last_error: Option<String>,
}

// === impl ModelCalls ===

impl ModelCalls {
    /// With those of the turn after.
    pub(crate) fn plus(&self, next: &Self) -> Self {
        Self {
            calls: self.calls.saturating_add(next.calls),
            retries: self.retries.saturating_add(next.retries),
            total_tokens: self.total_tokens.saturating_add(next.total_tokens),
            first_byte_ms: next.first_byte_ms.or(self.first_byte_ms),
            duration_ms: self.duration_ms.saturating_add(next.duration_ms),
            last_error: next.last_error.clone().or_else(|| self.last_error.clone()),
        }
    }
}
