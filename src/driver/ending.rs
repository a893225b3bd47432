//! Whether a turn has ended, and how.
//!
//! `session.idle` alone proves nothing: it comes twice after an error or an abort, the first time before
//! the last parts; it does not come at all when the agent is unknown; and an overflow of the context is an
//! error in the middle of a turn that goes on. So on each sign of an end the driver asks the child, and
//! [`decide`] judges the answers: the status map says whether the session works, and the last message of the
//! turn says what came of it.

use std::time::Duration;

use super::translate::{End, classify};
use crate::event::{Failure, FailureCode};
use crate::opencode::types::{Message, MessageInfo, ProviderError, Role, SessionStatus};

/// What is known about the root session when it seems to have ended.
#[derive(Clone, Copy, Debug)]
pub(super) struct Observation<'a> {
    /// From `GET /session/status`; a session that is not listed is idle.
    pub(super) status: &'a SessionStatus,
    /// The newest message of this turn, see [`last_of_turn`].
    pub(super) last: Option<&'a MessageInfo>,
    /// What the session reported.
    pub(super) error: Option<&'a ProviderError>,
    /// Whether the caller asked to stop. Then that is how the turn ended, whatever else came of it.
    pub(super) cancelled: bool,
    /// How often [`Decision::AskAgain`] was the answer since the last sign of an end.
    pub(super) asked: u32,
    /// The call that did the task of the turn was answered. Without a model's answer nothing else says that it is done.
    pub(super) task_done: bool,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Decision {
    /// It works; another sign will come.
    NotYet,
    /// It is idle, but its last message is not finished: ask after this long.
    AskAgain(Duration),
    Ended(End),
}

/// How long to wait before each further question, 5.5 s in all. An aborted command is killed after 3 s,
/// and only then is its message finished.
const RETRY_DELAYS_MS: [u64; 8] = [100, 200, 400, 800, 1000, 1000, 1000, 1000];

/// Decides whether the turn has ended.
pub(super) fn decide(observed: &Observation<'_>) -> Decision {
    if *observed.status != SessionStatus::Idle {
        return Decision::NotYet;
    }
    let answer = observed
        .last
        .filter(|message| message.role == Role::Assistant);
    let error = answer.and_then(|answer| answer.error.as_ref());
    let finished = answer.is_some_and(|answer| {
        let finished = answer.finish.is_some() || observed.task_done;
        error.is_some() || (answer.completed.is_some() && finished)
    });
    // Without an answer there is nothing to wait for once the session said why.
    let refused = answer.is_none() && observed.error.is_some();
    if !finished
        && !refused
        && let Some(delay) = usize::try_from(observed.asked)
            .ok()
            .and_then(|asked| RETRY_DELAYS_MS.get(asked))
    {
        return Decision::AskAgain(Duration::from_millis(*delay));
    }
    if observed.cancelled {
        return Decision::Ended(End::Cancelled);
    }
    Decision::Ended(match (error.or(observed.error), answer) {
        (Some(error), _) => End::Failed(classify(error)),
        (None, Some(answer)) if finished => End::Complete {
            finish_reason: answer.finish.clone(),
        },
        (None, Some(_)) => interrupted("the agent stopped in the middle of its answer"),
        (None, None) => interrupted("the agent stopped without an answer"),
    })
}

/// What OpenCode says when a part of it that all sessions share is broken for good. It makes such a part
/// in the turn that first needs it; if that turn is aborted meanwhile, every later turn of this child
/// fails like this.
const BROKEN_FOR_GOOD: &str = "All fibers interrupted without error";

/// Whether the turn failed because its child can do no turn any more.
pub(super) fn shows_broken_child(end: &End) -> bool {
    matches!(end, End::Failed(failure)
        if failure.code == FailureCode::AgentError && failure.error.contains(BROKEN_FOR_GOOD))
}

fn interrupted(error: &str) -> End {
    End::Failed(Failure::fatal(FailureCode::Interrupted, error, true))
}

