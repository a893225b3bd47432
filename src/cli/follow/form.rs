//! In which form a session is followed, how far, and whose turn it is.

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

/// Whose turn is followed, which says what Ctrl-C may do with it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::cli) enum Owner {
    /// Somebody else's: this command can only leave.
    Others,
    /// This command began it. It is stopped, or goes on without the command.
    This,
    /// This command began it on a sidecar that ends with the command, and so does the turn.
    ThisWithItsServer,
}

// === impl Owner ===

impl Owner {
    pub(in crate::cli) const fn may_stop(self) -> bool {
        !matches!(self, Self::Others)
    }

    pub(in crate::cli) const fn may_detach(self) -> bool {
        matches!(self, Self::This)
    }
}
