//! How children end, and what they leave behind.

use std::sync::atomic::{AtomicU64, Ordering};

/// Why a child ended, or did not come up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Exit {
    /// By itself.
    Crash,
    /// By a signal that somebody sent, the kernel's for memory among them.
    Killed,
    /// It stopped answering.
    Unresponsive,
    /// It made room for memory, or could do no turn any more.
    Recycled,
    /// A person or the end of the program wanted it.
    Requested,
    /// It did not become ready.
    StartFailed,
}

const EXITS: [(Exit, &str); 6] = [
    (Exit::Crash, "crash"),
    (Exit::Killed, "killed"),
    (Exit::Unresponsive, "unresponsive"),
    (Exit::Recycled, "recycled"),
    (Exit::Requested, "requested"),
    (Exit::StartFailed, "start_failed"),
];

static EXITED: [AtomicU64; EXITS.len()] = [const { AtomicU64::new(0) }; EXITS.len()];
static LEFTOVERS: AtomicU64 = AtomicU64::new(0);

// === impl Exit ===

impl Exit {
    /// The label of the metric.
    pub(crate) fn name(self) -> &'static str {
        let known = EXITS.iter().find(|(exit, _)| *exit == self);
        known.map_or("", |(_, name)| name)
    }
}

pub(crate) fn exited(exit: Exit) {
    if let Some(at) = EXITS.iter().position(|(known, _)| *known == exit) {
        EXITED[at].fetch_add(1, Ordering::Relaxed);
    }
}

/// A sweep ended so many processes that had outlived their child or their session.
pub(crate) fn leftovers_killed(processes: usize) {
    LEFTOVERS.fetch_add(processes as u64, Ordering::Relaxed);
}

pub(crate) fn exits() -> impl Iterator<Item = (&'static str, u64)> {
    let counts = EXITED.iter().map(|count| count.load(Ordering::Relaxed));
    EXITS.iter().map(|(_, cause)| *cause).zip(counts)
}

pub(crate) fn leftovers() -> u64 {
    LEFTOVERS.load(Ordering::Relaxed)
}
