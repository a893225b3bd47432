//! What can be wrong with the database, distinguished by what is to be done about it.

use std::fmt;
use std::fs::{self, File};
use std::io::{self, Write as _};
use std::path::Path;

use rusqlite::ErrorCode;

#[derive(Debug)]
pub(super) enum StoreError {
    /// Its pages make no sense: it is moved to quarantine, and a new one begins.
    Damaged(String),
    /// A newer version of this program wrote it: likewise.
    Newer(i64),
    /// It may work with the files opened anew: the volume went away, or came back.
    NeedsReopen(String),
    /// The disk is full, or our quota of it is used up. It may work the next time.
    Full(String),
    /// It may work the next time: somebody else uses it.
    Temporary(String),
}

// === impl StoreError ===

impl StoreError {
    /// SQLite reports a quota that is used up as a failure of the disk. What `write` meets when it is tried tells the
    /// two apart. Returns nothing if the error is what SQLite says it is.
    pub(super) fn diagnose(&self, write: impl FnOnce() -> io::Result<()>) -> Option<Self> {
        let Self::NeedsReopen(text) = self else {
            return None;
        };
        let error = write().err().filter(is_full)?;
        Some(Self::Full(format!("{text}: {error}")))
    }
}

impl fmt::Display for StoreError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Damaged(text)
            | Self::NeedsReopen(text)
            | Self::Full(text)
            | Self::Temporary(text) => f.write_str(text),
            Self::Newer(version) => {
                write!(
                    f,
                    "its schema has version {version}, which is newer than ours"
                )
            }
        }
    }
}

impl From<rusqlite::Error> for StoreError {
    fn from(error: rusqlite::Error) -> Self {
        let text = error.to_string();
        match error.sqlite_error_code() {
            _ if is_damage(&error) => Self::Damaged(text),
            Some(ErrorCode::DiskFull) => Self::Full(text),
            Some(ErrorCode::DatabaseBusy) => Self::Temporary(text),
            _ => Self::NeedsReopen(text),
        }
    }
}

impl From<io::Error> for StoreError {
    fn from(error: io::Error) -> Self {
        if is_full(&error) {
            Self::Full(error.to_string())
        } else {
            Self::Temporary(error.to_string())
        }
    }
}

/// A quota that is used up is a full disk to whoever wants to write.
fn is_full(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded
    )
}

/// Writes and removes a small file in `dir`.
pub(super) fn probe_write(dir: &Path) -> io::Result<()> {
    let path = dir.join("probe");
    let written = File::create(&path).and_then(|mut file| {
        file.write_all(&vec![0; PROBE_BYTES])?;
        file.sync_data()
    });
    let removed = fs::remove_file(&path);
    written.and(removed)
}

/// More than a file system keeps in an inode or in the last block of another file.
const PROBE_BYTES: usize = 64 << 10;

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

#[cfg(test)]
mod tests {
    use rustix::io::Errno;

    use super::*;

    fn system(errno: Errno) -> io::Error {
        io::Error::from_raw_os_error(errno.raw_os_error())
    }

    #[test]
    fn a_quota_that_is_used_up_is_a_full_disk() {
        for full in [Errno::NOSPC, Errno::DQUOT] {
            assert!(
                matches!(StoreError::from(system(full)), StoreError::Full(_)),
                "{full}"
            );
        }
        assert!(matches!(
            StoreError::from(system(Errno::IO)),
            StoreError::Temporary(_)
        ));
    }

    /// What SQLite says of `EDQUOT`.
    #[test]
    fn an_error_of_the_disk_is_diagnosed_before_the_files_are_opened_anew() {
        let stale = || StoreError::NeedsReopen("disk I/O error".into());
        for full in [Errno::NOSPC, Errno::DQUOT] {
            let looked = stale().diagnose(|| Err(system(full)));
            assert!(matches!(looked, Some(StoreError::Full(_))), "{full}");
        }
        assert!(stale().diagnose(|| Err(system(Errno::IO))).is_none());
        assert!(stale().diagnose(|| Ok(())).is_none());
        let damaged = StoreError::Damaged("malformed".into());
        assert!(damaged.diagnose(|| Err(system(Errno::DQUOT))).is_none());
        let dir = tempfile::tempdir().unwrap();
        assert!(probe_write(dir.path()).is_ok());
        assert_eq!(
            fs::read_dir(dir.path()).unwrap().count(),
            0,
            "nothing stays"
        );
        assert!(probe_write(&dir.path().join("nowhere")).is_err());
    }
}
