//! The memory all logs of the process share.
//!
//! Every log counts what it holds here. Whoever takes the sum over the limit makes room at once, one segment at a time:
//! first the finished log that holds most, and only when no finished log has anything left, the running one that holds
//! most. A finished log is read rarely, a running one has readers now; and the largest has the most that is old, so small
//! logs keep even their first event until there is nothing larger. Only the segments that running logs are filling cannot
//! be evicted, at most 64 KiB (or one event) each.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Weak};

use parking_lot::Mutex;

use super::ring::Ring;
use crate::journal::Watermark;
use crate::locks::Lock;

/// A handle on the one budget.
#[derive(Clone)]
pub(crate) struct MemoryBudget(Arc<Ledger>);

struct Ledger {
    limit: usize,
    used: AtomicUsize,
    buffers: Mutex<Vec<Weak<Buffer>>>,
}

/// A ring whose memory is counted.
pub(super) struct Buffer {
    ring: Mutex<Ring>,
    watermark: Arc<Watermark>,
    budget: MemoryBudget,
    /// Copies of the ring's figures, so that logs can be compared without their locks.
    bytes: AtomicUsize,
    evictable_bytes: AtomicUsize,
}

/// 64 MiB for all logs of the process, of the pod's 1 GiB.
const PROCESS_BYTES: usize = 64 << 20;

// === impl MemoryBudget ===

impl MemoryBudget {
    pub(crate) fn new(limit: usize) -> Self {
        Self(Arc::new(Ledger {
            limit,
            used: AtomicUsize::new(0),
            buffers: Mutex::new(Vec::new()),
        }))
    }

    /// What all logs hold together.
    pub(crate) fn used(&self) -> usize {
        self.0.used.load(Ordering::Relaxed)
    }

    pub(crate) fn lock(&self) -> &dyn Lock {
        &self.0.buffers
    }

    /// Puts a ring under the budget.
    pub(super) fn buffer(&self, ring: Ring, watermark: Arc<Watermark>) -> Arc<Buffer> {
        let buffer = Arc::new(Buffer {
            ring: Mutex::new(ring),
            watermark,
            budget: self.clone(),
            bytes: AtomicUsize::new(0),
            evictable_bytes: AtomicUsize::new(0),
        });
        let mut buffers = self.0.buffers.lock();
        buffers.retain(|buffer| buffer.strong_count() > 0);
        buffers.push(Arc::downgrade(&buffer));
        drop(buffers);
        buffer
    }

    /// Notes that a ring's size went from `before` to `after`.
    fn record(&self, before: usize, after: usize) {
        if after >= before {
            self.0.used.fetch_add(after - before, Ordering::Relaxed);
        } else {
            self.0.used.fetch_sub(before - after, Ordering::Relaxed);
        }
    }

    /// Makes room until the limit holds or no ring has anything to evict. Takes the locks of rings, so the caller must
    /// hold none.
    fn make_room(&self) {
        if self.used() <= self.0.limit {
            return;
        }
        // One thread makes room at a time; the next one finds it made.
        let buffers = self.0.buffers.lock();
        while self.used() > self.0.limit {
            let largest = buffers
                .iter()
                .filter_map(Weak::upgrade)
                .filter(|buffer| buffer.evictable_bytes() > 0)
                .max_by_key(|buffer| (buffer.watermark.head().idle, buffer.evictable_bytes()));
            // The figure is read without the ring's lock, so there may be nothing to evict by now. Then whoever adds
            // next tries again.
            if !largest.is_some_and(|buffer| buffer.counted(Ring::evict_segment)) {
                break;
            }
        }
    }
}

impl std::fmt::Debug for MemoryBudget {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("MemoryBudget")
            .field("used", &self.used())
            .finish_non_exhaustive()
    }
}

impl Default for MemoryBudget {
    fn default() -> Self {
        Self::new(PROCESS_BYTES)
    }
}

// === impl Buffer ===

impl Buffer {
    pub(super) fn read<T>(&self, read: impl FnOnce(&mut Ring) -> T) -> T {
        read(&mut self.ring.lock())
    }

    /// Changes the ring, and evicts what is over the budget then.
    pub(super) fn change<T>(&self, change: impl FnOnce(&mut Ring) -> T) -> T {
        let out = self.counted(change);
        // Without the lock, because it may be this very ring that has to give something.
        self.budget.make_room();
        out
    }

    pub(super) fn lock(&self) -> &dyn Lock {
        &self.ring
    }

    pub(super) fn bytes(&self) -> usize {
        self.bytes.load(Ordering::Relaxed)
    }

    fn evictable_bytes(&self) -> usize {
        self.evictable_bytes.load(Ordering::Relaxed)
    }

    fn counted<T>(&self, change: impl FnOnce(&mut Ring) -> T) -> T {
        let mut ring = self.ring.lock();
        let out = change(&mut ring);
        let after = ring.bytes();
        self.budget
            .record(self.bytes.swap(after, Ordering::Relaxed), after);
        self.evictable_bytes
            .store(ring.evictable_bytes(), Ordering::Relaxed);
        out
    }
}

impl Drop for Buffer {
    fn drop(&mut self) {
        self.budget.record(self.bytes(), 0);
    }
}