/// The newest message of session `root` after `before`, in a list of several sessions' messages.
pub(super) fn last_of_session<'a>(
    messages: &'a [Message],
    root: &str,
    before: Option<&str>,
) -> Option<&'a MessageInfo> {
    messages
        .iter()
        .map(|message| &message.info)
        .filter(|info| info.session == root && before.is_none_or(|before| *info.id > *before))
        .max_by(|a, b| a.id.cmp(&b.id))
}

/// How the turn had ended when its child died, if it had ended. `last` is its newest message as the child had
/// stored it.
pub(super) fn stored_end(last: &MessageInfo) -> Option<End> {
    if last.role != Role::Assistant || last.summary {
        return None;
    }
    match (&last.error, &last.finish) {
        // A child that is being stopped aborts its turns; a context that overflowed is made smaller.
        (Some(error), _)
            if matches!(&*error.name, "MessageAbortedError" | "ContextOverflowError") =>
        {
            None
        }
        (Some(error), _) => Some(End::Failed(classify(error))),
        // After these the agent would have gone on.
        (None, Some(finish)) if matches!(&**finish, "tool-calls" | "unknown") => None,
        (None, finish @ Some(_)) if last.completed.is_some() => Some(End::Complete {
            finish_reason: finish.clone(),
        }),
        (None, _) => None,
    }
}

