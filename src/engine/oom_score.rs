//! Whom the kernel ends first when memory is short: the child. Losing the child costs a restart, losing the
//! sidecar costs every stream.
//!
//! The child inherits the score from us, so ours is raised while it is spawned. It cannot set its own: the
//! file is root's while a process is closed to inspection, and opening it up for that would show it to every
//! process of the same user.

use std::fs::File;
use std::io::{Read as _, Seek as _, Write as _};

use rustix::process::{DumpableBehavior, getpid, getuid, set_dumpable_behavior};

use super::process_table;

const CHILD: i32 = 500;

/// Our own `oom_score_adj`, kept open from when this process could still open it.
#[derive(Debug)]
pub struct OomScore {
    file: File,
    own: i32,
}

// === impl OomScore ===

impl OomScore {
    /// To be called before this process closes itself. Where its binary is not readable it has been closed
    /// from its birth, and is opened up for this one call; but only as long as nobody runs as our user who
    /// could look. `None`: the kernel makes no difference between us and the child.
    #[must_use]
    pub fn open() -> Option<Self> {
        if let Ok(score) = Self::of_this_process() {
            return Some(score);
        }
        if !process_table::only_ancestors_run_as(getuid().as_raw()) {
            return None;
        }
        set_dumpable_behavior(DumpableBehavior::Dumpable).ok()?;
        let score = Self::of_this_process();
        set_dumpable_behavior(DumpableBehavior::NotDumpable).ok()?;
        score.ok()
    }

    fn of_this_process() -> std::io::Result<Self> {
        let mut file = File::options()
            .read(true)
            .write(true)
            .open(format!("/proc/{}/oom_score_adj", getpid().as_raw_nonzero()))?;
        let mut text = String::new();
        file.read_to_string(&mut text)?;
        let own = text.trim().parse().map_err(std::io::Error::other)?;
        Ok(Self { file, own })
    }

    /// Runs `spawn` with the score that its child is to have.
    pub(super) fn for_child<T>(&mut self, spawn: impl FnOnce() -> T) -> T {
        let child = CHILD.max(self.own);
        // It may not be raised where somebody privileged has set a higher one as the least.
        self.set(child).ok();
        let spawned = spawn();
        if let Err(error) = self.set(self.own) {
            tracing::warn!(%error, "the sidecar keeps the child's place in the kernel's order of ending processes");
        }
        spawned
    }

    fn set(&mut self, score: i32) -> std::io::Result<()> {
        self.file.rewind()?;
        self.file.write_all(score.to_string().as_bytes())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_child_has_another_score_than_we() {
        let read = || std::fs::read_to_string("/proc/self/oom_score_adj").unwrap();
        let before = read();
        let mut score = OomScore::open().unwrap();
        let within = score.for_child(read);
        assert_eq!(within.trim(), CHILD.max(score.own).to_string());
        assert_eq!(read(), before);
    }
}
