//! Which turns worked in the workspace at the same time.
//!
//! OpenCode reports changes of the whole work tree, whoever made them. They are attributed to a turn only if no
//! other turn ran between its beginning and its end.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Weak};

use parking_lot::Mutex;

/// All turns of this sidecar.
#[derive(Clone, Debug, Default)]
pub(super) struct RunningTurns(Arc<Mutex<Vec<Weak<AtomicBool>>>>);

/// One turn among them, until it is dropped.
#[derive(Debug)]
pub(super) struct RunningTurn {
    overlapped: Arc<AtomicBool>,
}

// === impl RunningTurns ===

impl RunningTurns {
    /// A turn begins.
    pub(super) fn enter(&self) -> RunningTurn {
        let mut present = self.0.lock();
        present.retain(|other| other.strong_count() > 0);
        let overlapped = Arc::new(AtomicBool::new(!present.is_empty()));
        for other in present.iter().filter_map(Weak::upgrade) {
            other.store(true, Ordering::Relaxed);
        }
        present.push(Arc::downgrade(&overlapped));
        RunningTurn { overlapped }
    }
}

// === impl RunningTurn ===

impl RunningTurn {
    /// Whether no other turn ran at the same time so far.
    pub(super) fn alone(&self) -> bool {
        !self.overlapped.load(Ordering::Relaxed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_that_overlap_were_not_alone_and_a_third_after_them_is() {
        let running_turns = RunningTurns::default();
        let first = running_turns.enter();
        assert!(first.alone());
        let second = running_turns.enter();
        assert!(!first.alone() && !second.alone());
        drop(second);
        assert!(!first.alone(), "it was not alone all the time");
        drop(first);
        assert!(running_turns.enter().alone());
    }
}
