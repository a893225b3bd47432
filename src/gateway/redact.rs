//! Takes what looks like a key out of a provider's error text.
//!
//! Providers quote keys back (`Incorrect API key provided: sk-abc…xyz`), and their error bodies end in
//! OpenCode's events and logs. The session's own key and the child's token go whole, wherever they stand;
//! other words go when they begin like a known kind of key. Pure.

use serde_json::Value;

/// How the keys of known providers begin.
const PREFIXES: [&str; 14] = [
    "sk-", "sk_", "pk-", "rk-", "gsk_", "xai-", "AIza", "ya29.", "hf_", "tgp_", "AKIA", "eyJ",
    "ghp_", "r8_",
];

const REPLACEMENT: &str = "[redacted]";

/// Shorter secrets are not searched for: they would take ordinary words with them.
const SHORTEST: usize = 4;

/// `text` without `secrets` and without words that look like keys.
pub(super) fn redact(text: &str, secrets: &[&str]) -> String {
    let mut clean = text.to_owned();
    for secret in secrets.iter().filter(|secret| secret.len() >= SHORTEST) {
        clean = clean.replace(secret, REPLACEMENT);
        let escaped = Value::from(*secret).to_string();
        clean = clean.replace(escaped.trim_matches('"'), REPLACEMENT);
    }
    let mut out = String::with_capacity(clean.len());
    let mut after_bearer = false;
    for piece in clean.split_inclusive(|c: char| !is_key_char(c)) {
        let word = piece.trim_end_matches(|c: char| !is_key_char(c));
        let rest = piece.strip_prefix(word).unwrap_or_default();
        if looks_like_a_key(word) || (after_bearer && word.len() >= SHORTEST) {
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
            let names = fields.keys().any(|name| redact(name, secrets) != *name);
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

fn looks_like_a_key(word: &str) -> bool {
    PREFIXES.iter().any(|prefix| {
        word.strip_prefix(prefix)
            .is_some_and(|rest| rest.len() >= SHORTEST)
    })
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
        assert_eq!(redact("a cat", &["a"]), "a cat");
    }

    #[test]
    fn ordinary_text_is_left_alone() {
        let text = "The model `gpt-5` does not exist — é 漢字 key-value sk- eye";
        assert_eq!(redact(text, &[]), text);
    }
}
