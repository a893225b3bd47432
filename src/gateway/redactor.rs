//! Takes keys out of what a provider says: error bodies, error events and quotes of answers. Pure.
//!
//! Providers quote keys back (`Incorrect API key provided: sk-abc…xyz`), and their error bodies end in
//! OpenCode's events and logs. The session's own key and the child's token go whole, wherever they stand;
//! [`redact`] says which other words look like keys.

use serde_json::Value;

use crate::secret::{SHORTEST_KEY, Secret, redact};

/// At most this many characters of an answer that cannot be used are quoted.
const MAX_QUOTE: usize = 200;

/// The names that error bodies give their parts in every dialect: they quote nobody.
const NAMES: [&str; 10] = [
    "error",
    "message",
    "type",
    "code",
    "param",
    "status",
    "detail",
    "details",
    "request_id",
    "id",
];

/// The secrets that the errors of one call must not show.
#[derive(Clone, Debug, Default)]
pub(super) struct Redactor {
    secrets: Vec<Secret>,
}

// === impl Redactor ===

impl Redactor {
    pub(super) fn new(secrets: impl IntoIterator<Item = Secret>) -> Self {
        Self {
            secrets: secrets.into_iter().collect(),
        }
    }

    fn exposed(&self) -> Vec<&str> {
        self.secrets.iter().map(Secret::expose).collect()
    }

    /// The length of the longest secret: a text that was cut may end in all but one of its bytes.
    pub(super) fn longest(&self) -> usize {
        let lengths = self.secrets.iter().map(|secret| secret.expose().len());
        lengths.max().unwrap_or(0)
    }

    /// An error body or the JSON of an error event, without keys. In JSON every string is searched as it
    /// reads, because a provider may write `/` as `\/` or `+` as `\u002B` and the child's client would
    /// read the key. Other text is searched as it stands.
    pub(super) fn body(&self, body: &str) -> String {
        let secrets = self.exposed();
        let Ok(mut json) = serde_json::from_str(body) else {
            return redact(body, &secrets);
        };
        if redact_json(&mut json, &secrets) {
            json.to_string()
        } else {
            body.to_owned()
        }
    }

    /// The beginning of an answer, in one line. `start` may end in the middle of a key, or of anything.
    pub(super) fn quote(&self, start: &[u8]) -> String {
        let secrets = self.exposed();
        let text = String::from_utf8_lossy(start);
        let holds = |text: &str| {
            let mut long = secrets.iter().filter(|secret| secret.len() >= SHORTEST_KEY);
            long.any(|secret| text.contains(secret))
        };
        // JSON may write a key in ways in which no search finds it.
        if holds(&unescaped(&text)) && !holds(&text) {
            return "(not shown, it holds a key)".to_owned();
        }
        let clean = redact(without_half_a_secret(&text, &secrets), &secrets);
        let words = clean.split_whitespace().collect::<Vec<_>>().join(" ");
        let mut quote: String = words.chars().take(MAX_QUOTE).collect();
        if quote.len() < words.len() {
            quote.push('…');
        }
        quote
    }
}

/// `text` without an end that is the beginning of a secret.
fn without_half_a_secret<'a>(text: &'a str, secrets: &[&str]) -> &'a str {
    let halves = secrets.iter().filter_map(|secret| {
        let mut starts = secret
            .char_indices()
            .rev()
            .filter_map(|(at, _)| secret.get(..at));
        starts.find(|start| !start.is_empty() && text.ends_with(start))
    });
    let longest = halves.map(str::len).max().unwrap_or(0);
    text.get(..text.len() - longest).unwrap_or_default()
}

/// `text` as a reader of JSON would see it, roughly: it is only searched.
fn unescaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some((before, after)) = rest.split_once('\\') {
        out.push_str(before);
        let code = after.strip_prefix('u').and_then(|hex| hex.get(..4));
        let code = code.and_then(|hex| u32::from_str_radix(hex, 16).ok());
        rest = match code.and_then(char::from_u32) {
            Some(character) => {
                out.push(character);
                after.get(5..).unwrap_or_default()
            }
            None => after,
        };
    }
    out.push_str(rest);
    out
}

