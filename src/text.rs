//! Words for people: small things that every message needs.

/// What the system said, without the "(os error 13)" that helps nobody.
pub(crate) fn plain(message: &str) -> String {
    let end = message.find(" (os error").unwrap_or(message.len());
    message.get(..end).unwrap_or(message).to_lowercase()
}
