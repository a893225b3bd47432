//! What went wrong in a turn.

use serde::Serialize;
use strum::IntoStaticStr;
use utoipa::ToSchema;

/// Something failed. A fatal one ends the turn.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
pub(crate) struct Failure {
    /// One sentence for the caller.
    pub(crate) error: String,
    pub(crate) fatal: bool,
    pub(crate) code: FailureCode,
    /// Seconds until it is tried again.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) retry_after: Option<u64>,
    /// Whether another prompt may go on where this turn ended.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) resumable: Option<bool>,
}

/// Why a turn failed or is delayed; part of the contract.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, IntoStaticStr, ToSchema)]
#[serde(rename_all = "snake_case")]
#[strum(serialize_all = "snake_case", const_into_str)]
pub(crate) enum FailureCode {
    /// The provider failed and is asked again. Never fatal.
    ProviderRetry,
    /// The provider does not accept the key.
    ProviderAuth,
    /// The provider's limit, after all retries.
    ProviderRateLimited,
    /// The provider is down or cannot be reached, after all retries.
    ProviderUnavailable,
    /// The provider refused the request.
    ProviderError,
    /// What the provider sends is no answer, after all retries.
    ProviderBadAnswer,
    ModelNotFound,
    ContextOverflow,
    OutputLength,
    /// Something other than the caller stopped the turn.
    Aborted,
    /// The turn stopped before the model's answer was whole.
    Interrupted,
    Timeout,
    ToolLoop,
    /// The model was called again and again, and nothing new came of it.
    NoProgress,
    /// What the session may spend is spent.
    BudgetExceeded,
    /// The provider says that the account has nothing left.
    ProviderQuota,
    ShuttingDown,
    /// The agent's process died.
    EngineLost,
    /// The agent's process could not take a prompt that had waited.
    EngineUnavailable,
    /// A prompt had waited, and there is no key for it.
    CredentialsRequired,
    /// The agent's directory is gone.
    WorkspaceUnavailable,
    /// Anything else in the agent.
    AgentError,
    /// A fault of the sidecar.
    Internal,
}

// === impl Failure ===

impl Failure {
    /// The end of a turn. `resumable`: another prompt may go on where it ended.
    pub(crate) fn fatal(code: FailureCode, error: impl Into<String>, resumable: bool) -> Self {
        Self {
            error: error.into(),
            fatal: true,
            code,
            retry_after: None,
            resumable: Some(resumable),
        }
    }
}

impl FailureCode {
    pub(crate) const fn as_str(self) -> &'static str {
        self.into_str()
    }
}
