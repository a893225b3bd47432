//! Words for people: small things that every message needs.

/// What the system said, without the "(os error 13)" that helps nobody.
pub(crate) fn plain(message: &str) -> String {
    let end = message.find(" (os error").unwrap_or(message.len());
    message.get(..end).unwrap_or(message).to_lowercase()
}

/// The end of `text`: at most so many bytes, in whole characters.
pub(crate) fn tail(text: &str, most: usize) -> &str {
    let from = text.len().saturating_sub(most);
    let from = (from..=text.len()).find(|at| text.is_char_boundary(*at));
    from.and_then(|from| text.get(from..)).unwrap_or_default()
}

/// Bytes as digits, two for each.
pub(crate) fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write as _;
    bytes.iter().fold(String::new(), |mut text, byte| {
        // Writing to a string cannot fail.
        write!(text, "{byte:02x}").ok();
        text
    })
}
