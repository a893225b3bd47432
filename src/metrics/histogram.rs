//! A histogram of durations that can be a `static` and is counted with two atomic additions.
//!
//! (The one of prometheus-client takes a lock for each observation, which the path of an event must not.)

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use prometheus_client::encoding::{EncodeMetric, MetricEncoder, NoLabelSet};
use prometheus_client::metrics::MetricType;

const MAX_BOUNDS: usize = 16;

/// Counts durations by the smallest bound that they do not exceed.
#[derive(Debug)]
pub(crate) struct Histogram {
    /// In microseconds, growing.
    bounds: &'static [u64],
    /// One for each bound, and behind them one for what exceeds all.
    counts: [AtomicU64; MAX_BOUNDS + 1],
    sum_nanos: AtomicU64,
}

// === impl Histogram ===

impl Histogram {
    /// With upper bounds in microseconds, at most [`MAX_BOUNDS`].
    pub(crate) const fn new(bounds: &'static [u64]) -> Self {
        assert!(bounds.len() <= MAX_BOUNDS, "too many bounds");
        Self {
            bounds,
            counts: [const { AtomicU64::new(0) }; MAX_BOUNDS + 1],
            sum_nanos: AtomicU64::new(0),
        }
    }

    pub(crate) fn observe(&self, took: Duration) {
        let micros = took.as_nanos().div_ceil(1000);
        let at = self
            .bounds
            .iter()
            .position(|bound| micros <= u128::from(*bound))
            .unwrap_or(self.bounds.len());
        self.counts[at].fetch_add(1, Ordering::Relaxed);
        let nanos = u64::try_from(took.as_nanos()).unwrap_or(u64::MAX);
        self.sum_nanos.fetch_add(nanos, Ordering::Relaxed);
    }
}

impl EncodeMetric for Histogram {
    fn encode(&self, mut encoder: MetricEncoder<'_>) -> Result<(), std::fmt::Error> {
        let bounds = self
            .bounds
            .iter()
            .map(|micros| Duration::from_micros(*micros).as_secs_f64());
        let counts = self
            .counts
            .iter()
            .map(|count| count.load(Ordering::Relaxed));
        let buckets: Vec<(f64, u64)> = bounds.chain([f64::INFINITY]).zip(counts).collect();
        // Of the same reading as the buckets, so that the last of them is the count.
        let count = buckets.iter().map(|(_, count)| count).sum();
        let sum = Duration::from_nanos(self.sum_nanos.load(Ordering::Relaxed)).as_secs_f64();
        encoder.encode_histogram::<NoLabelSet>(sum, count, &buckets, None)
    }

    fn metric_type(&self) -> MetricType {
        MetricType::Histogram
    }
}

#[cfg(test)]
mod tests {
    use prometheus_client::collector::Collector;
    use prometheus_client::encoding::{DescriptorEncoder, prometheus_text};
    use prometheus_client::registry::Registry;

    use super::*;

    #[derive(Debug)]
    struct One(Histogram);

    impl Collector for One {
        fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), std::fmt::Error> {
            let kind = self.0.metric_type();
            let metric = encoder.encode_descriptor("waited_seconds", "Waits.", None, kind)?;
            self.0.encode(metric)
        }
    }

    #[test]
    fn a_duration_falls_under_the_first_bound_that_it_does_not_exceed() {
        let histogram = Histogram::new(&[1_000, 50_000]);
        for micros in [1, 1_000, 1_001, 50_000, 50_001, 9_000_000] {
            histogram.observe(Duration::from_micros(micros));
        }
        histogram.observe(Duration::from_nanos(1_000_001));
        let mut registry = Registry::default();
        registry.register_collector(Box::new(One(histogram)));
        let mut text = String::new();
        prometheus_text::encode(&mut text, &registry).unwrap();
        let expected = "# HELP waited_seconds Waits.\n\
            # TYPE waited_seconds histogram\n\
            waited_seconds_bucket{le=\"0.001\"} 2\n\
            waited_seconds_bucket{le=\"0.05\"} 5\n\
            waited_seconds_bucket{le=\"+Inf\"} 7\n\
            waited_seconds_sum 9.103003001\n\
            waited_seconds_count 7\n";
        assert_eq!(text, expected);
    }
}
