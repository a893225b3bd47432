//! What kind of error a provider's refusal is: one that may pass, or one that is final. Pure.

use std::time::{Duration, SystemTime};

use http::{HeaderMap, StatusCode};
use serde_json::Value;

use super::error_body::ErrorBody;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ErrorKind {
    /// Calling again may help; not before `retry_after`, if the provider said so (capped).
    Transient { retry_after: Option<Duration> },
    /// The account has nothing left: calling again cannot help in this turn.
    QuotaExhausted,
    /// The call itself is wrong: the same one would be refused again.
    Permanent,
}

/// How providers say that the money is gone. Rate limits use some of the same words, but say when to come back.
const QUOTA: [&str; 9] = [
    "insufficient_quota",
    "exceeded your current quota",
    "billing_hard_limit",
    "billing_not_active",
    "billing hard limit",
    "credit balance is too low",
    "insufficient credits",
    "insufficient balance",
    "payment required",
];

// === impl ErrorKind ===

impl ErrorKind {
    /// Of an answer that is no success.
    pub(super) fn of(
        status: StatusCode,
        headers: &HeaderMap,
        body: &str,
        max_retry_after: Duration,
        now: SystemTime,
    ) -> Self {
        let retry_after = retry_after(headers, now);
        let body = ErrorBody::read(body);
        let says_when = retry_after.is_some() || body.says_when;
        let says_quota = QUOTA.iter().any(|words| body.says(words));
        if status == StatusCode::PAYMENT_REQUIRED
            || (status.is_client_error() && says_quota && !says_when)
        {
            return Self::QuotaExhausted;
        }
        if status.is_server_error() || matches!(status.as_u16(), 408 | 409 | 425 | 429) {
            let retry_after = retry_after.map(|after| after.min(max_retry_after));
            return Self::Transient { retry_after };
        }
        Self::Permanent
    }
}

/// The status that an error told within a stream would have had; 502 if nothing shows it.
pub(super) fn status_of(error: &str) -> StatusCode {
    let json: Value = serde_json::from_str(error).unwrap_or_default();
    let detail = json.get("error").filter(|detail| detail.is_object());
    let detail = detail.unwrap_or(&json);
    let number = ["code", "status"]
        .iter()
        .filter_map(|name| detail.get(name)?.as_u64())
        .find_map(|number| StatusCode::from_u16(u16::try_from(number).ok()?).ok())
        .filter(|status| status.is_client_error() || status.is_server_error());
    if let Some(status) = number {
        return status;
    }
    let says = |word: &str| {
        ["code", "type"]
            .iter()
            .filter_map(|name| detail.get(name)?.as_str())
            .any(|text| text.contains(word))
    };
    let known = STATUSES.iter().find(|(word, _)| says(word));
    known.map_or(StatusCode::BAD_GATEWAY, |(_, status)| *status)
}

/// What providers call their errors, and the status these have when they are not told in a stream.
const STATUSES: [(&str, StatusCode); 10] = [
    ("overloaded", StatusCode::SERVICE_UNAVAILABLE),
    ("rate_limit", StatusCode::TOO_MANY_REQUESTS),
    ("quota", StatusCode::TOO_MANY_REQUESTS),
    ("authentication", StatusCode::UNAUTHORIZED),
    ("invalid_api_key", StatusCode::UNAUTHORIZED),
    ("permission", StatusCode::FORBIDDEN),
    ("not_found", StatusCode::NOT_FOUND),
    ("context_length", StatusCode::BAD_REQUEST),
    ("invalid_request", StatusCode::BAD_REQUEST),
    ("invalid_prompt", StatusCode::BAD_REQUEST),
];

