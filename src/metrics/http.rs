//! Requests and their answers.

use std::sync::LazyLock;
use std::time::Duration;

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::family::Family;

use super::Histogram;
use super::exemplar::{TraceLabel, Traced};

type Durations = Family<RequestLabels, Traced, fn() -> Traced>;

/// Until the head of the answer, so that a stream counts with its beginning.
pub(crate) static DURATION: LazyLock<Durations> =
    LazyLock::new(|| Family::new_with_constructor(buckets));

/// Probes are answered before anything else is looked at, and are counted apart.
pub(crate) static PROBE: Histogram =
    Histogram::new(&[50, 100, 250, 500, 1_000, 5_000, 25_000, 100_000, 1_000_000]);

fn buckets() -> Traced {
    Traced::new([0.001, 0.005, 0.025, 0.1, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0].into_iter())
}

#[expect(
    clippy::struct_field_names,
    reason = "the conventions' names of the labels"
)]
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(crate) struct RequestLabels {
    http_request_method: &'static str,
    http_route: String,
    http_response_status_code: u16,
}

/// `route`: as the router has it, with `{id}` for an id. `None`: there is no such route. `trace`: the id of its trace.
pub(crate) fn answered(
    method: &str,
    route: Option<&str>,
    (status, took): (u16, Duration),
    trace: Option<String>,
) {
    const METHODS: [&str; 6] = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE"];
    let method = METHODS.iter().find(|known| **known == method);
    let labels = RequestLabels {
        http_request_method: method.copied().unwrap_or("_OTHER"),
        http_route: route.unwrap_or("none").to_owned(),
        http_response_status_code: status,
    };
    let exemplar = TraceLabel::of(trace);
    let durations = DURATION.get_or_create(&labels);
    durations.observe(took.as_secs_f64(), exemplar, None);
}
