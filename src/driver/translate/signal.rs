//! What the driver must act on, besides the events it publishes.

use std::sync::Arc;

use crate::session::AskKind;

/// Something the driver must do or know.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Signal {
    /// The root session says it is idle: ask whether the turn has ended (`driver::ending`).
    Idle,
    /// The root session failed: ask as well, because sometimes no idle follows.
    Failed,
    /// A subagent began; its events and model calls belong to this session.
    SubagentStarted {
        session: String,
        parent: String,
    },
    /// A person is asked.
    AskWaits {
        request: String,
    },
    /// A rule gave an answer, which is to be sent.
    AskDecided {
        request: String,
    },
    /// A request has ended that OpenCode may still list.
    AskOrphaned {
        request: String,
        kind: AskKind,
    },
    /// The same tool call was made this many times in a row.
    ToolRepeated {
        tool: Arc<str>,
        times: u32,
    },
    /// Durable events after `after` are missing: ask the history.
    SequenceGap {
        session: String,
        after: Option<u64>,
    },
    /// A part's final text does not begin with what was published of it; nothing can mend that.
    TextDiverged {
        part: String,
    },
    SessionDeleted,
    /// Every run in the session's directory was aborted.
    Disposed,
}
