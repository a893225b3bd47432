//! How much the child has to do, as far as the engine needs to know: how many turns run, and how many
//! wait for memory. Whoever has a turn holds a token; the engine knows nothing else of it.

use std::sync::Arc;

use tokio::sync::watch;

/// How many there are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Counts {
    pub(super) turns: usize,
    pub(super) waiting: usize,
}

/// The counts, shared. A cheap clone.
#[derive(Clone, Debug, Default)]
pub(super) struct Load(Arc<watch::Sender<Counts>>);

/// One turn, or one that waits, until it is dropped.
#[derive(Debug)]
pub(crate) struct LoadGuard {
    load: Load,
    of: fn(&mut Counts) -> &mut usize,
}

// === impl Load ===

impl Load {
    pub(super) fn turn(&self) -> LoadGuard {
        self.count(|counts| &mut counts.turns)
    }

    pub(super) fn wait(&self) -> LoadGuard {
        self.count(|counts| &mut counts.waiting)
    }

    /// Whether turns run, or wait for another child to go on in.
    pub(super) fn has_turns(&self) -> bool {
        self.0.borrow().turns > 0
    }

    pub(super) fn watch(&self) -> watch::Receiver<Counts> {
        self.0.subscribe()
    }

    fn count(&self, of: fn(&mut Counts) -> &mut usize) -> LoadGuard {
        self.0.send_modify(|counts| *of(counts) += 1);
        LoadGuard {
            load: self.clone(),
            of,
        }
    }
}

// === impl LoadGuard ===

impl Drop for LoadGuard {
    fn drop(&mut self) {
        self.load.0.send_modify(|counts| *(self.of)(counts) -= 1);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_held_is_counted() {
        let load = Load::default();
        let counts = load.watch();
        let (turn, other, waiting) = (load.turn(), load.turn(), load.wait());
        let now = |turns, waiting| assert_eq!(*counts.borrow(), Counts { turns, waiting });
        now(2, 1);
        drop((turn, waiting));
        now(1, 0);
        drop(other);
        now(0, 0);
    }
}
