//! Why a call to the child failed.

use std::time::Duration;

/// One failed call. The text reads after "failed to".
#[derive(Debug, thiserror::Error)]
pub(crate) enum CallError {
    /// Nothing came within the deadline.
    #[error("{call}: no answer within {}", seconds(*.after))]
    Deadline { call: &'static str, after: Duration },
    /// The connection could not be made, or broke.
    #[error("{call}: {reason}")]
    Connection { call: &'static str, reason: String },
    /// An answer that is not a success.
    #[error("{call}: OpenCode answered {status}{}", detail(.body))]
    Status {
        call: &'static str,
        status: u16,
        body: String,
    },
    /// More than we are ready to hold.
    #[error("{call}: the answer is larger than {most} bytes")]
    TooLarge { call: &'static str, most: usize },
    /// A success whose body is not what we know.
    #[error("{call}: OpenCode's answer was not understood: {reason}")]
    Body { call: &'static str, reason: String },
}

fn seconds(duration: Duration) -> String {
    if duration < Duration::from_secs(1) {
        format!("{} ms", duration.as_millis())
    } else {
        format!("{} s", duration.as_secs())
    }
}

fn detail(body: &str) -> String {
    if body.is_empty() {
        String::new()
    } else {
        format!(": {body}")
    }
}

/// The innermost reason: "connection refused" says more than "error sending request".
pub(super) fn root_cause(error: &dyn std::error::Error) -> String {
    let mut cause = error;
    while let Some(source) = cause.source() {
        cause = source;
    }
    crate::text::plain(&cause.to_string())
}
