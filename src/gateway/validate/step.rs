//! What a dialect says of one event, and of the end of a stream.

use serde_json::Value;

use super::delta::Delta;

/// What becomes of one event.
#[derive(Debug)]
pub(super) enum Step<'a> {
    Pass,
    /// Passes, and says nothing but this piece of a text.
    Delta(Delta<'a>),
    /// Passes behind these events.
    Behind(String),
    /// The child's client could not read it.
    Drop,
    Bad(&'static str),
    /// The provider's own error.
    Failed,
}

/// How a stream ended.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Ending {
    Whole,
    /// With these events it is whole.
    Mended(String),
    Bad(&'static str),
}

/// An event as the two dialects write it that name their events.
pub(super) fn named(event: &Value) -> String {
    let kind = event["type"].as_str().unwrap_or_default();
    format!("event: {kind}\ndata: {event}\n\n")
}
