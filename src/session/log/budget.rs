//! The memory all logs of the process share.
//!
//! Every log counts what it holds here. Whoever takes the sum over the limit makes room at once, one
//! segment at a time: first the finished log that holds most, and only when no finished log has
//! anything left, the running one that holds most. A finished log is read rarely, a running one has
//! readers now; and the largest has the most that is old, so small logs keep even their first event
//! until there is nothing larger. Only the segments that running logs are filling cannot be given
//! back, at most 64 KiB (or one event) each.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Weak};

use parking_lot::Mutex;

use super::Shared;

/// 64 MiB for all logs of the process, of the pod's 1 GiB.
const PROCESS_BYTES: usize = 64 << 20;

/// A handle on the one budget.
#[derive(Clone)]
pub(crate) struct Budget(Arc<Ledger>);

struct Ledger {
    limit: usize,
    used: AtomicUsize,
    logs: Mutex<Vec<Weak<Shared>>>,
}

// === impl Budget ===

impl std::fmt::Debug for Budget {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Budget")
            .field("used", &self.used())
            .finish_non_exhaustive()
    }
}

impl Budget {
    pub(crate) fn new(limit: usize) -> Self {
        Self(Arc::new(Ledger {
            limit,
            used: AtomicUsize::new(0),
            logs: Mutex::new(Vec::new()),
        }))
    }

    /// What all logs hold together.
    pub(crate) fn used(&self) -> usize {
        self.0.used.load(Ordering::Relaxed)
    }

    /// Makes a log one of those that can be asked for room, and forgets those that are gone.
    pub(super) fn watch(&self, log: &Arc<Shared>) {
        let mut logs = self.0.logs.lock();
        logs.retain(|log| log.strong_count() > 0);
        logs.push(Arc::downgrade(log));
    }

    /// Notes that a log's size went from `before` to `after`.
    pub(super) fn record(&self, before: usize, after: usize) {
        if after >= before {
            self.0.used.fetch_add(after - before, Ordering::Relaxed);
        } else {
            self.0.used.fetch_sub(before - after, Ordering::Relaxed);
        }
    }

    /// Makes room until the limit holds or nobody has any to give. Takes the rings' locks, so the caller
    /// must hold none.
    pub(super) fn relieve(&self) {
        if self.used() <= self.0.limit {
            return;
        }
        // One thread makes room at a time; the next one finds it made.
        let logs = self.0.logs.lock();
        while self.used() > self.0.limit {
            let giver = logs
                .iter()
                .filter_map(Weak::upgrade)
                .filter(|log| log.givable_bytes.load(Ordering::Relaxed) > 0)
                .max_by_key(|log| {
                    (
                        log.head.borrow().idle,
                        log.givable_bytes.load(Ordering::Relaxed),
                    )
                });
            let Some(giver) = giver else {
                break;
            };
            // The figure is looked at without the log's lock: it may have nothing to give by now. Then
            // whoever adds next tries again.
            if !giver.with(|inner| inner.ring.evict_segment()) {
                break;
            }
        }
    }
}

impl Default for Budget {
    fn default() -> Self {
        Self::new(PROCESS_BYTES)
    }
}
