//! Whether the files and folders that settings name can be used.

use std::fs::File;
use std::path::{Path, PathBuf};

use rustix::fs::{Access, AtFlags, CWD, FlockOperation};

/// Why a data directory cannot be taken.
#[derive(Debug, thiserror::Error)]
pub(crate) enum LockError {
    #[error("DATA_DIR={0:?} is in use by another opencode-sidecar; give each its own")]
    Taken(PathBuf),
    #[error("DATA_DIR={0:?} cannot be locked: {1}")]
    Failed(PathBuf, String),
}

/// Makes the data directory ours until the file is dropped. Two sidecars on one would kill each
/// other's children and share one database.
pub(crate) fn lock(data_dir: &Path) -> Result<File, LockError> {
    let failed = |error: std::io::Error| {
        LockError::Failed(data_dir.into(), crate::text::plain(&error.to_string()))
    };
    let file = File::create(data_dir.join("lock")).map_err(failed)?;
    match rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => Ok(file),
        Err(rustix::io::Errno::WOULDBLOCK) => Err(LockError::Taken(data_dir.into())),
        Err(error) => Err(failed(error.into())),
    }
}

/// Whether this user can make files in `path`.
pub(crate) fn writable(path: &Path) -> std::io::Result<()> {
    Ok(rustix::fs::accessat(
        CWD,
        path,
        Access::WRITE_OK | Access::EXEC_OK,
        AtFlags::empty(),
    )?)
}

/// Whether `path` is a file this user can run; if not, why.
pub(crate) fn executable(path: &Path) -> Result<(), &'static str> {
    let metadata = std::fs::metadata(path).map_err(|error| match error.kind() {
        std::io::ErrorKind::PermissionDenied => "this user may not look at it",
        _ => "there is no such file",
    })?;
    if !metadata.is_file() {
        return Err("it is not a file");
    }
    rustix::fs::accessat(CWD, path, Access::EXEC_OK, AtFlags::empty())
        .map_err(|_| "this user may not execute it")
}
