//! What a session's calls are doing: the vocabulary of the meter and its reader.

use std::time::SystemTime;

/// What a session's calls are doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Wait {
    /// No call is under way.
    Idle,
    /// A call was sent and nothing has come back; it is given up at `deadline`.
    Provider {
        since: SystemTime,
        deadline: SystemTime,
    },
    /// An answer is coming in.
    Answering {
        since: SystemTime,
        /// Those of the answer so far, and when the last of them came.
        bytes: u64,
        last_byte: SystemTime,
    },
    /// The provider asked for a pause; the child calls again at about `until`.
    Retry { until: SystemTime },
}
