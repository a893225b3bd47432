//! Spans on their way to the collector.

use std::sync::atomic::{AtomicU64, Ordering};

static EXPORTED: AtomicU64 = AtomicU64::new(0);
static DROPPED: AtomicU64 = AtomicU64::new(0);
static FAILED: AtomicU64 = AtomicU64::new(0);

pub(crate) fn exported(count: u64) {
    EXPORTED.fetch_add(count, Ordering::Relaxed);
}

/// The queue was full.
pub(crate) fn dropped() {
    DROPPED.fetch_add(1, Ordering::Relaxed);
}

/// The collector did not take them.
pub(crate) fn failed(count: u64) {
    FAILED.fetch_add(count, Ordering::Relaxed);
}

/// Spans by what became of them.
pub(crate) fn spans() -> [(&'static str, u64); 3] {
    let of = |count: &AtomicU64| count.load(Ordering::Relaxed);
    [
        ("exported", of(&EXPORTED)),
        ("dropped", of(&DROPPED)),
        ("failed", of(&FAILED)),
    ]
}
