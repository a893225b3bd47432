//! Takes what looks like a key out of a provider's error text.
//!
//! Providers quote keys back (`Incorrect API key provided: sk-abc…xyz`), and their error bodies end in
//! OpenCode's events and logs. The session's own key and the child's token go whole, wherever they stand;
//! other words go when they begin like a known kind of key. Pure.

use serde_json::Value;

use crate::secret::{SHORTEST_KEY, Secret, looks_like_a_key};

const REPLACEMENT: &str = "[redacted]";

/// So much of an answer that cannot be used is quoted.
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

/// What one call's errors must not show.
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

    /// An error body, or an error event's JSON.
    pub(super) fn body(&self, body: &str) -> String {
        redact_body(body, &self.exposed())
    }

    /// The beginning of an answer, in one line. `start` may end in the middle of a key, or of anything.
    pub(super) fn quote(&self, start: &[u8]) -> String {
        let secrets = self.exposed();
        let text = String::from_utf8_lossy(start);
        // JSON may write a key in ways in which no search finds it.
        if secrets
            .iter()
            .any(|secret| secret.len() >= SHORTEST_KEY && unescaped(&text).contains(secret))
            && !secrets
                .iter()
                .any(|secret| secret.len() >= SHORTEST_KEY && text.contains(secret))
        {
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

/// `text` without `secrets` and without words that look like keys. A secret of less than
/// [`SHORTEST_KEY`] characters goes only where it is a word of its own.
pub(super) fn redact(text: &str, secrets: &[&str]) -> String {
    let mut clean = text.to_owned();
    for secret in secrets.iter().filter(|secret| !secret.is_empty()) {
        let escaped = Value::from(*secret).to_string();
        for written in [*secret, escaped.trim_matches('"')] {
            clean = if secret.len() < SHORTEST_KEY {
                replace_word(&clean, written)
            } else {
                clean.replace(written, REPLACEMENT)
            };
        }
    }
    let mut out = String::with_capacity(clean.len());
    let mut after_bearer = false;
    for piece in clean.split_inclusive(|c: char| !is_key_char(c)) {
        let word = piece.trim_end_matches(|c: char| !is_key_char(c));
        let rest = piece.strip_prefix(word).unwrap_or_default();
        if looks_like_a_key(word) || (after_bearer && word.len() >= SHORTEST_KEY) {
            out.push_str(REPLACEMENT);
        } else {
            out.push_str(word);
        }
        if !word.is_empty() {
            after_bearer = word.eq_ignore_ascii_case("bearer");
        }
        out.push_str(rest);
    }
    out
}

/// Replaces `word` where neither side goes on with a letter or digit.
fn replace_word(text: &str, word: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    let goes_on = |c: Option<char>| c.is_some_and(char::is_alphanumeric);
    while let Some((before, after)) = rest.split_once(word).filter(|_| !word.is_empty()) {
        let inside = goes_on(before.chars().next_back().or(out.chars().next_back()))
            || goes_on(after.chars().next());
        out.push_str(before);
        out.push_str(if inside { word } else { REPLACEMENT });
        rest = after;
    }
    out.push_str(rest);
    out
}

/// The same for a body: in JSON every text is looked at as it reads, because a provider may write `/`
/// as `\/` or `+` as `\u002B` and the child's client would read the key. Other text as it stands.
pub(super) fn redact_body(body: &str, secrets: &[&str]) -> String {
    let Ok(mut json) = serde_json::from_str(body) else {
        return redact(body, secrets);
    };
    if redact_json(&mut json, secrets) {
        json.to_string()
    } else {
        body.to_owned()
    }
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

/// `*` is part of a key: providers mask the middle of the ones they quote.
const fn is_key_char(c: char) -> bool {
    c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.' | '*' | '+' | '=')
}

#[cfg(test)]
mod tests {
    use super::*;

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
            let clean = redact_body(&body, &[key]);
            let read: Value = serde_json::from_str(&clean).unwrap();
            assert_eq!(read["error"]["message"], "bad key [redacted]", "{written}");
            assert_eq!(read["error"]["code"], 7);
        }
        assert_eq!(
            redact_body("bad key pl/ain+one&more", &[key]),
            "bad key [redacted]"
        );
        let untouched = r#"{ "error" : "no" }"#;
        assert_eq!(redact_body(untouched, &[key]), untouched, "byte for byte");
    }

    #[test]
    fn quoted_keys_go_and_the_sentence_stays() {
        assert_eq!(
            redact(
                r#"{"message":"Incorrect API key provided: sk-proj-abc***xyz. You can find it at https://x/y"}"#,
                &[]
            ),
            r#"{"message":"Incorrect API key provided: [redacted] You can find it at https://x/y"}"#
        );
        assert_eq!(
            redact("authorization: Bearer KEY-77, more", &[]),
            "authorization: Bearer [redacted], more"
        );
    }

    #[test]
    fn the_session_s_own_key_goes_whatever_it_looks_like() {
        assert_eq!(
            redact("bad key pl/ain\"one!", &["pl/ain\"one"]),
            "bad key [redacted]!"
        );
        assert_eq!(
            redact(r#"{"m":"pl/ain\"one"}"#, &["pl/ain\"one"]),
            r#"{"m":"[redacted]"}"#
        );
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
            assert_eq!(redact_body(text, &[key]), clean, "{key}");
        }
        // The envelope's own names are no quotes.
        let body = r#"{"error":{"message":"code is wrong","code":"x"}}"#;
        let clean = r#"{"error":{"code":"x","message":"[redacted] is wrong"}}"#;
        assert_eq!(redact_body(body, &["code"]), clean);
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

    #[test]
    fn ordinary_text_is_left_alone() {
        let text = "The model `gpt-5` does not exist — é 漢字 key-value sk- eye";
        assert_eq!(redact(text, &[]), text);
    }
}
