//! Why turns end that do not end by themselves, and what the gateway knows better than OpenCode about an end.

use super::open_turn::TimeLimit;
use super::translate::End;
use crate::event::{Failure, FailureCode};
use crate::gateway::{Grant, LastError, Stop};

/// The finish reason where the model's answer came without its end.
const UNENDED: &str = "unknown";

pub(super) fn timeout(time_limit: TimeLimit) -> End {
    let TimeLimit { limit, setting } = time_limit;
    let sentence = format!(
        "the turn took longer than {} s ({setting})",
        limit.as_secs()
    );
    failed(FailureCode::Timeout, sentence, true)
}

pub(super) fn tool_loop(tool: &str, times: u32) -> End {
    let sentence = format!(
        "the agent called {tool} with the same input {times} times in a row (TOOL_LOOP_LIMIT)"
    );
    failed(FailureCode::ToolLoop, sentence, true)
}

/// `recoveries`: how often the turn went on after that.
pub(super) fn engine_lost(recoveries: u32) -> End {
    let sentence = match recoveries {
        0 => "the agent's process died during the turn".into(),
        _ => format!(
            "the agent's process died {} times during the turn (MAX_TURN_RECOVERIES)",
            u64::from(recoveries) + 1
        ),
    };
    failed(FailureCode::EngineLost, sentence, true)
}

/// The turn was to go on in the next process, and `reason` stands against it.
pub(super) fn engine_stays_lost(reason: &str, resumable: bool) -> End {
    let sentence = format!("the agent's process died during the turn, and {reason}");
    failed(FailureCode::EngineLost, sentence, resumable)
}

/// OpenCode did not do what the turn is for.
pub(super) fn task_refused() -> End {
    failed(FailureCode::AgentError, "the agent refused the task", true)
}

/// The turn ran when the sidecar before this one ended.
pub(super) fn interrupted(resumable: bool) -> End {
    failed(
        FailureCode::Interrupted,
        "the sidecar was restarted during the turn",
        resumable,
    )
}

pub(super) fn shutting_down() -> End {
    failed(
        FailureCode::ShuttingDown,
        "the sidecar is shutting down",
        true,
    )
}

/// The agent's directory is gone: whatever it would do now fails, or happens somewhere else.
pub(super) fn workspace_lost(sentence: String) -> End {
    failed(FailureCode::WorkspaceUnavailable, sentence, true)
}

pub(super) fn session_deleted() -> End {
    failed(
        FailureCode::Aborted,
        "the agent's session was deleted during the turn",
        false,
    )
}

fn failed(code: FailureCode, error: impl Into<String>, resumable: bool) -> End {
    End::Failed(Failure::fatal(code, error, resumable))
}

/// `end` as the gateway knows it: why the model was not called again, what the provider said, and whether the
/// answer had its end. OpenCode's words are about its last call, which the gateway may have answered itself.
pub(super) fn with_provider_cause(end: End, grant: Option<&Grant>) -> End {
    let Some(grant) = grant else { return end };
    match end {
        End::Complete { .. } if grant.unended() => End::Complete {
            finish_reason: Some(UNENDED.to_owned()),
        },
        End::Failed(failure) => {
            let code = match grant.stopped() {
                Some(stop) => stopped(stop, failure.code),
                None => failure.code,
            };
            let failure = Failure { code, ..failure };
            End::Failed(match grant.last_error() {
                Some(last) => explained(failure, last),
                None => failure,
            })
        }
        end => end,
    }
}

fn stopped(stop: Stop, code: FailureCode) -> FailureCode {
    match stop {
        Stop::BudgetExceeded => FailureCode::BudgetExceeded,
        Stop::QuotaExhausted => FailureCode::ProviderQuota,
        Stop::BadAnswers => FailureCode::ProviderBadAnswer,
        Stop::NoProgress => FailureCode::NoProgress,
        // It failed by refusing for now, all the time.
        Stop::ProviderFailing if code == FailureCode::ProviderRateLimited => code,
        Stop::ProviderFailing => FailureCode::ProviderUnavailable,
    }
}

/// A failure of the provider with the provider's own reason.
fn explained(failure: Failure, last: LastError) -> Failure {
    let code = match (failure.code, last.status) {
        // The gateway's own answer to a repetition has another status.
        (FailureCode::ProviderError, Some(401 | 403)) => FailureCode::ProviderAuth,
        (
            code @ (FailureCode::ProviderAuth
            | FailureCode::ProviderRateLimited
            | FailureCode::ProviderUnavailable
            | FailureCode::ProviderError
            | FailureCode::ProviderBadAnswer
            | FailureCode::ProviderQuota),
            _,
        ) => code,
        _ => return failure,
    };
    let hopeless = code == FailureCode::ProviderAuth;
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

    fn failure(code: FailureCode) -> Failure {
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
        let explained_failure = explained(failure(FailureCode::ProviderError), last(400));
        assert_eq!(explained_failure.error, "the provider at x:1 answered: no");
        assert_eq!(
            (explained_failure.code, explained_failure.resumable),
            (FailureCode::ProviderError, Some(true))
        );
        let refused = explained(failure(FailureCode::ProviderError), last(401));
        assert_eq!(
            (refused.code, refused.resumable),
            (FailureCode::ProviderAuth, Some(false))
        );
        for other in [
            FailureCode::ContextOverflow,
            FailureCode::AgentError,
            FailureCode::BudgetExceeded,
            FailureCode::Aborted,
        ] {
            assert_eq!(explained(failure(other), last(400)), failure(other));
        }
    }
}
