//! Why a call was not answered by its provider, and what the child is answered.
//!
//! The child reads errors in its dialect's own shape, and decides by status *and text* whether to call
//! again: OpenCode repeats any 5xx, and any refusal whose text contains a number or words it takes for a
//! passing fault (the tests hold its list). So a refusal that is final is a 4xx and its
//! sentence holds no number.

use std::time::Duration;

use http::StatusCode;

use super::json_parts::NotAnObject;
use super::last_error::{LastError, PROVIDER_AT};
use super::meter::Denied;
use super::stop::{BAD_ANSWER, Stop};
use crate::outgoing::Untrusted;
use crate::provider::Dialect;

/// A call that the gateway answers itself, by whose side failed: the child's, its own, the provider's.
#[derive(Debug, thiserror::Error)]
pub(super) enum ForwardError {
    // Downstream
    #[error("the call is larger than the gateway takes (32 MiB)")]
    TooLarge,
    #[error("the call cannot be read: {0}")]
    BadBody(#[from] NotAnObject),
    #[error("the call's body did not arrive in time")]
    SlowBody,
    #[error("the call's body was cut off")]
    CutBody,

    // Internal
    #[error("no session is running under this id")]
    UnknownSession,
    #[error("the turn is over")]
    Revoked,
    #[error("{}", .0.sentence())]
    Stopped(Stop),
    #[error("the provider has already refused this very call")]
    Repeated,
    #[error("too many large calls at once")]
    Crowded,
    #[error("the gateway cannot make TLS connections: {0}")]
    NoClient(String),
    #[error("the session's api_key holds characters that no key has")]
    BadKey,

    // Upstream
    #[error("the provider did not begin to answer within {}", seconds(*.0))]
    HeaderTimeout(Duration),
    #[error("{PROVIDER_AT}{authority} cannot be reached: {detail}")]
    Unreachable { authority: String, detail: String },
    #[error("the provider at this address is not called: {0}")]
    Untrusted(Untrusted),
    #[error("the provider's certificate is not trusted: {0}")]
    Certificate(&'static str),
    #[error(
        "the provider answered with a redirect, which is not followed because the key would go along"
    )]
    Redirect,
    #[error("the provider compresses its answer in a way that was not asked for")]
    Encoding,
    #[error("the provider's stream stalled: nothing came for {}", seconds(*.0))]
    Stalled(Duration),
    /// The child calls again after the pause. Without one it must not, so the sentence has no quote, in which
    /// OpenCode might find words that it repeats calls for.
    #[error("{}", bad_answer(.said, *.pause))]
    BadAnswer {
        said: String,
        pause: Option<Duration>,
    },
}

fn bad_answer(said: &str, pause: Option<Duration>) -> &str {
    match pause {
        Some(_) => said,
        None => Stop::BadAnswers.sentence(),
    }
}

fn seconds(duration: Duration) -> String {
    format!("{} s", duration.as_secs_f64())
}

// === impl ForwardError ===

