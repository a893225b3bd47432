//! Whether the agent's working directory can be used. One check a second, kept for whoever asks.
//!
//! The check may hang (a network file system does), so it runs off the async threads and its silence
//! counts as a failure. Nobody waits for the disk: readers take the last answer.

pub(crate) mod file;

use std::fs::Metadata;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use rustix::fs::{Access, AtFlags, CWD, StatVfsMountFlags};
use tokio::sync::watch;
use tokio::time::MissedTickBehavior;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// Often enough for an answer that is never older than two seconds.
const INTERVAL: Duration = Duration::from_secs(1);

/// A check that takes longer than this counts as failed; the next one starts when it is back.
const DEADLINE: Duration = Duration::from_millis(900);

/// `Err` says what is wrong, in words for a person.
pub(crate) type Verdict = Result<(), String>;

/// A verdict and its age.
#[derive(Clone, Debug)]
pub(crate) struct Checked {
    at: Instant,
    /// `None` until the first check is done.
    verdict: Option<Verdict>,
    /// How many checks in a row have found that it cannot be used. Silence is not counted: a network file
    /// system that hangs comes back.
    unusable: u32,
}

/// The latest verdict.
pub(crate) type Watch = watch::Receiver<Checked>;

/// So many checks in a row say that the directory is lost, and not replaced at this moment.
const LOST: u32 = 3;

/// An answer older than this is no answer.
const STALE: Duration = Duration::from_secs(2);

// === impl Checked ===

impl Checked {
    /// What is wrong, if anything is known to be; an old answer is no answer.
    pub(crate) fn problem(&self) -> Option<String> {
        let age = self.at.elapsed();
        match &self.verdict {
            Some(Err(reason)) => Some(reason.clone()),
            _ if age > STALE => Some(format!("the last check is {} s old", age.as_secs())),
            _ => None,
        }
    }

    /// What is wrong, for a client.
    pub(crate) fn sentence(&self) -> Option<String> {
        let reason = self.problem()?;
        Some(format!("workspace not accessible: {reason}"))
    }

    /// The same, once nothing that works in the directory can go on.
    pub(crate) fn lost(&self) -> Option<String> {
        (self.unusable >= LOST).then(|| self.sentence()).flatten()
    }

    pub(crate) fn is_ok(&self) -> bool {
        self.verdict.is_some() && self.problem().is_none()
    }
}

/// Why a file or a directory of the workspace cannot be used.
#[derive(Debug, thiserror::Error)]
pub(crate) enum FileError {
    #[error("there is no such file in the workspace")]
    Missing,
    #[error("is outside the workspace, or a link that leads out of it")]
    Outside,
    #[error("is not a regular file")]
    NotAFile,
    #[error("is not a directory")]
    NotADirectory,
    #[error("the workspace did not answer in time")]
    Silent,
}

/// How long the workspace may take to say where a file is.
const FILE_DEADLINE: Duration = Duration::from_secs(2);

/// The absolute path of a regular file in `workspace`, with every link in it followed. It may change as soon as this
/// returns: the agent writes there.
pub(crate) async fn resolve_file(workspace: &Path, path: &Path) -> Result<PathBuf, FileError> {
    match resolve(workspace, path).await? {
        (file, metadata) if metadata.is_file() => Ok(file),
        _ => Err(FileError::NotAFile),
    }
}

/// The same of a directory: the workspace itself, or one below it.
pub(crate) async fn resolve_dir(workspace: &Path, path: &Path) -> Result<PathBuf, FileError> {
    match resolve(workspace, path).await? {
        (dir, metadata) if metadata.is_dir() => Ok(dir),
        _ => Err(FileError::NotADirectory),
    }
}

async fn resolve(workspace: &Path, path: &Path) -> Result<(PathBuf, Metadata), FileError> {
    let (workspace, path) = (workspace.to_owned(), path.to_owned());
    let looking = tokio::task::spawn_blocking(move || {
        let workspace = workspace.canonicalize().map_err(|_| FileError::Missing)?;
        let file = workspace.join(path).canonicalize();
        let file = file.map_err(|_| FileError::Missing)?;
        if !file.starts_with(&workspace) {
            return Err(FileError::Outside);
        }
        let metadata = std::fs::metadata(&file).map_err(|_| FileError::Missing)?;
        Ok((file, metadata))
    });
    match tokio::time::timeout(FILE_DEADLINE, looking).await {
        Ok(Ok(found)) => found,
        Ok(Err(_)) | Err(_) => Err(FileError::Silent),
    }
}

