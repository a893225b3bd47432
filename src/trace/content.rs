//! What was said, for whoever asked for it: without what looks like a key, and not without end.

use serde_json::json;

use crate::secret::redact;

/// More of one text is cut.
const MAX: usize = 8 * 1024;

/// A text as it may leave.
pub(super) fn text(text: &str) -> String {
    let mut text = redact(text, &[]);
    if text.len() > MAX {
        let end = text.floor_char_boundary(MAX);
        text.truncate(end);
        text.push('…');
    }
    text
}

/// One message, in the form of the conventions.
pub(super) fn message(role: &str, words: &str) -> String {
    let part = json!({ "type": "text", "content": text(words) });
    json!([{ "role": role, "parts": [part] }]).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_looks_like_a_key_goes_and_a_long_text_is_cut() {
        let said = message("user", "use sk-abcdefghijklmnopqrst now");
        assert!(!said.contains("abcdefgh"), "{said}");
        assert!(said.contains("use [redacted] now"), "{said}");
        let long = text(&"ü".repeat(MAX));
        assert!(long.len() <= MAX + 3 && long.ends_with('…'));
    }
}