/// The newest message after `before`, the newest one when the prompt was sent.
pub(super) fn last_of_turn<'a>(
    messages: &'a [Message],
    before: Option<&str>,
) -> Option<&'a MessageInfo> {
    // Ids sort in the order the messages were made.
    let last = &messages.last()?.info;
    before
        .is_none_or(|before| *last.id > *before)
        .then_some(last)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn error(name: &str) -> ProviderError {
        let (name, message) = (name.to_owned(), "it broke".to_owned());
        ProviderError {
            name,
            message,
            status: None,
            retryable: false,
        }
    }

    fn message(role: Role) -> MessageInfo {
        MessageInfo {
            id: "msg_2".into(),
            session: "ses_1".into(),
            role,
            summary: false,
            completed: None,
            finish: None,
            error: None,
        }
    }

    fn answered(finish: &str) -> MessageInfo {
        let (completed, finish) = (Some(2), Some(finish.to_owned()));
        MessageInfo {
            completed,
            finish,
            ..message(Role::Assistant)
        }
    }

    fn observed(last: Option<&MessageInfo>) -> Observation<'_> {
        let status = &SessionStatus::Idle;
        Observation {
            status,
            last,
            error: None,
            cancelled: false,
            asked: 0,
            task_done: false,
        }
    }

    fn code(decision: &Decision) -> Option<FailureCode> {
        match decision {
            Decision::Ended(End::Failed(failure)) => Some(failure.code),
            _ => None,
        }
    }

    #[test]
    fn a_child_that_is_broken_for_good_is_told_from_a_turn_that_failed() {
        let failed = |message: &str| {
            End::Failed(classify(&ProviderError {
                name: "UnknownError".into(),
                message: message.into(),
                status: None,
                retryable: false,
            }))
        };
        let broken = failed("Error: All fibers interrupted without error");
        assert!(shows_broken_child(&broken));
        assert!(!shows_broken_child(&failed("Error: something else")));
        assert!(!shows_broken_child(&End::Cancelled));
    }

    #[test]
    fn a_session_that_works_has_not_ended_whatever_it_said() {
        let (done, failed) = (answered("stop"), error("ContextOverflowError"));
        let retry = SessionStatus::Retry {
            attempt: 1,
            message: String::new(),
            next: 0,
        };
        for status in [SessionStatus::Busy, retry, SessionStatus::Other] {
            let observed = observed(Some(&done));
            let observed = Observation {
                status: &status,
                error: Some(&failed),
                cancelled: true,
                ..observed
            };
            assert_eq!(decide(&observed), Decision::NotYet);
        }
    }

    #[test]
    fn a_finished_answer_is_complete() {
        for reason in ["stop", "length", "tool-calls"] {
            let end = End::Complete {
                finish_reason: Some(reason.to_owned()),
            };
            assert_eq!(
                decide(&observed(Some(&answered(reason)))),
                Decision::Ended(end)
            );
        }
    }

    #[test]
    fn a_command_of_the_client_has_ended_when_its_call_is_answered() {
        let mut last = message(Role::Assistant);
        last.completed = Some(2);
        let waiting = observed(Some(&last));
        assert!(matches!(decide(&waiting), Decision::AskAgain(_)));
        let done = Observation {
            task_done: true,
            ..waiting
        };
        let end = End::Complete {
            finish_reason: None,
        };
        assert_eq!(decide(&done), Decision::Ended(end));
    }

    #[test]
    fn a_failed_answer_is_its_error() {
        let mut last = message(Role::Assistant);
        last.error = Some(error("APIError"));
        assert_eq!(
            code(&decide(&observed(Some(&last)))),
            Some(FailureCode::ProviderUnavailable)
        );
        last.error = Some(error("MessageAbortedError"));
        assert_eq!(
            code(&decide(&observed(Some(&last)))),
            Some(FailureCode::Aborted)
        );
        let observed = Observation {
            cancelled: true,
            ..observed(Some(&last))
        };
        assert_eq!(decide(&observed), Decision::Ended(End::Cancelled));
    }

    #[test]
    fn an_error_without_any_answer_ends_at_once() {
        let (user, failed) = (message(Role::User), error("UnknownError"));
        for last in [None, Some(&user)] {
            let observed = Observation {
                error: Some(&failed),
                ..observed(last)
            };
            assert_eq!(code(&decide(&observed)), Some(FailureCode::AgentError));
        }
    }

    #[test]
    fn an_unfinished_answer_gets_time_but_not_for_ever() {
        let mut overflowed = message(Role::Assistant);
        overflowed.completed = Some(2);
        for last in [None, Some(&message(Role::Assistant)), Some(&overflowed)] {
            let mut waited = Duration::ZERO;
            let mut observed = observed(last);
            while let Decision::AskAgain(wait) = decide(&observed) {
                waited += wait;
                observed.asked += 1;
            }
            assert_eq!(waited, Duration::from_millis(5500));
            assert_eq!(code(&decide(&observed)), Some(FailureCode::Interrupted));
            let cancelled = Observation {
                cancelled: true,
                ..observed
            };
            assert_eq!(decide(&cancelled), Decision::Ended(End::Cancelled));
        }
    }

    #[test]
    fn a_dead_childs_turn_had_ended_only_if_the_agent_would_not_have_gone_on() {
        let complete = |reason: &str| {
            Some(End::Complete {
                finish_reason: Some(reason.to_owned()),
            })
        };
        assert_eq!(stored_end(&answered("stop")), complete("stop"));
        assert_eq!(stored_end(&answered("length")), complete("length"));
        for open in [
            answered("tool-calls"),
            answered("unknown"),
            message(Role::Assistant),
            message(Role::User),
        ] {
            assert_eq!(stored_end(&open), None, "{open:?}");
        }
        let mut last = answered("stop");
        last.summary = true;
        assert_eq!(stored_end(&last), None, "a summary is no answer");
        let mut last = message(Role::Assistant);
        for passing in ["MessageAbortedError", "ContextOverflowError"] {
            last.error = Some(error(passing));
            assert_eq!(stored_end(&last), None, "{passing}");
        }
        last.error = Some(error("APIError"));
        assert!(matches!(stored_end(&last), Some(End::Failed(_))));
    }

    #[test]
    fn messages_of_an_earlier_turn_say_nothing() {
        let messages = [Message {
            info: answered("stop"),
            parts: Vec::new(),
        }];
        assert!(last_of_turn(&messages, None).is_some());
        assert!(last_of_turn(&messages, Some("msg_1")).is_some());
        assert!(last_of_turn(&messages, Some("msg_2")).is_none());
        assert!(last_of_turn(&[], None).is_none());
    }
}
