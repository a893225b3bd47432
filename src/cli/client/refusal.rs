//! What the sidecar refuses, and how it can be unreachable, as exit codes and sentences for a person. Pure.

use serde::Deserialize;

use crate::cli::exit::{Exit, Problem};
use crate::cli::plain_text::one_line;
use crate::text::plain;

/// The body of every error of the API.
#[derive(Debug, Deserialize)]
struct Envelope {
    error: String,
    #[serde(default)]
    code: String,
}

/// What an answer that is no success says.
pub(super) fn refusal(status: u16, body: &str) -> Problem {
    let Ok(envelope) = serde_json::from_str::<Envelope>(body) else {
        let sentence =
            format!("the answer is {status}, and is none of an opencode-sidecar; check --url");
        return Problem::new(Exit::Unreachable, sentence);
    };
    let exit = match status {
        400 | 413 | 422 => Exit::Usage,
        401 | 403 => Exit::NotAllowed,
        404 | 410 => Exit::NoSession,
        429 | 503 => Exit::TryAgain,
        _ => Exit::Failed,
    };
    let remedy = match envelope.code.as_str() {
        "unauthorized" => "; give --token-file, SIDECAR_TOKEN or a context",
        "credentials_required" => {
            return Problem::new(
                exit,
                "no key of this session is kept any more; give --provider, and what the context does not have of --model and --key-file",
            );
        }
        _ => "",
    };
    Problem::new(exit, one_line(&envelope.error) + remedy)
}

/// Nobody answers. The innermost cause says why.
pub(super) fn unreachable(address: &str, error: &reqwest::Error) -> Problem {
    if error.is_timeout() {
        let sentence = format!("the sidecar at {address} does not answer in time");
        return Problem::new(Exit::Unreachable, sentence);
    }
    let mut cause: &dyn std::error::Error = error;
    while let Some(inner) = cause.source() {
        cause = inner;
    }
    let reason = plain(&one_line(&cause.to_string()));
    let sentence = format!(
        "no sidecar answers at {address}: {reason}; start one with `opencode-sidecar serve`, or give --url"
    );
    Problem::new(Exit::Unreachable, sentence)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_is_the_sentence_of_the_sidecar_and_the_code_of_its_kind() {
        let body = r#"{"error":"there is no session\u001b[2J with this id","code":"not_found"}"#;
        let problem = refusal(404, body);
        assert_eq!(problem.exit, Exit::NoSession);
        assert_eq!(problem.sentence, "there is no session with this id");
        let token = refusal(
            401,
            r#"{"error":"a bearer token is needed","code":"unauthorized"}"#,
        );
        assert_eq!(token.exit, Exit::NotAllowed);
        assert!(token.sentence.ends_with("SIDECAR_TOKEN or a context"));
        assert_eq!(refusal(502, "<html>").exit, Exit::Unreachable);
    }
}
