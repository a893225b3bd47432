//! How much of a conversation one answer may hold.

use serde_json::Value;
use serde_json::value::RawValue;

use crate::event::{MAX_DATA, ResultBody, cut};

/// One text: as much as an event may have.
pub(super) const MAX_TEXT: usize = MAX_DATA;

/// What one string may keep of a tool's arguments that are longer than [`MAX_TEXT`].
const MAX_ARGUMENT: usize = 16 << 10;

/// All texts of one answer together. What does not fit is on the next page.
pub(super) const MAX_PAGE: usize = 8 << 20;

/// Cuts a text to its bound. Whether something was cut off.
pub(super) fn cut_text(text: &mut String) -> bool {
    let too_long = text.len() > MAX_TEXT;
    if too_long {
        text.truncate(text.floor_char_boundary(MAX_TEXT));
    }
    too_long
}

/// The same of what a tool gave.
pub(super) fn cut_result(result: &mut ResultBody) -> bool {
    match result {
        ResultBody::Command { stdout, stderr, .. } => cut_text(stdout) | cut_text(stderr),
        ResultBody::Content { content } => cut_text(content),
        ResultBody::Output { output, .. } => cut_text(output),
        ResultBody::Error { error } => cut_text(error),
    }
}

/// The arguments of a tool within their bound, and whether something was cut off.
pub(super) fn arguments(json: &str) -> (Box<RawValue>, bool) {
    if json.len() <= MAX_TEXT {
        return (raw(json.to_owned()), false);
    }
    // Nested deeper than the parser goes: then nothing of it.
    let mut value = serde_json::from_str(json).unwrap_or(Value::Null);
    cut(&mut value, MAX_ARGUMENT);
    let shorter = value.to_string();
    let fits = shorter.len() <= MAX_TEXT;
    (raw(if fits { shorter } else { "{}".into() }), true)
}

fn raw(json: String) -> Box<RawValue> {
    RawValue::from_string(json).unwrap_or_default()
}

/// How many bytes of text `result` has.
pub(super) fn result_bytes(result: &ResultBody) -> usize {
    match result {
        ResultBody::Command { stdout, stderr, .. } => stdout.len() + stderr.len(),
        ResultBody::Content { content } => content.len(),
        ResultBody::Output { output, .. } => output.len(),
        ResultBody::Error { error } => error.len(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_text_is_cut_between_characters() {
        let mut text = "ü".repeat(MAX_TEXT);
        assert!(cut_text(&mut text));
        assert!(text.len() <= MAX_TEXT && text.chars().all(|c| c == 'ü'));
        assert!(!cut_text(&mut text));
    }

    #[test]
    fn long_arguments_keep_the_start_of_each_string() {
        let long = serde_json::json!({ "filePath": "/w/a", "content": "x".repeat(MAX_TEXT) });
        let (args, truncated) = arguments(&long.to_string());
        assert!(truncated && args.get().len() < 2 * MAX_ARGUMENT);
        assert!(args.get().contains("/w/a") && args.get().contains("xxx"));
        let (args, truncated) = arguments(r#"{"a":1}"#);
        assert!(!truncated && args.get() == r#"{"a":1}"#);
    }
}
