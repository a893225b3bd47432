//! Why there is another child than at first: how the last ones ended, and what the present one says on stderr.

use std::collections::VecDeque;
use std::fmt::Display;
use std::sync::Arc;

use parking_lot::Mutex;

use super::output::Tail;
use crate::clock::Timestamp;
use crate::id::Generation;
use crate::metrics::engine::{self as metrics, Exit};

/// Ends that are remembered.
const MAX_ENDED: usize = 20;

/// How a child ended, or did not come up.
#[derive(Clone, Debug)]
pub(crate) struct Ended {
    pub(crate) at: Timestamp,
    pub(crate) generation: Generation,
    /// One word, as the metrics count it.
    pub(crate) cause: &'static str,
    /// The same for a person.
    pub(crate) reason: String,
}

/// A copy sees what the original sees.
#[derive(Clone, Debug, Default)]
pub(crate) struct History(Arc<Mutex<Known>>);

#[derive(Debug, Default)]
struct Known {
    ended: VecDeque<Ended>,
    present: Tail,
}

// === impl History ===

impl History {
    /// A child was spawned, whose last lines are in `tail`.
    pub(super) fn begun(&self, tail: Tail) {
        self.0.lock().present = tail;
    }

    /// It ended, or did not come up. Counted as well.
    pub(super) fn ended(&self, generation: Generation, exit: Exit, reason: &impl Display) {
        metrics::exited(exit);
        let ended = Ended {
            at: Timestamp::now(),
            generation,
            cause: exit.name(),
            reason: reason.to_string(),
        };
        let all = &mut self.0.lock().ended;
        if all.len() == MAX_ENDED {
            all.pop_back();
        }
        all.push_front(ended);
    }

    /// The newest first.
    pub(crate) fn ends(&self) -> Vec<Ended> {
        self.0.lock().ended.iter().cloned().collect()
    }

    /// The last lines that the newest child wrote to stderr, without secrets.
    pub(crate) fn stderr(&self) -> Vec<String> {
        // Not under our own lock: whoever reads the child's lines holds the other one.
        let tail = self.0.lock().present.clone();
        tail.lines()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_newest_ends_are_kept() {
        let history = History::default();
        let mut generation = Generation::default();
        for _ in 0..MAX_ENDED + 5 {
            generation = generation.next();
            history.ended(
                generation,
                Exit::Requested,
                &format!("it was {generation:?}"),
            );
        }
        let ends = history.clone().ends();
        assert_eq!(ends.len(), MAX_ENDED);
        assert_eq!(ends[0].generation.get(), 25);
        assert_eq!(ends[19].generation.get(), 6);
        assert_eq!(ends[0].cause, "requested");
        assert!(history.stderr().is_empty());
    }
}