impl ForwardError {
    /// Stable, for programs; the child gets it as the error's type and code.
    pub(super) const fn code(&self) -> &'static str {
        self.code_and_status().0
    }

    pub(super) const fn status(&self) -> StatusCode {
        self.code_and_status().1
    }

    const fn code_and_status(&self) -> (&'static str, StatusCode) {
        match self {
            Self::TooLarge => ("call_too_large", StatusCode::PAYLOAD_TOO_LARGE),
            Self::BadBody(_) | Self::CutBody => ("call_invalid", StatusCode::BAD_REQUEST),
            Self::SlowBody => ("call_timeout", StatusCode::BAD_REQUEST),
            Self::UnknownSession => ("session_unknown", StatusCode::UNAUTHORIZED),
            Self::Revoked => ("session_ended", StatusCode::UNAUTHORIZED),
            Self::BadKey => ("key_invalid", StatusCode::UNAUTHORIZED),
            Self::Stopped(stop @ (Stop::BudgetExceeded | Stop::QuotaExhausted)) => {
                (stop.code(), StatusCode::PAYMENT_REQUIRED)
            }
            Self::Stopped(stop) => (stop.code(), StatusCode::FAILED_DEPENDENCY),
            Self::Repeated => ("provider_refused", StatusCode::FAILED_DEPENDENCY),
            Self::NoClient(_) => ("gateway_tls", StatusCode::FAILED_DEPENDENCY),
            Self::Untrusted(_) => ("provider_untrusted", StatusCode::FAILED_DEPENDENCY),
            Self::Certificate(_) => ("provider_certificate", StatusCode::FAILED_DEPENDENCY),
            Self::Redirect => ("provider_redirect", StatusCode::FAILED_DEPENDENCY),
            Self::Encoding => ("provider_encoding", StatusCode::FAILED_DEPENDENCY),
            Self::BadAnswer { pause: None, .. } => (BAD_ANSWER, StatusCode::FAILED_DEPENDENCY),
            Self::BadAnswer { pause: Some(_), .. } => (BAD_ANSWER, StatusCode::BAD_GATEWAY),
            Self::Crowded => ("gateway_busy", StatusCode::SERVICE_UNAVAILABLE),
            Self::HeaderTimeout(_) => ("provider_timeout", StatusCode::GATEWAY_TIMEOUT),
            Self::Stalled(_) => ("provider_stalled", StatusCode::GATEWAY_TIMEOUT),
            Self::Unreachable { .. } => ("provider_unreachable", StatusCode::BAD_GATEWAY),
        }
    }

    /// Whether the provider failed and the same call may succeed later.
    pub(super) const fn is_passing(&self) -> bool {
        matches!(self, Self::HeaderTimeout(_) | Self::Unreachable { .. })
    }

    /// How long the child is to wait before it calls again, where the gateway sets it.
    pub(super) const fn pause(&self) -> Option<Duration> {
        match self {
            Self::BadAnswer { pause, .. } => *pause,
            _ => None,
        }
    }

    pub(super) fn last_error(&self) -> LastError {
        LastError {
            code: self.code(),
            status: Some(self.status().as_u16()),
            message: self.to_string(),
        }
    }

    pub(super) fn body(&self, dialect: Dialect) -> String {
        body(dialect, self.code(), &self.to_string())
    }
}

impl From<Denied> for ForwardError {
    fn from(denied: Denied) -> Self {
        match denied {
            Denied::Stopped(stop) => Self::Stopped(stop),
            Denied::Repeated => Self::Repeated,
        }
    }
}

/// An error body in the shape the dialect's client reads.
pub(super) fn body(dialect: Dialect, code: &str, message: &str) -> String {
    let json = match dialect {
        Dialect::Chat | Dialect::Responses => serde_json::json!({
            "error": { "message": message, "type": code, "param": null, "code": code }
        }),
        Dialect::Messages => serde_json::json!({
            "type": "error", "error": { "type": code, "message": message }
        }),
    };
    json.to_string()
}

/// The last event of a stream that stalled after it had begun. OpenCode repeats a call that "timed out".
pub(super) fn stall_event(dialect: Dialect, idle: Duration) -> String {
    let message = format!(
        "the provider's stream timed out: nothing came for {}",
        seconds(idle)
    );
    event(dialect, ("provider_stalled", "provider_stalled"), &message)
}

/// The last event of a stream that had begun and whose rest cannot be used. OpenCode repeats a call whose
/// "provider returned error", unless this was the last time.
pub(super) fn bad_answer_event(dialect: Dialect, said: &str, again: bool) -> String {
    if again {
        return event(
            dialect,
            (BAD_ANSWER, BAD_ANSWER),
            &format!("the provider returned error: {said}"),
        );
    }
    // The one code of this dialect after which OpenCode does not repeat a call.
    event(
        dialect,
        (BAD_ANSWER, "invalid_prompt"),
        Stop::BadAnswers.sentence(),
    )
}

