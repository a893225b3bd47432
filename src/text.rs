//! Words for people: small things that every message needs.

/// What the system said, without the "(os error 13)" that helps nobody.
pub(crate) fn plain(message: &str) -> String {
    let end = message.find(" (os error").unwrap_or(message.len());
    message.get(..end).unwrap_or(message).to_lowercase()
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