/// Starts the checks.
pub(crate) fn spawn(path: &Path, tracker: &TaskTracker, stop: CancellationToken) -> Watch {
    let (verdict_tx, verdict_rx) = watch::channel(Checked {
        at: Instant::now(),
        verdict: None,
        unusable: 0,
    });
    tracker.spawn(run(path.to_owned(), verdict_tx, stop));
    verdict_rx
}

async fn run(path: PathBuf, verdict_tx: watch::Sender<Checked>, stop: CancellationToken) {
    let mut ticks = tokio::time::interval(INTERVAL);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let watch = async {
        loop {
            ticks.tick().await;
            let target = path.clone();
            let mut check = tokio::task::spawn_blocking(move || check(&target));
            let in_time = tokio::time::timeout(DEADLINE, &mut check).await;
            if in_time.is_err() {
                let silent = format!("{} does not answer", path.display());
                publish(&verdict_tx, Err(silent), 0);
            }
            // One check at a time: a mount that hangs must not eat the thread pool.
            let done = match in_time {
                Ok(done) => done,
                Err(_) => check.await,
            };
            let verdict = done.unwrap_or_else(|_| Err("the check failed".into()));
            let unusable = match &verdict {
                Ok(()) => 0,
                Err(_) => verdict_tx.borrow().unusable + 1,
            };
            publish(&verdict_tx, verdict, unusable);
        }
    };
    stop.run_until_cancelled(watch).await;
}

fn publish(verdict_tx: &watch::Sender<Checked>, verdict: Verdict, unusable: u32) {
    let changed = verdict_tx.borrow().verdict.as_ref() != Some(&verdict);
    if changed {
        match &verdict {
            Ok(()) => tracing::info!("the workspace is accessible"),
            Err(reason) => tracing::warn!(reason, "the workspace is not accessible"),
        }
    }
    verdict_tx.send_replace(Checked {
        at: Instant::now(),
        verdict: Some(verdict),
        unusable,
    });
}

/// A directory that this user can list, enter and write. Writes nothing: a file every second would
/// wake every watcher in the workspace.
pub(crate) fn check(path: &Path) -> Verdict {
    let shown = path.display();
    let metadata = match std::fs::metadata(path) {
        Ok(metadata) => metadata,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            return Err(format!(
                "{shown} does not exist; mount the volume there or set WORKSPACE_DIR"
            ));
        }
        Err(error) => return Err(format!("{shown}: {error}")),
    };
    if !metadata.is_dir() {
        return Err(format!("{shown} is not a directory"));
    }
    if rustix::fs::statvfs(path).is_ok_and(|fs| fs.f_flag.contains(StatVfsMountFlags::RDONLY)) {
        return Err(format!("{shown} is mounted read-only"));
    }
    let wanted = Access::READ_OK | Access::WRITE_OK | Access::EXEC_OK;
    rustix::fs::accessat(CWD, path, wanted, AtFlags::empty()).map_err(|_| {
        format!(
            "{shown} belongs to {}:{} with mode {:04o}, and this process runs as {}:{} without read and write access; \
             set fsGroup or the volume's owner",
            metadata.uid(),
            metadata.gid(),
            metadata.mode() & 0o7777,
            rustix::process::geteuid().as_raw(),
            rustix::process::getegid().as_raw(),
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_directory_of_ours_is_fine() {
        assert_eq!(check(tempfile::tempdir().unwrap().path()), Ok(()));
    }

    #[test]
    fn what_is_wrong_is_said_in_words() {
        let dir = tempfile::tempdir().unwrap();
        let missing = check(&dir.path().join("gone")).unwrap_err();
        assert!(
            missing.ends_with("gone does not exist; mount the volume there or set WORKSPACE_DIR"),
            "{missing}"
        );
        let file = dir.path().join("file");
        std::fs::write(&file, "").unwrap();
        let file = check(&file).unwrap_err();
        assert!(file.ends_with("file is not a directory"), "{file}");
    }
}
