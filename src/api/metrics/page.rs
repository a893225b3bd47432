//! One scrape as it is written, in whichever format.

use std::fmt;

use prometheus_client::encoding::{
    DescriptorEncoder, EncodeCounterValue, EncodeGaugeValue, EncodeMetric, NoLabelSet,
};
use prometheus_client::metrics::MetricType;

/// What Prometheus may do with a figure.
#[derive(Clone, Copy, Debug)]
pub(super) enum Kind {
    /// Goes up and down.
    Gauge,
    /// Only goes up, and begins anew with the process. The name is given without `_total`.
    Counter,
}

/// The page so far.
#[derive(Debug)]
pub(super) struct Page<'a> {
    encoder: DescriptorEncoder<'a>,
    written: fmt::Result,
}

// === impl Page ===

impl<'a> Page<'a> {
    pub(super) const fn new(encoder: DescriptorEncoder<'a>) -> Self {
        Self {
            encoder,
            written: Ok(()),
        }
    }

    /// Whether all of it could be written.
    pub(super) const fn end(self) -> fmt::Result {
        self.written
    }

    pub(super) fn gauge(&mut self, name: &str, help: &str, value: Option<impl EncodeGaugeValue>) {
        let Some(value) = value else { return };
        self.write(|encoder| {
            encoder
                .encode_descriptor(name, help, None, MetricType::Gauge)?
                .encode_gauge(&value)
        });
    }

    /// `name` is without `_total`.
    pub(super) fn counter(
        &mut self,
        name: &str,
        help: &str,
        value: Option<impl EncodeCounterValue>,
    ) {
        let Some(value) = value else { return };
        self.write(|encoder| {
            encoder
                .encode_descriptor(name, help, None, MetricType::Counter)?
                .encode_counter::<NoLabelSet, _, u64>(&value, None)
        });
    }

    /// One figure for each value of a label.
    pub(super) fn family<V: EncodeGaugeValue + EncodeCounterValue>(
        &mut self,
        kind: Kind,
        name: &str,
        help: &str,
        label: &str,
        figures: impl IntoIterator<Item = (&'static str, V)>,
    ) {
        self.write(|encoder| {
            let metric_type = match kind {
                Kind::Gauge => MetricType::Gauge,
                Kind::Counter => MetricType::Counter,
            };
            let mut family = encoder.encode_descriptor(name, help, None, metric_type)?;
            for (word, value) in figures {
                let labels = [(label, word)];
                let mut metric = family.encode_family(&labels)?;
                match kind {
                    Kind::Gauge => metric.encode_gauge(&value)?,
                    Kind::Counter => metric.encode_counter::<NoLabelSet, _, u64>(&value, None)?,
                }
            }
            Ok(())
        });
    }

    /// A figure that was counted. One with labels of which there is no series yet is left out.
    pub(super) fn metric(&mut self, name: &str, help: &str, metric: &impl EncodeMetric) {
        if metric.is_empty() {
            return;
        }
        self.write(|encoder| {
            let family = encoder.encode_descriptor(name, help, None, metric.metric_type())?;
            metric.encode(family)
        });
    }

    fn write(&mut self, write: impl FnOnce(&mut DescriptorEncoder<'a>) -> fmt::Result) {
        if self.written.is_ok() {
            self.written = write(&mut self.encoder);
        }
    }
}
