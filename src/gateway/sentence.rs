//! What went wrong with a call, as one sentence that names where the provider is. Pure.
//!
//! The child gets the same without the address: OpenCode finds a status in any number, a port too, and then
//! repeats what is final.

use super::meter::LastError;

/// How a sentence begins that names the provider's address. Nothing behind it is anybody's secret.
pub(crate) const PROVIDER_AT: &str = "the provider at ";

/// `error` happened with the provider at `authority`, which is host and port.
pub(super) fn located(error: LastError, authority: &str) -> LastError {
    let LastError {
        code,
        status,
        message,
    } = error;
    let answered = matches!(
        code,
        "provider_error" | "provider_refused" | "provider_quota"
    );
    let message = if message.starts_with(PROVIDER_AT) {
        message
    } else if let Some(rest) = message.strip_prefix("the provider's ") {
        format!("{PROVIDER_AT}{authority}: its {rest}")
    } else if let Some(rest) = message.strip_prefix("the provider ") {
        format!("{PROVIDER_AT}{authority} {rest}")
    } else if let (true, Some(status)) = (answered, status) {
        format!("{PROVIDER_AT}{authority} answered {status}: {message}")
    } else {
        message
    };
    LastError {
        code,
        status,
        message,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_sentence_says_where_and_what() {
        let sentence = |code, status, message: &str| {
            let message = message.to_owned();
            let error = LastError {
                code,
                status,
                message,
            };
            located(error, "10.0.0.1:8000").message
        };
        assert_eq!(
            sentence("provider_refused", Some(404), "no such model"),
            "the provider at 10.0.0.1:8000 answered 404: no such model"
        );
        assert_eq!(
            sentence("provider_timeout", Some(504), "the provider did not begin"),
            "the provider at 10.0.0.1:8000 did not begin"
        );
        assert_eq!(
            sentence(
                "provider_certificate",
                Some(424),
                "the provider's certificate is not trusted"
            ),
            "the provider at 10.0.0.1:8000: its certificate is not trusted"
        );
        let whole = "the provider at 10.0.0.1:8000 cannot be reached: refused";
        assert_eq!(sentence("provider_unreachable", Some(502), whole), whole);
        let ours = "the session's budget is spent";
        assert_eq!(sentence("budget_exceeded", Some(402), ours), ours);
    }
}
