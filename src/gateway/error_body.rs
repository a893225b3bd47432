//! What a provider's error body says. Pure.
//!
//! Providers agree on nothing but that an error has a sentence and sometimes a code. Only those are read: the
//! rest of a body may repeat the call, and with it what the model or a person wrote.

use serde_json::Value;

/// A sentence is cut here.
const MAX_SENTENCE: usize = 300;

/// The parts of an error body that are the provider's own.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct ErrorBody {
    /// One line for a person; empty if there is none.
    pub(super) sentence: String,
    /// What a program would look for words in: the whole sentence, the code, the type and the status.
    words: String,
    /// Whether it says when to call again, as Google does.
    pub(super) says_when: bool,
}

// === impl ErrorBody ===

impl ErrorBody {
    pub(super) fn read(body: &str) -> Self {
        match serde_json::from_str::<Value>(body) {
            Ok(json) if json.is_object() || json.is_array() => Self::of_json(&json),
            _ => Self::of_text(body),
        }
    }

    /// Whether the provider's own words contain this, which is in lower case.
    pub(super) fn says(&self, words: &str) -> bool {
        self.words.contains(words)
    }

    fn of_json(json: &Value) -> Self {
        // Google wraps its error into a list.
        let json = json.get(0).unwrap_or(json);
        let error = json.get("error").unwrap_or(json);
        let message = [
            error.get("message"),
            json.get("message"),
            json.get("detail"),
            error.get("detail"),
            json.pointer("/errors/0/message"),
            json.pointer("/detail/0/msg"),
            Some(error),
        ];
        let message = message.into_iter().flatten().find_map(Value::as_str);
        let message = message.unwrap_or_default();
        let codes = ["code", "type", "status"].into_iter().flat_map(|name| {
            let of = |json: &Value| Some(json.get(name)?.as_str()?.to_owned());
            [of(error), of(json)]
        });
        let mut words = message.to_owned();
        for code in codes.flatten() {
            words.push('\n');
            words.push_str(&code);
        }
        let details = error.get("details").map(Value::to_string);
        Self {
            sentence: one_line(message),
            words: words.to_ascii_lowercase(),
            says_when: details.is_some_and(|details| details.contains("retryDelay")),
        }
    }

    /// A page for people, or plain words: the title, or the first line.
    fn of_text(body: &str) -> Self {
        let lower = body.to_ascii_lowercase();
        let title = lower.find("<title>").and_then(|start| {
            let start = start + "<title>".len();
            let length = lower.get(start..)?.find("</title>")?;
            body.get(start..start + length)
        });
        let first = body.lines().map(str::trim).find(|line| !line.is_empty());
        let sentence = one_line(title.or(first).unwrap_or_default());
        Self {
            words: sentence.to_ascii_lowercase(),
            sentence,
            says_when: false,
        }
    }
}

/// Whatever is between two words becomes one blank.
fn one_line(text: &str) -> String {
    let mut line = String::new();
    for word in text.split_whitespace() {
        if !line.is_empty() {
            line.push(' ');
        }
        line.push_str(word);
        if line.len() > MAX_SENTENCE {
            line.truncate(line.floor_char_boundary(MAX_SENTENCE));
            line.push('…');
            break;
        }
    }
    line
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_sentence_is_found_wherever_providers_put_it() {
        for (body, sentence) in [
            (
                r#"{"error":{"message":"no such\n  model","type":"x"}}"#,
                "no such model",
            ),
            (
                r#"{"error":"model \"llama9\" not found"}"#,
                r#"model "llama9" not found"#,
            ),
            (
                r#"[{"error":{"code":400,"message":"bad","status":"INVALID"}}]"#,
                "bad",
            ),
            (
                r#"{"type":"error","error":{"type":"overloaded_error","message":"Overloaded"}}"#,
                "Overloaded",
            ),
            (r#"{"message":"Unauthorized"}"#, "Unauthorized"),
            (r#"{"detail":"Not Found"}"#, "Not Found"),
            (
                r#"{"detail":[{"loc":["body"],"msg":"field required"}]}"#,
                "field required",
            ),
            (r#"{"errors":[{"message":"first"}]}"#, "first"),
            (r#"{"input":"what a person wrote"}"#, ""),
            (
                "<!doctype html>\n<html><head><title>502 Bad\nGateway</title></head>",
                "502 Bad Gateway",
            ),
            ("\n\n404 page not found\n", "404 page not found"),
            ("", ""),
        ] {
            assert_eq!(ErrorBody::read(body).sentence, sentence, "{body}");
        }
        let long = ErrorBody::read(&"é ".repeat(1000)).sentence;
        assert!(
            long.len() <= MAX_SENTENCE + 3 && long.ends_with('…'),
            "{long}"
        );
    }

    #[test]
    fn what_repeats_the_call_is_not_the_providers_own_word() {
        let echo = r#"{"error":{"message":"bad request","code":"invalid"},"input":"payment required","request":{"message":"payment required"}}"#;
        let body = ErrorBody::read(echo);
        assert!(!body.says("payment required"));
        assert!(body.says("invalid") && body.says("bad request"));
        assert!(!body.says_when);
        let page = "<html><title>Bad Request</title><body>You sent: payment required</body>";
        assert!(!ErrorBody::read(page).says("payment required"));
    }
}
