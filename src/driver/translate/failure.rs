//! What a provider's error means, and what of it a client may read.
//!
//! A provider's message may name the gateway's address or repeat a key, and an internal error brings a
//! stack trace. [`clean`] keeps one sentence without any of that.

use crate::event::{Failure, FailureCode};
use crate::gateway::PROVIDER_AT;
use crate::opencode::types::ProviderError;
use crate::secret::{KEY_PREFIXES, SHORTEST_KEY};

const MAX_MESSAGE: usize = 500;

/// Words that come before a secret which has no form of its own.
const SCHEMES: [&str; 2] = ["Bearer ", "Basic "];

/// The failure that ends a turn on this error.
pub(crate) fn classify(error: &ProviderError) -> Failure {
    use FailureCode as Code;
    let message = &error.message;
    let code = match (&*error.name, error.status) {
        ("MessageAbortedError", _) => Code::Aborted,
        ("ContextOverflowError", _) => Code::ContextOverflow,
        ("MessageOutputLengthError", _) => Code::OutputLength,
        ("ProviderAuthError", _) | ("APIError", Some(401 | 403)) => Code::ProviderAuth,
        ("APIError", Some(429)) => Code::ProviderRateLimited,
        ("APIError", None | Some(408 | 500..)) => Code::ProviderUnavailable,
        ("APIError", Some(_)) => Code::ProviderError,
        ("ProviderModelNotFoundError", _) => Code::ModelNotFound,
        _ if message.starts_with("Model not found") => Code::ModelNotFound,
        _ if message.starts_with("ProviderModelNotFoundError") => Code::ModelNotFound,
        _ => Code::AgentError,
    };
    let error = match clean(message) {
        _ if code == Code::Aborted => "the turn was aborted".to_owned(),
        text if text.is_empty() => "the agent failed without saying why".to_owned(),
        text => text,
    };
    // A turn that failed leaves the conversation as it was; what can never work is not worth a retry.
    let hopeless = matches!(
        code,
        Code::ProviderAuth | Code::ModelNotFound | Code::ContextOverflow
    );
    Failure::fatal(code, error, !hopeless)
}

/// One line of it, without addresses and keys.
pub(crate) fn clean(message: &str) -> String {
    let line = message
        .lines()
        .map(str::trim)
        .find(|line| !line.is_empty())
        .unwrap_or_default();
    let mut text = String::with_capacity(line.len().min(MAX_MESSAGE));
    let mut rest = line;
    while let Some(first) = rest.chars().next() {
        if text.len() >= MAX_MESSAGE {
            text.push('…');
            break;
        }
        let at_word = text
            .chars()
            .next_back()
            .is_none_or(|before| !before.is_alphanumeric())
            // The gateway's own sentence: the address is the one that the caller gave.
            && !text.ends_with(PROVIDER_AT);
        if let Some((length, shown)) = at_word.then(|| private(rest)).flatten() {
            text.push_str(shown);
            rest = rest.get(length..).unwrap_or_default();
        } else {
            text.push(if first.is_control() { ' ' } else { first });
            rest = rest.get(first.len_utf8()..).unwrap_or_default();
        }
    }
    text
}

/// If `text` begins with something private: how long it is and what to show instead.
fn private(text: &str) -> Option<(usize, &'static str)> {
    let starts = |prefix: &str| {
        text.get(..prefix.len())
            .is_some_and(|start| start.eq_ignore_ascii_case(prefix))
    };
    let word = |from: usize| {
        let rest = text.get(from..).unwrap_or_default();
        let end = |c: char| c.is_whitespace() || matches!(c, '"' | '\'' | '<' | '>' | ')' | ',');
        from + rest.find(end).unwrap_or(rest.len())
    };
    if starts("http://") || starts("https://") || starts("ws://") || starts("wss://") {
        return Some((word(0), "[address]"));
    }
    if starts("127.0.0.1") || starts("localhost:") || starts("[::1]") {
        return Some((word(0), "[address]"));
    }
    let mut known = SCHEMES.iter().chain(&KEY_PREFIXES);
    let key = known.find(|key| starts(key))?;
    let length = word(key.len());
    (length >= key.len() + SHORTEST_KEY).then_some((length, "[key]"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_keys_and_stack_traces_stay_inside() {
        for (said, shown) in [
            (
                "overloaded at http://10.0.0.1/secret, sorry",
                "overloaded at [address], sorry",
            ),
            (
                "connect ECONNREFUSED 127.0.0.1:14103",
                "connect ECONNREFUSED [address]",
            ),
            (
                "Incorrect API key provided: sk-proj-abc123.",
                "Incorrect API key provided: [key]",
            ),
            ("got \"Bearer abcdef\" here", "got \"[key]\" here"),
            (
                "UnknownError: x\n    at <anonymous> (/$bunfs/root/c.js:1)",
                "UnknownError: x",
            ),
            (
                "a task-list for risk-averse people",
                "a task-list for risk-averse people",
            ),
            (
                "Model not found: gw/claude-3-5-sonnet-20241022.",
                "Model not found: gw/claude-3-5-sonnet-20241022.",
            ),
            (
                "the provider at 127.0.0.1:11434 cannot be reached: tcp connect error",
                "the provider at 127.0.0.1:11434 cannot be reached: tcp connect error",
            ),
            ("\n\t日本 \u{7}x", "日本  x"),
        ] {
            assert_eq!(clean(said), shown);
        }
        assert!(clean(&"é".repeat(2000)).len() <= MAX_MESSAGE + 4);
    }

    #[test]
    fn the_code_says_whose_fault_it_is() {
        let code = |name: &str, message: &str, status| {
            let (name, message) = (name.to_owned(), message.to_owned());
            classify(&ProviderError {
                name,
                message,
                status,
                retryable: false,
            })
            .code
        };
        assert_eq!(code("APIError", "no", Some(401)), FailureCode::ProviderAuth);
        assert_eq!(
            code("APIError", "no", Some(429)),
            FailureCode::ProviderRateLimited
        );
        assert_eq!(
            code("APIError", "no", Some(503)),
            FailureCode::ProviderUnavailable
        );
        assert_eq!(
            code("APIError", "Connection reset", None),
            FailureCode::ProviderUnavailable
        );
        assert_eq!(
            code("APIError", "no", Some(400)),
            FailureCode::ProviderError
        );
        assert_eq!(
            code("UnknownError", "Model not found: a/b.", None),
            FailureCode::ModelNotFound
        );
        assert_eq!(
            code("UnknownError", "Agent not found", None),
            FailureCode::AgentError
        );
        assert_eq!(
            code("MessageAbortedError", "Aborted", None),
            FailureCode::Aborted
        );
        assert_eq!(
            code("ContextOverflowError", "", None),
            FailureCode::ContextOverflow
        );
    }
}
