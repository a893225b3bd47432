//! What can be wrong with the database, by what is to be done about it.

use std::fmt;
use std::io;

use rusqlite::ErrorCode;

#[derive(Debug)]
pub(super) enum Fault {
    /// Its pages make no sense: it is put aside, and a new one begins.
    Damaged(String),
    /// A newer version of this program wrote it: likewise.
    Newer(i64),
    /// It may go better with the files opened anew: the volume went away, or came back.
    Stale(String),
    /// The disk is full. It may go better the next time.
    Full(String),
    /// It may go better the next time: somebody else has it.
    Trouble(String),
}

// === impl Fault ===

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Damaged(text) | Self::Stale(text) | Self::Full(text) | Self::Trouble(text) => {
                f.write_str(text)
            }
            Self::Newer(version) => {
                write!(
                    f,
                    "its schema has version {version}, which is newer than ours"
                )
            }
        }
    }
}

impl From<rusqlite::Error> for Fault {
    fn from(error: rusqlite::Error) -> Self {
        let text = error.to_string();
        match error.sqlite_error_code() {
            _ if is_damage(&error) => Self::Damaged(text),
            Some(ErrorCode::DiskFull) => Self::Full(text),
            Some(ErrorCode::DatabaseBusy) => Self::Trouble(text),
            _ => Self::Stale(text),
        }
    }
}

impl From<io::Error> for Fault {
    fn from(error: io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::StorageFull => Self::Full(error.to_string()),
            _ => Self::Trouble(error.to_string()),
        }
    }
}

pub(super) fn is_damage(error: &rusqlite::Error) -> bool {
    matches!(
        error.sqlite_error_code(),
        Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase)
    ) || matches!(
        // The schema holds the types; a value of another one is a page gone wrong.
        error,
        rusqlite::Error::InvalidColumnType(..)
            | rusqlite::Error::FromSqlConversionFailure(..)
            | rusqlite::Error::IntegralValueOutOfRange(..)
    )
}