/// The provider's own error, as the last event of a stream that had begun.
pub(super) fn told_event(dialect: Dialect, json: &str) -> String {
    match dialect {
        Dialect::Chat => format!("\ndata: {json}\n\n"),
        Dialect::Responses | Dialect::Messages => format!("\nevent: error\ndata: {json}\n\n"),
    }
}

/// An error as the last event of a stream; of the two codes the second is what the responses client reads.
fn event(dialect: Dialect, (code, responses_code): (&str, &str), message: &str) -> String {
    match dialect {
        Dialect::Chat => format!("\ndata: {}\n\n", body(dialect, code, message)),
        Dialect::Responses => {
            // Two generations of clients read this event in two shapes.
            let json = serde_json::json!({
                "type": "error", "sequence_number": 0, "code": responses_code, "message": message, "param": null,
                "error": { "type": code, "code": responses_code, "message": message, "param": null },
            });
            format!("\nevent: error\ndata: {json}\n\n")
        }
        Dialect::Messages => format!("\nevent: error\ndata: {}\n\n", body(dialect, code, message)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What OpenCode 1.18.33 repeats a refusal for, wherever it stands in message or body.
    const RETRY_WORDS: [&str; 40] = [
        "429",
        "500",
        "502",
        "503",
        "504",
        "524",
        "rate increased too quickly",
        "rate limit",
        "rate-limit",
        "rate_limit",
        "too many requests",
        "overloaded",
        "service unavailable",
        "service_unavailable",
        "internal error",
        "internal_error",
        "internal server error",
        "server error",
        "server_error",
        "provider returned error",
        "terminated",
        "fetch failed",
        "failed to fetch",
        "network error",
        "upstream connect",
        "connection error",
        "connection refused",
        "connection lost",
        "socket hang up",
        "reset before headers",
        "getaddrinfo",
        "econnreset",
        "etimedout",
        "request timeout",
        "timed out",
        "try your request again",
        "retry your request",
        "resource exhausted",
        "try again later",
        "at capacity",
    ];

    #[test]
    fn opencode_does_not_repeat_a_final_refusal() {
        let refusals = [
            ForwardError::TooLarge,
            ForwardError::CutBody,
            ForwardError::SlowBody,
            ForwardError::UnknownSession,
            ForwardError::Revoked,
            ForwardError::BadKey,
            ForwardError::Stopped(Stop::BudgetExceeded),
            ForwardError::Stopped(Stop::QuotaExhausted),
            ForwardError::Stopped(Stop::ProviderFailing),
            ForwardError::Stopped(Stop::BadAnswers),
            ForwardError::Stopped(Stop::NoProgress),
            ForwardError::BadAnswer {
                said: "it begins: 502 Bad Gateway, try again later".to_owned(),
                pause: None,
            },
            ForwardError::Repeated,
            ForwardError::Untrusted(Untrusted::Descendant),
            ForwardError::Untrusted(Untrusted::Unknown),
            ForwardError::Untrusted(Untrusted::Moved),
            ForwardError::Certificate("its issuer is not known; EXTRA_CA_FILE can add one"),
            ForwardError::Redirect,
            ForwardError::Encoding,
        ];
        for error in refusals {
            assert!(
                error.status().is_client_error()
                    && !matches!(error.status().as_u16(), 408 | 409 | 429)
            );
            for dialect in [Dialect::Chat, Dialect::Responses, Dialect::Messages] {
                let body = error.body(dialect).to_ascii_lowercase();
                let found = RETRY_WORDS.iter().find(|words| body.contains(**words));
                assert_eq!(found, None, "{body}");
            }
        }
    }

    #[test]
    fn errors_have_the_dialect_s_shape() {
        let error = ForwardError::UnknownSession;
        assert_eq!(
            error.body(Dialect::Chat),
            r#"{"error":{"code":"session_unknown","message":"no session is running under this id","param":null,"type":"session_unknown"}}"#
        );
        assert_eq!(
            error.body(Dialect::Messages),
            r#"{"error":{"message":"no session is running under this id","type":"session_unknown"},"type":"error"}"#
        );
    }
}