/// Whether anything was taken out.
fn redact_json(value: &mut Value, secrets: &[&str]) -> bool {
    match value {
        Value::String(text) => {
            let clean = redact(text, secrets);
            let changed = clean != *text;
            *text = clean;
            changed
        }
        Value::Array(items) => items
            .iter_mut()
            .fold(false, |changed, item| redact_json(item, secrets) | changed),
        Value::Object(fields) => {
            let quotes = |name: &&String| !NAMES.contains(&name.as_str());
            let names = fields
                .keys()
                .filter(quotes)
                .any(|name| redact(name, secrets) != *name);
            if names {
                // Nobody needs a body whose field names are keys.
                fields.clear();
            }
            fields
                .values_mut()
                .fold(names, |changed, item| redact_json(item, secrets) | changed)
        }
        Value::Null | Value::Bool(_) | Value::Number(_) => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn redactor(key: &str) -> Redactor {
        Redactor::new([Secret::new(key)])
    }

    #[test]
    fn a_key_is_found_however_json_writes_it() {
        let key = "pl/ain+one&more";
        for written in [
            r"pl\/ain+one&more",
            r"pl/ain\u002Bone&more",
            r"pl/ain+one\u0026more",
            key,
        ] {
            let body = format!(r#"{{"error":{{"message":"bad key {written}","code":7}}}}"#);
            let clean = redactor(key).body(&body);
            let read: Value = serde_json::from_str(&clean).unwrap();
            assert_eq!(read["error"]["message"], "bad key [redacted]", "{written}");
            assert_eq!(read["error"]["code"], 7);
        }
        assert_eq!(
            redactor(key).body("bad key pl/ain+one&more"),
            "bad key [redacted]"
        );
        let untouched = r#"{ "error" : "no" }"#;
        assert_eq!(redactor(key).body(untouched), untouched, "byte for byte");
    }

    #[test]
    fn a_key_of_few_characters_goes_where_it_is_a_word() {
        for (key, text, clean) in [
            ("k", "bad key k.", "bad key [redacted]."),
            (
                "k1",
                "k1 was refused; k12 and ok1 were not",
                "[redacted] was refused; k12 and ok1 were not",
            ),
            ("a/b", r#"{"m":"no a\/b"}"#, r#"{"m":"no [redacted]"}"#),
            ("abcd", "xabcdx", "x[redacted]x"),
            ("a", "a cat", "[redacted] cat"),
        ] {
            assert_eq!(redactor(key).body(text), clean, "{key}");
        }
        // The envelope's own names are no quotes.
        let body = r#"{"error":{"message":"code is wrong","code":"x"}}"#;
        let clean = r#"{"error":{"code":"x","message":"[redacted] is wrong"}}"#;
        assert_eq!(redactor("code").body(body), clean);
    }

    #[test]
    fn a_quote_is_short_has_one_line_and_never_a_key() {
        let redactor = Redactor::new([Secret::new("pl/ain-key"), Secret::new("k1")]);
        assert_eq!(
            redactor.quote(b"<!DOCTYPE html>\n  <p>k1 pl/ain-key sk-abcdef of a page</p>"),
            "<!DOCTYPE html> <p>[redacted] [redacted] [redacted] of a page</p>"
        );
        for written in [r"pl\/ain-key", r"\u0070l/ain-key"] {
            let quote = redactor.quote(format!(r#"{{"a":"{written}"}}"#).as_bytes());
            assert_eq!(quote, "(not shown, it holds a key)", "{written}");
        }
        let long = format!("{} pl/ai", "word ".repeat(200));
        let quote = redactor.quote(long.as_bytes());
        assert!(quote.len() < 220 && quote.ends_with('…'), "{quote}");
        let cut = redactor.quote(b"not so long pl/ain-ke");
        assert!(!cut.contains("pl/"), "{cut}");
    }
}
