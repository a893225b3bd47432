//! Which trace to look at for one of the durations in a bucket. Only `OpenMetrics` has room for it.

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::exemplar::HistogramWithExemplars;

/// A histogram whose buckets may name a trace each.
pub(super) type Traced = HistogramWithExemplars<TraceLabel>;

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(crate) struct TraceLabel {
    trace_id: String,
}

// === impl TraceLabel ===

impl TraceLabel {
    pub(super) fn of(trace: Option<String>) -> Option<Self> {
        trace.map(|trace_id| Self { trace_id })
    }
}
