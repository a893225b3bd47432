//! A small file that says: events were shown that may never have reached the database.
//!
//! It is made when there is room, so that marking needs none, and it is written in place. It also keeps
//! two processes from writing one database.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::{FileExt as _, OpenOptionsExt as _};
use std::path::Path;
use std::sync::Arc;
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
    /// What it should say. Whoever writes, writes this: so what is written last is right, even if a
    /// write of the watchdog's took minutes.
    wanted: Mutex<bool>,
    /// Held while it is written; what it says, unless a write failed half way.
    written: Mutex<Option<bool>>,
}

// === impl Marker ===

impl Marker {
    /// Opens it, or makes it; the lock on it is held until it is dropped.
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
        let mut said = [0; SET.len()];
        let whole = file.metadata()?.len() == SIZE as u64;
        let set = whole && file.read_exact_at(&mut said, 0).is_ok() && said == *SET;
        if !whole {
            write_block(&file, false)?;
            file.sync_data()?;
        }
        Ok(Self {
            file,
            wanted: Mutex::new(set),
            written: Mutex::new(Some(set)),
        })
    }

    pub(super) fn is_set(&self) -> bool {
        *self.wanted.lock()
    }

    /// On disk when this returns.
    pub(super) fn set(&self, wanted: bool) -> io::Result<()> {
        self.want(wanted);
        self.settle()
    }

    /// What it should say from now on.
    pub(super) fn want(&self, wanted: bool) {
        *self.wanted.lock() = wanted;
    }

    /// Writes what it should say, if it does not.
    pub(super) fn settle(&self) -> io::Result<()> {
        self.write(&mut self.written.lock())
    }

    fn write(&self, written: &mut Option<bool>) -> io::Result<()> {
        let wanted = *self.wanted.lock();
        if *written != Some(wanted) {
            *written = None;
            write_block(&self.file, wanted)?;
            self.file.sync_data()?;
            *written = Some(wanted);
        }
        Ok(())
    }

    /// Sets it on a thread of its own and waits at most so long: the disk may be what hangs.
    pub(super) fn set_within(self: &Arc<Self>, limit: Duration) {
        self.want(true);
        let (done_tx, done_rx) = mpsc::sync_channel(1);
        let marker = Arc::clone(self);
        let started = thread::Builder::new()
            .name("journal-mark".into())
            .spawn(move || done_tx.send(marker.overtake()).ok());
        let done = match started {
            Ok(_) => done_rx.recv_timeout(limit).unwrap_or(Ok(())),
            Err(error) => Err(error),
        };
        if let Err(error) = done {
            tracing::warn!(%error, "the journal's marker cannot be written");
        }
    }

    /// Writes it though an earlier write of it hangs. Then it is not on the disk, but in the page cache,
    /// and that is enough if only we die.
    fn overtake(&self) -> io::Result<()> {
        if let Some(mut written) = self.written.try_lock() {
            return self.write(&mut written);
        }
        // Only what errs on the safe side if it comes late. And without a lock: it may hang too.
        if self.is_set() {
            write_block(&self.file, true).ok();
        }
        let mut written = self.written.lock();
        // Who held it may have been overtaken, or have come after.
        *written = None;
        self.write(&mut written)
    }
}

fn write_block(file: &File, set: bool) -> io::Result<()> {
    let mut block = [b' '; SIZE];
    if set {
        block[..SET.len()].copy_from_slice(SET);
    }
    file.write_all_at(&block, 0)
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
        let hang = marker.written.lock();
        marker.set_within(Duration::ZERO);
        assert!(marker.is_set(), "whenever its thread has its turn");
        let says = |wanted| {
            let is_set = std::fs::read(&path).unwrap().starts_with(SET);
            (is_set == wanted)
                .then_some(())
                .ok_or("it says something else")
        };
        until(|| says(true));
        // The disk is back, and the writer wants something else by now.
        marker.want(false);
        drop(hang);
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
