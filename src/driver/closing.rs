//! How turns end that do not end by themselves, and what is found out last.

use std::path::Path;
use std::time::Duration;

use super::translate::{Batch, End};
use crate::event::{Body, Failure, FailureCode};
use crate::gateway::{Grant, Stop};

/// The disk may take this long to say which files are there.
const DISK: Duration = Duration::from_secs(1);

pub(super) fn timeout(after: Duration) -> End {
    let sentence = format!(
        "the turn took longer than {} s (SESSION_TIMEOUT)",
        after.as_secs()
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

/// A turn that ran when this sidecar's last life ended.
pub(super) fn interrupted(resumable: bool) -> End {
    failed(
        FailureCode::Interrupted,
        "the sidecar was restarted during the turn".into(),
        resumable,
    )
}

pub(super) fn shutting_down() -> End {
    failed(
        FailureCode::ShuttingDown,
        "the sidecar is shutting down".into(),
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
        "the agent's session was deleted during the turn".into(),
        false,
    )
}

fn failed(code: FailureCode, error: String, resumable: bool) -> End {
    End::Failed(Failure {
        code,
        error,
        fatal: true,
        retry_after: None,
        resumable: Some(resumable),
    })
}

/// The gateway knows better than OpenCode why the model was not called again, and whether it had ended.
pub(super) fn refine(end: End, grant: Option<&Grant>) -> End {
    match (end, grant.and_then(Grant::stopped)) {
        (End::Complete { .. }, _) if grant.is_some_and(Grant::unended) => End::Complete {
            finish_reason: Some(UNENDED.to_owned()),
        },
        (End::Failed(failure), Some(stop)) => {
            let code = match stop {
                Stop::BudgetExceeded => FailureCode::BudgetExceeded,
                Stop::QuotaExhausted => FailureCode::ProviderQuota,
                Stop::BadAnswers => FailureCode::ProviderBadAnswer,
                Stop::NoProgress => FailureCode::NoProgress,
                // It failed by refusing for now, all the time.
                Stop::ProviderFailing if failure.code == FailureCode::ProviderRateLimited => {
                    failure.code
                }
                Stop::ProviderFailing => FailureCode::ProviderUnavailable,
            };
            End::Failed(Failure { code, ..failure })
        }
        (end, _) => end,
    }
}

/// Why the model stopped, where its provider did not say.
const UNENDED: &str = "unknown";

/// Notes which of the modified files are not there any more: a command may have removed what a tool
/// wrote.
pub(super) async fn note_deleted(batch: &mut Batch) {
    for event in &mut batch.events {
        let Body::Complete(complete) = &mut event.body else {
            continue;
        };
        let files = complete.files_modified.clone();
        let look = tokio::task::spawn_blocking(move || {
            files
                .into_iter()
                .filter(|file| Path::new(file).symlink_metadata().is_err())
                .collect::<Vec<_>>()
        });
        if let Ok(Ok(gone)) = tokio::time::timeout(DISK, look).await {
            complete.files_deleted = gone;
        }
    }
}
