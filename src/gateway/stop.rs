//! Why no more calls are made for a session in this turn.

/// The provider's answer cannot be used.
pub(super) const BAD_ANSWER: &str = "provider_bad_answer";

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stop {
    BudgetExceeded,
    /// The provider says that the account has nothing left.
    QuotaExhausted,
    /// The provider failed too often in a row.
    ProviderFailing,
    /// The provider's answers could not be used, too often in a row.
    BadAnswers,
    /// The calls brought nothing new, too often in a row.
    NoProgress,
}

// === impl Stop ===

impl Stop {
    /// The code of a turn that ends for this reason.
    pub(crate) const fn code(self) -> &'static str {
        match self {
            Self::BudgetExceeded => "budget_exceeded",
            Self::QuotaExhausted => "provider_quota",
            Self::ProviderFailing => "provider_failing",
            Self::BadAnswers => BAD_ANSWER,
            Self::NoProgress => "no_progress",
        }
    }

    /// For people. OpenCode does not take it for a passing fault (a test holds its list of words).
    pub(super) const fn sentence(self) -> &'static str {
        match self {
            Self::BudgetExceeded => "the session's budget is spent",
            Self::QuotaExhausted => {
                "the provider says that the account's quota or credit is used up"
            }
            Self::ProviderFailing => {
                "the provider failed too often in a row; no more calls are made in this turn"
            }
            Self::BadAnswers => {
                "the provider's answers cannot be used; no more calls are made in this turn"
            }
            Self::NoProgress => {
                "the calls of the model bring nothing new; no more are made in this turn"
            }
        }
    }
}
