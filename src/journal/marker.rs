//! A small file that says that events were shown which may never have reached the database.
//!
//! It is created while there is room on the disk, so that setting it needs none, and it is written in place. The lock on
//! it also keeps two processes from writing one database.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::{FileExt as _, OpenOptionsExt as _};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use parking_lot::Mutex;
use rustix::fs::{FlockOperation, flock};

pub(super) const NAME: &str = "degraded";

/// A block, so that nothing is allocated when it is written again.
const SIZE: usize = 4096;
const SET: &[u8] = b"events were shown that may not be in the database\n";

#[derive(Debug)]
pub(super) struct Marker {
    file: File,
    /// What it should say. Whoever changes this writes the file afterwards, so the last write is right.
    wanted: AtomicBool,
    /// Held for a write into the page cache, but not for the sync, which takes minutes on a disk that hangs: the page
    /// cache outlives the process.
    writing: Mutex<()>,
}

// === impl Marker ===

impl Marker {
    /// Opens it, or creates it. The lock on it is held until it is dropped.
    pub(super) fn open(dir: &Path) -> io::Result<Self> {
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .open(dir.join(NAME))?;
        flock(&file, FlockOperation::NonBlockingLockExclusive).map_err(|_| {
            io::Error::other(
                "another process has it open; end that one, or give each a DATA_DIR of its own",
            )
        })?;
        let mut text = [0; SET.len()];
        let is_whole = file.metadata()?.len() == SIZE as u64;
        let is_set = is_whole && file.read_exact_at(&mut text, 0).is_ok() && text == *SET;
        let marker = Self {
            file,
            wanted: AtomicBool::new(is_set),
            writing: Mutex::default(),
        };
        if !is_whole {
            marker.write()?;
        }
        Ok(marker)
    }

    pub(super) fn is_set(&self) -> bool {
        self.wanted.load(Ordering::SeqCst)
    }

    /// On disk when this returns.
    pub(super) fn set(&self, wanted: bool) -> io::Result<()> {
        self.want(wanted);
        self.write()
    }

    /// What it should say from now on. [`write`](Self::write) has to follow.
    pub(super) fn want(&self, wanted: bool) {
        self.wanted.store(wanted, Ordering::SeqCst);
    }

    /// Writes what it should say.
    pub(super) fn write(&self) -> io::Result<()> {
        self.write_to_page_cache()?;
        self.file.sync_data()
    }

    fn write_to_page_cache(&self) -> io::Result<()> {
        let _writing = self.writing.lock();
        let mut block = [b' '; SIZE];
        if self.is_set() {
            block[..SET.len()].copy_from_slice(SET);
        }
        self.file.write_all_at(&block, 0)
    }

    /// Sets it on a thread of its own and waits at most so long: the disk may be what hangs.
    pub(super) fn set_within(self: &Arc<Self>, limit: Duration) {
        self.want(true);
        let (done_tx, done_rx) = mpsc::sync_channel(1);
        let marker = Arc::clone(self);
        let started = thread::Builder::new()
            .name("journal-mark".into())
            .spawn(move || done_tx.send(marker.write()).ok());
        let done = match started {
            Ok(_) => done_rx.recv_timeout(limit).unwrap_or(Ok(())),
            Err(error) => Err(error),
        };
        if let Err(error) = done {
            tracing::warn!(%error, "the journal's marker cannot be written");
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use super::*;

    fn until<T, E: std::fmt::Display>(look: impl Fn() -> Result<T, E>) -> T {
        let deadline = Instant::now() + Duration::from_secs(10);
        loop {
            match look() {
                Ok(found) => return found,
                Err(error) => assert!(Instant::now() < deadline, "{error}"),
            }
            thread::yield_now();
        }
    }

    #[test]
    fn it_says_after_a_restart_what_it_was_told_and_never_grows() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join(NAME);
        for set in [false, true, true, false, true] {
            let marker = Marker::open(dir.path()).unwrap();
            assert_eq!(std::fs::metadata(&path).unwrap().len(), SIZE as u64);
            marker.set(set).unwrap();
            drop(marker);
            assert_eq!(Marker::open(dir.path()).unwrap().is_set(), set);
        }
    }

    #[test]
    fn one_that_was_cut_short_is_made_whole() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join(NAME), "x").unwrap();
        assert!(!Marker::open(dir.path()).unwrap().is_set());
        assert_eq!(
            std::fs::metadata(dir.path().join(NAME)).unwrap().len(),
            SIZE as u64
        );
    }

    #[test]
    fn only_one_process_has_it() {
        let dir = tempfile::tempdir().unwrap();
        let first = Marker::open(dir.path()).unwrap();
        let refused = Marker::open(dir.path()).unwrap_err().to_string();
        assert!(
            refused.starts_with("another process has it open"),
            "{refused}"
        );
        drop(first);
        Marker::open(dir.path()).unwrap();
    }

    #[test]
    fn the_watchdog_sets_it_though_an_earlier_write_hangs() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join(NAME);
        let marker = Arc::new(Marker::open(dir.path()).unwrap());
        // The writer is in the middle of unsetting it: its sync has not come back.
        marker.set(true).unwrap();
        marker.want(false);
        marker.write_to_page_cache().unwrap();
        marker.set_within(Duration::ZERO);
        assert!(marker.is_set(), "whenever its thread has its turn");
        let says = |wanted| {
            let is_set = std::fs::read(&path).unwrap().starts_with(SET);
            (is_set == wanted)
                .then_some(())
                .ok_or("it says something else")
        };
        until(|| says(true));
        // The disk is back. The writer's sync writes nothing that the watchdog did not.
        marker.file.sync_data().unwrap();
        until(|| says(true));
        marker.set(false).unwrap();
        until(|| says(false));
    }

    #[test]
    fn the_watchdog_s_way_sets_it_too() {
        let dir = tempfile::tempdir().unwrap();
        let marker = Arc::new(Marker::open(dir.path()).unwrap());
        marker.set_within(Duration::from_secs(10));
        marker.set(false).unwrap();
        assert!(!marker.is_set());
        marker.set_within(Duration::from_secs(10));
        drop(marker);
        // The thread lets go of it after it has answered.
        assert!(until(|| Marker::open(dir.path())).is_set());
    }
}
