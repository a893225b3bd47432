//! Names of things: as types, so that one cannot be passed for another, and what a session's may be.

use std::fmt;

/// Which life of the child process this is: 1, 2, 3, …, one more with every spawn.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Generation(u64);

const MAX_ID: usize = 128;

/// Whether this may be a session's id. The contract's are UUIDs; anything else that is harmless in a path
/// is taken too.
pub(crate) fn is_id(id: &str) -> bool {
    let harmless = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
    (1..=MAX_ID).contains(&id.len()) && id.bytes().all(harmless) && !id.starts_with('.')
}

// === impl Generation ===

impl Generation {
    #[must_use]
    pub(crate) const fn next(self) -> Self {
        Self(self.0 + 1)
    }

    pub(crate) const fn get(self) -> u64 {
        self.0
    }
}

impl fmt::Display for Generation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}