/// `retry-after-ms`, or `retry-after` in seconds or as a date. What cannot be read counts as absent.
fn retry_after(headers: &HeaderMap, now: SystemTime) -> Option<Duration> {
    let text = |name: &str| {
        headers
            .get(name)
            .and_then(|value| value.to_str().ok())
            .map(str::trim)
    };
    let number = |text: &str| {
        text.parse::<f64>()
            .ok()
            .filter(|n| n.is_finite() && *n >= 0.0)
    };
    let secs = |secs| Some(Duration::try_from_secs_f64(secs).unwrap_or(Duration::MAX));
    if let Some(ms) = text("retry-after-ms").and_then(number) {
        return secs(ms / 1000.0);
    }
    let value = text("retry-after")?;
    if let Some(seconds) = number(value) {
        return secs(seconds);
    }
    let date = httpdate::parse_http_date(value).ok()?;
    Some(date.duration_since(now).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    const CAP: Duration = Duration::from_mins(1);

    fn kind(status: u16, headers: &[(&'static str, &str)], body: &str) -> ErrorKind {
        let headers = headers
            .iter()
            .map(|(name, value)| (http::HeaderName::from_static(name), value.parse().unwrap()));
        ErrorKind::of(
            StatusCode::from_u16(status).unwrap(),
            &headers.collect(),
            body,
            CAP,
            SystemTime::UNIX_EPOCH,
        )
    }

    fn after(secs: f64) -> ErrorKind {
        ErrorKind::Transient {
            retry_after: Some(Duration::from_secs_f64(secs)),
        }
    }

    #[test]
    fn waits_are_read_in_every_form_and_capped() {
        assert_eq!(kind(429, &[("retry-after", "2")], ""), after(2.0));
        assert_eq!(kind(429, &[("retry-after", "1.5")], ""), after(1.5));
        assert_eq!(
            kind(429, &[("retry-after-ms", "250"), ("retry-after", "9")], ""),
            after(0.25)
        );
        assert_eq!(
            kind(503, &[("retry-after", "Thu, 01 Jan 1970 00:00:30 GMT")], ""),
            after(30.0)
        );
        for long in ["86400", "1e300", "Fri, 01 Jan 2100 00:00:00 GMT"] {
            assert_eq!(
                kind(429, &[("retry-after", long)], ""),
                after(60.0),
                "{long}"
            );
        }
        for odd in ["soon", "-1", "NaN", "inf"] {
            assert_eq!(
                kind(429, &[("retry-after", odd)], ""),
                ErrorKind::Transient { retry_after: None },
                "{odd}"
            );
        }
    }

    #[test]
    fn an_empty_account_is_not_a_rate_limit() {
        let quota = r#"{"error":{"message":"You exceeded your current quota, please check your plan","code":"insufficient_quota"}}"#;
        assert_eq!(kind(429, &[], quota), ErrorKind::QuotaExhausted);
        assert_eq!(kind(402, &[], ""), ErrorKind::QuotaExhausted);
        assert_eq!(
            kind(
                400,
                &[],
                "Your credit balance is too low to access the Anthropic API"
            ),
            ErrorKind::QuotaExhausted
        );
        // Google says the same words when only this minute's share is used up.
        let minute = r#"[{"error":{"message":"You exceeded your current quota","details":[{"retryDelay":"12s"}]}}]"#;
        assert_eq!(
            kind(429, &[], minute),
            ErrorKind::Transient { retry_after: None }
        );
        assert_eq!(kind(429, &[("retry-after", "3")], quota), after(3.0));
    }

    /// A body may repeat what was asked, and that may be about money.
    #[test]
    fn only_the_providers_own_words_empty_an_account() {
        for echo in [
            r#"{"error":{"message":"invalid request"},"input":"Payment required: insufficient credits"}"#,
            r#"{"detail":"bad","body":{"messages":[{"content":"exceeded your current quota"}]}}"#,
            "<html><title>Bad Request</title><body>payment required</body></html>",
        ] {
            assert_eq!(kind(400, &[], echo), ErrorKind::Permanent, "{echo}");
            assert_eq!(
                kind(429, &[], echo),
                ErrorKind::Transient { retry_after: None },
                "{echo}"
            );
        }
    }

    #[test]
    fn faults_pass_and_mistakes_do_not() {
        for status in [408, 409, 425, 429, 500, 502, 503, 529] {
            assert_eq!(
                kind(status, &[], ""),
                ErrorKind::Transient { retry_after: None },
                "{status}"
            );
        }
        for status in [400, 401, 403, 404, 413, 422] {
            assert_eq!(kind(status, &[], ""), ErrorKind::Permanent, "{status}");
        }
    }
}
