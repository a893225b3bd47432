//! Which parameters a model does not support, learnt from its provider's 400.
//!
//! Reasoning models refuse `temperature`, newer ones want `max_completion_tokens`, older servers do not
//! know `stream_options`. The answer names the parameter; the call is then made again without it. Only a
//! parameter called unsupported is dropped: the error for a value out of range goes to the caller. Pure.

use serde::Deserialize;

use crate::provider::Dialect;

/// Parameters that may be dropped: a call without them is still the same question.
const OPTIONAL: [&str; 12] = [
    "temperature",
    "top_p",
    "top_k",
    "max_completion_tokens",
    "max_output_tokens",
    "stream_options",
    "parallel_tool_calls",
    "reasoning_effort",
    "include",
    "store",
    "prompt_cache_key",
    "text",
];

/// How providers say that they do not support a parameter at all.
const REFUSALS: [&str; 11] = [
    "unsupported",
    "not supported",
    "does not support",
    "doesn't support",
    "deprecated",
    "unrecognized",
    "unknown",
    "not permitted",
    "not allowed",
    "cannot both be",
    "unexpected",
];

/// What is left out of every call to a model, or renamed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Unsupported {
    dropped: u16,
    /// Chat only: the model's name for `max_tokens` is `max_completion_tokens`.
    pub(super) max_tokens: bool,
}

/// An error body, as far as it can name a parameter.
#[derive(Deserialize)]
struct Refusal {
    error: Option<Detail>,
    /// Mistral and others without an envelope.
    #[serde(default)]
    message: Option<String>,
}

#[derive(Deserialize)]
struct Detail {
    #[serde(default)]
    message: Option<String>,
    #[serde(default)]
    param: Option<String>,
}

// === impl Unsupported ===

impl Unsupported {
    pub(super) fn drops(self, name: &str) -> bool {
        OPTIONAL
            .iter()
            .position(|known| *known == name)
            .is_some_and(|bit| self.dropped & (1 << bit) != 0)
    }

    pub(super) const fn union(self, other: Self) -> Self {
        Self {
            dropped: self.dropped | other.dropped,
            max_tokens: self.max_tokens || other.max_tokens,
        }
    }

    /// These and the one that `body`, the provider's 400, asks for; `None` if it asks for none that is new.
    pub(super) fn learn(self, dialect: Dialect, body: &[u8]) -> Option<Self> {
        let (message, param) = refusal(body)?;
        let message = message.to_ascii_lowercase();
        if !REFUSALS.iter().any(|words| message.contains(words)) {
            return None;
        }
        let mut learnt = self;
        if dialect == Dialect::Chat && names(&message, param.as_deref(), "max_tokens") {
            learnt.max_tokens = true;
        } else {
            let bit = OPTIONAL
                .iter()
                .position(|name| names(&message, param.as_deref(), name))?;
            learnt.dropped |= 1 << bit;
        }
        (learnt != self).then_some(learnt)
    }
}

fn refusal(body: &[u8]) -> Option<(String, Option<String>)> {
    match serde_json::from_slice::<Refusal>(body) {
        Ok(Refusal {
            error: Some(detail),
            message,
        }) => Some((detail.message.or(message)?, detail.param)),
        Ok(Refusal {
            error: None,
            message: Some(message),
        }) => Some((message, None)),
        // `{"error":"text"}`, `{"detail":[…]}` and plain text.
        _ => Some((std::str::from_utf8(body).ok()?.to_owned(), None)),
    }
}

/// Whether the refusal is about `name`: its `param` says so or, without one, the first parameter in the sentence.
fn names(message: &str, param: Option<&str>, name: &str) -> bool {
    if let Some(param) = param.filter(|param| !param.is_empty()) {
        return param == name || param.split('.').next() == Some(name);
    }
    message
        .split(|c: char| !(c.is_ascii_alphanumeric() || c == '_'))
        .any(|word| word == name)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn learn(dialect: Dialect, body: &str) -> Option<Unsupported> {
        Unsupported::default().learn(dialect, body.as_bytes())
    }

    #[test]
    fn real_refusals_are_understood() {
        let completion = learn(
            Dialect::Chat,
            r#"{"error":{"message":"Unsupported parameter: 'max_tokens' is not supported with this model. Use 'max_completion_tokens' instead.","type":"invalid_request_error","param":"max_tokens","code":"unsupported_parameter"}}"#,
        );
        assert!(completion.unwrap().max_tokens);
        for (dialect, body, name) in [
            (
                Dialect::Responses,
                r#"{"error":{"message":"Unsupported parameter: 'temperature' is not supported with this model.","type":"invalid_request_error","param":"temperature","code":null}}"#,
                "temperature",
            ),
            (
                Dialect::Chat,
                r#"{"error":{"message":"Unsupported value: 'temperature' does not support 0.7 with this model. Only the default (1) value is supported.","param":"temperature","code":"unsupported_value"}}"#,
                "temperature",
            ),
            (
                Dialect::Messages,
                r#"{"type":"error","error":{"type":"invalid_request_error","message":"`temperature` is deprecated for this model."}}"#,
                "temperature",
            ),
            (
                Dialect::Chat,
                r#"{"object":"error","message":"Extra inputs are not permitted: stream_options"}"#,
                "stream_options",
            ),
            (
                Dialect::Chat,
                "unknown field stream_options",
                "stream_options",
            ),
            (
                Dialect::Responses,
                r#"{"error":{"message":"Encrypted content is not supported with this model.","param":"include"}}"#,
                "include",
            ),
        ] {
            assert!(
                learn(dialect, body).is_some_and(|unsupported| unsupported.drops(name)),
                "{body}"
            );
        }
    }

    #[test]
    fn other_refusals_are_left_to_the_caller() {
        for body in [
            r#"{"type":"error","error":{"type":"invalid_request_error","message":"temperature: range: 0..1"}}"#,
            r#"{"error":{"message":"max_tokens is too large: 99999","param":"max_tokens"}}"#,
            r#"{"error":{"message":"Unknown model 'x'","param":"model"}}"#,
            r#"{"error":{"message":"Unsupported image","param":"messages.0.content"}}"#,
            "",
        ] {
            assert_eq!(learn(Dialect::Chat, body), None, "{body}");
        }
    }

    #[test]
    fn nothing_is_learnt_twice() {
        let body = br#"{"error":{"message":"temperature is not supported","param":null}}"#;
        let once = Unsupported::default()
            .learn(Dialect::Messages, body)
            .unwrap();
        assert_eq!(once.learn(Dialect::Messages, body), None);
    }
}
