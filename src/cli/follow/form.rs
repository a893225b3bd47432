//! In which form a session is followed, and how far.

/// What is written of each event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::cli) enum Form {
    /// For a person.
    Text,
    /// One line of JSON.
    Json,
    /// As the stream has it.
    Raw,
    /// Nothing but the last message.
    Answer,
}

/// When it is over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::cli) enum Until {
    /// The turn's end, which also is the exit code.
    TurnEnds,
    /// The session is idle.
    Idle,
    /// The event with this number was shown.
    Number(u64),
}
