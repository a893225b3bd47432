//! Events and their readers.

use std::sync::LazyLock;
use std::sync::atomic::{AtomicU64, Ordering};

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;

use super::Histogram;

/// The types of events, each with its count. A type that is not listed is counted as `other`.
const TYPES: [&str; 12] = [
    "status",
    "output",
    "tool_call",
    "tool_result",
    "todo",
    "error",
    "complete",
    "permission",
    "question",
    "prompt",
    "egress",
    "other",
];

static EVENTS: [AtomicU64; TYPES.len()] = [const { AtomicU64::new(0) }; TYPES.len()];
static BYTES: AtomicU64 = AtomicU64::new(0);
static SLOW_READERS: AtomicU64 = AtomicU64::new(0);

/// From the log to the connection of a reader.
pub(crate) static DELIVERY: Histogram = Histogram::new(&[
    100, 250, 500, 1_000, 2_500, 5_000, 10_000, 25_000, 50_000, 100_000, 250_000, 1_000_000,
    5_000_000, 30_000_000,
]);

/// How streams began.
pub(crate) static OPENED: LazyLock<Family<OpenedLabels, Counter>> = LazyLock::new(Family::default);
/// Gaps that readers were told of.
pub(crate) static GAPS: LazyLock<Family<GapLabels, Counter>> = LazyLock::new(Family::default);

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(crate) struct OpenedLabels {
    from: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(crate) struct GapLabels {
    reason: &'static str,
}

/// An event of `kind` was appended to a log.
pub(crate) fn appended(kind: &str, bytes: usize) {
    let at = TYPES.iter().position(|known| *known == kind);
    EVENTS[at.unwrap_or(TYPES.len() - 1)].fetch_add(1, Ordering::Relaxed);
    BYTES.fetch_add(bytes as u64, Ordering::Relaxed);
}

/// A reader began where there was something older to read, or at the newest event.
pub(crate) fn opened(replays: bool) {
    let from = if replays { "replay" } else { "live" };
    OPENED.get_or_create(&OpenedLabels { from }).inc();
}

pub(crate) fn gap(reason: &'static str) {
    GAPS.get_or_create(&GapLabels { reason }).inc();
}

/// A connection was closed because its reader took nothing.
pub(crate) fn slow_reader_closed() {
    SLOW_READERS.fetch_add(1, Ordering::Relaxed);
}

/// Events by type.
pub(crate) fn events() -> impl Iterator<Item = (&'static str, u64)> {
    let counts = EVENTS.iter().map(|count| count.load(Ordering::Relaxed));
    TYPES.into_iter().zip(counts)
}

pub(crate) fn bytes() -> u64 {
    BYTES.load(Ordering::Relaxed)
}

pub(crate) fn slow_readers() -> u64 {
    SLOW_READERS.load(Ordering::Relaxed)
}
