//! What a key looks like, and how a text loses the keys in it. Pure.
//!
//! The child's log, the errors of providers and the failures of turns all use this one list of prefixes.

use serde_json::Value;

/// How the keys of the common providers begin.
pub(crate) const KEY_PREFIXES: [&str; 16] = [
    "sk-",
    "sk_",
    "pk-",
    "rk-",
    "gsk_",
    "xai-",
    "AIza",
    "ya29.",
    "hf_",
    "tgp_",
    "AKIA",
    "eyJ",
    "ghp_",
    "github_pat_",
    "glpat-",
    "r8_",
];

/// Fewer characters than this behind a prefix are a name or a part of one, and no key.
pub(crate) const SHORTEST_KEY: usize = 4;

/// What stands in the place of a key.
const REDACTED: &str = "[redacted]";

/// `text` without `secrets` and without words that look like keys. A secret of less than
/// [`SHORTEST_KEY`] characters goes only where it is a word of its own.
pub(crate) fn redact(text: &str, secrets: &[&str]) -> String {
    let mut clean = text.to_owned();
    for secret in secrets.iter().filter(|secret| !secret.is_empty()) {
        let escaped = Value::from(*secret).to_string();
        for written in [*secret, escaped.trim_matches('"')] {
            clean = if secret.len() < SHORTEST_KEY {
                replace_word(&clean, written)
            } else {
                clean.replace(written, REDACTED)
            };
        }
    }
    let mut out = String::with_capacity(clean.len());
    let mut after_bearer = false;
    for piece in clean.split_inclusive(|c: char| !is_key_char(c)) {
        let word = piece.trim_end_matches(|c: char| !is_key_char(c));
        if looks_like_a_key(word) || (after_bearer && word.len() >= SHORTEST_KEY) {
            out.push_str(REDACTED);
        } else {
            out.push_str(word);
        }
        if !word.is_empty() {
            after_bearer = word.eq_ignore_ascii_case("bearer");
        }
        out.push_str(piece.strip_prefix(word).unwrap_or_default());
    }
    out
}

fn looks_like_a_key(word: &str) -> bool {
    let long = |rest: &str| rest.len() >= SHORTEST_KEY;
    let mut prefixes = KEY_PREFIXES.iter();
    prefixes.any(|prefix| word.strip_prefix(prefix).is_some_and(long))
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
        out.push_str(if inside { word } else { REDACTED });
        rest = after;
    }
    out.push_str(rest);
    out
}

/// `*` is part of a key because providers mask the middle of the keys they quote. `=` is none: in
/// `KEY=value` the key begins after it.
const fn is_key_char(c: char) -> bool {
    c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.' | '*' | '+')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn known_secrets_and_what_looks_like_a_key_are_redacted() {
        let known = ["hunter2", ""];
        let cases = [
            ("password=hunter2!", "password=[redacted]!"),
            ("key sk-proj-abcdefghijklmnop, ok", "key [redacted], ok"),
            ("OPENAI_API_KEY=sk-abcdef", "OPENAI_API_KEY=[redacted]"),
            ("Bearer gsk_0123456789abcdef\n", "Bearer [redacted]\n"),
            ("sk-abc stays, äöü stays", "sk-abc stays, äöü stays"),
            ("sk-abcd goes", "[redacted] goes"),
            ("", ""),
        ];
        for (text, expected) in cases {
            assert_eq!(redact(text, &known), expected);
        }
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
    fn ordinary_text_is_left_alone() {
        let text = "The model `gpt-5` does not exist — é 漢字 key-value sk- eye";
        assert_eq!(redact(text, &[]), text);
    }
}
