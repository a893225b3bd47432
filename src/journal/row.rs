//! A session as the journal keeps it.

/// One row of the table of sessions.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Row {
    /// Sessions are numbered in the order in which they are created; the number is the key in the database.
    pub(crate) number: u64,
    pub(crate) id: String,
    /// The epoch of its event log: 10 characters `[0-9a-z]`.
    pub(crate) epoch: String,
    /// OpenCode's own id.
    pub(crate) remote_id: Option<String>,
    /// As the contract spells it.
    pub(crate) state: String,
    /// When the session's last turn ended, in milliseconds since 1970; nothing while one runs.
    pub(crate) ended: Option<u64>,
    /// The idempotency key, by which the session is found again.
    pub(crate) key: Option<String>,
    /// The last turn whose end the backend was told of.
    pub(crate) reported: u32,
    pub(crate) turn: u32,
    /// Everything else, as JSON that only the session module reads.
    pub(crate) details: String,
}

/// A row, and which of its events are on disk.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Stored {
    pub(crate) row: Row,
    /// The oldest event kept; `last + 1` if none is.
    pub(crate) oldest: u64,
    /// The last event; 0 if there never was one.
    pub(crate) last: u64,
}

/// A session that retention removed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Removed {
    pub(crate) number: u64,
    pub(crate) id: String,
    pub(crate) remote_id: Option<String>,
}

/// A prompt of a session, as the journal keeps it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct PromptRow {
    /// By which the session knows it.
    pub(crate) id: String,
    pub(crate) turn: u32,
    /// It waits for its turn, or the agent may not have it yet. One that does neither is kept only for its key.
    pub(crate) waits: bool,
    /// The idempotency key, by which the prompt is found again.
    pub(crate) key: Option<String>,
    /// Everything else, as JSON that only the session module reads.
    pub(crate) details: String,
}

/// What was in the database when it was opened.
#[derive(Clone, Debug, Default)]
pub(crate) struct Opened {
    /// Sessions whose turn had not ended, with the notes of that turn.
    pub(crate) unfinished: Vec<(Stored, Vec<(String, u64)>)>,
    /// Sessions with prompts that wait, each with its own in the order of their turns.
    pub(crate) waiting: Vec<(Stored, Vec<PromptRow>)>,
    /// The largest number that was ever given to a session.
    pub(crate) last_number: u64,
}
