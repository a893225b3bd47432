//! A turn that failed because of its provider ends with the provider's own reason.
//!
//! OpenCode's words are about its last call, and the gateway may have answered that one itself: a refusal
//! that OpenCode repeats is not passed on a second time. The gateway knows what the provider said.

use super::translate::End;
use crate::event::{Failure, FailureCode as Code};
use crate::gateway::{Grant, LastError};

/// `end` with the reason that the gateway knows, of a turn that its provider ended.
pub(super) fn tell(end: End, grant: Option<&Grant>) -> End {
    match (end, grant.and_then(Grant::last_error)) {
        (End::Failed(failure), Some(last)) => End::Failed(explained(failure, last)),
        (end, _) => end,
    }
}

fn explained(failure: Failure, last: LastError) -> Failure {
    let code = match (failure.code, last.status) {
        // The gateway's own answer to a repetition has another status.
        (Code::ProviderError, Some(401 | 403)) => Code::ProviderAuth,
        (
            code @ (Code::ProviderAuth
            | Code::ProviderRateLimited
            | Code::ProviderUnavailable
            | Code::ProviderError
            | Code::ProviderBadAnswer
            | Code::ProviderQuota),
            _,
        ) => code,
        _ => return failure,
    };
    let hopeless = code == Code::ProviderAuth;
    Failure {
        code,
        error: last.message,
        resumable: failure.resumable.map(|resumable| resumable && !hopeless),
        ..failure
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn failure(code: Code) -> Failure {
        Failure {
            code,
            error: "the provider has already refused this very call".into(),
            fatal: true,
            retry_after: None,
            resumable: Some(true),
        }
    }

    fn last(status: u16) -> LastError {
        LastError {
            code: "provider_refused",
            status: Some(status),
            message: "the provider at x:1 answered: no".into(),
        }
    }

    #[test]
    fn a_failure_of_the_provider_has_its_reason_and_another_keeps_its_own() {
        let told = explained(failure(Code::ProviderError), last(400));
        assert_eq!(told.error, "the provider at x:1 answered: no");
        assert_eq!(
            (told.code, told.resumable),
            (Code::ProviderError, Some(true))
        );
        let refused = explained(failure(Code::ProviderError), last(401));
        assert_eq!(
            (refused.code, refused.resumable),
            (Code::ProviderAuth, Some(false))
        );
        for other in [
            Code::ContextOverflow,
            Code::AgentError,
            Code::BudgetExceeded,
            Code::Aborted,
        ] {
            assert_eq!(explained(failure(other), last(400)), failure(other));
        }
    }
}
