//! What the disk costs.

use super::Histogram;

/// One group of events, from the first statement until it is committed.
pub(crate) static COMMIT: Histogram = Histogram::new(&[
    250, 500, 1_000, 2_500, 5_000, 10_000, 25_000, 50_000, 100_000, 250_000, 500_000, 1_000_000,
    5_000_000, 30_000_000,
]);
