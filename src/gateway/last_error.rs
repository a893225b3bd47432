//! The last thing that went wrong with a session's calls, as one sentence. Pure.
//!
//! For people the sentence names the provider's address. The child gets it without: OpenCode finds a status
//! in any number, a port too, and then repeats calls whose refusal is final.

/// How a sentence begins that names the provider's address. Nothing behind it is anybody's secret.
pub(crate) const PROVIDER_AT: &str = "the provider at ";

/// An error without any key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct LastError {
    /// Stable, for programs.
    pub(crate) code: &'static str,
    /// What the child was answered; `None` if its answer had begun.
    pub(crate) status: Option<u16>,
    /// For people.
    pub(crate) message: String,
}

// === impl LastError ===

impl LastError {
    /// The same, and its sentence names `authority`, the host and port of the provider.
    pub(super) fn located_at(self, authority: &str) -> Self {
        let message = &self.message;
        let answered = matches!(
            self.code,
            "provider_error" | "provider_refused" | "provider_quota"
        );
        let located = if message.starts_with(PROVIDER_AT) {
            return self;
        } else if let Some(rest) = message.strip_prefix("the provider's ") {
            format!("{PROVIDER_AT}{authority}: its {rest}")
        } else if let Some(rest) = message.strip_prefix("the provider ") {
            format!("{PROVIDER_AT}{authority} {rest}")
        } else if let (true, Some(status)) = (answered, self.status) {
            format!("{PROVIDER_AT}{authority} answered {status}: {message}")
        } else {
            return self;
        };
        Self {
            message: located,
            ..self
        }
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
            error.located_at("10.0.0.1:8000").message
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
