//! Turns and the tools in them.

use std::sync::LazyLock;
use std::time::Duration;

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;

use super::Histogram;
use super::exemplar::{TraceLabel, Traced};

type Durations<L> = LazyLock<Family<L, Traced, fn() -> Traced>>;

/// Turns that have ended.
pub(crate) static ENDED: LazyLock<Family<EndLabels, Counter>> = LazyLock::new(Family::default);
/// How long they took.
pub(crate) static DURATION: Durations<OutcomeLabels> =
    LazyLock::new(|| Family::new_with_constructor(turn_buckets));
/// Until there was something to see.
pub(crate) static FIRST_EVENT: Histogram = Histogram::new(&[
    50_000,
    100_000,
    250_000,
    500_000,
    1_000_000,
    2_500_000,
    5_000_000,
    10_000_000,
    30_000_000,
    60_000_000,
    120_000_000,
]);
/// What a person was asked, or a rule decided.
pub(crate) static ASKS: LazyLock<Family<AskLabels, Counter>> = LazyLock::new(Family::default);
/// How long tools ran.
pub(crate) static TOOL: Durations<ToolLabels> =
    LazyLock::new(|| Family::new_with_constructor(tool_buckets));

fn turn_buckets() -> Traced {
    let bounds = [
        0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0, 600.0, 1800.0, 3600.0,
    ];
    Traced::new(bounds.into_iter())
}

fn tool_buckets() -> Traced {
    Traced::new([0.01, 0.05, 0.1, 0.5, 1.0, 5.0, 15.0, 60.0, 300.0, 1200.0].into_iter())
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(crate) struct EndLabels {
    outcome: &'static str,
    code: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(crate) struct OutcomeLabels {
    outcome: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(crate) struct AskLabels {
    kind: &'static str,
    outcome: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(crate) struct ToolLabels {
    tool: &'static str,
    outcome: &'static str,
}

/// What the agent asked has ended. `outcome`: who answered it, or `withdrawn`.
pub(crate) fn ask_ended(kind: &'static str, outcome: &'static str) {
    ASKS.get_or_create(&AskLabels { kind, outcome }).inc();
}

/// A turn ended. `took`: since its prompt came, where this process saw that. `code`: why it failed, else `none`.
/// `trace`: the id of its trace.
pub(crate) fn ended(
    outcome: &'static str,
    code: &'static str,
    took: Option<Duration>,
    trace: Option<String>,
) {
    ENDED.get_or_create(&EndLabels { outcome, code }).inc();
    if let Some(took) = took {
        let labels = OutcomeLabels { outcome };
        let durations = DURATION.get_or_create(&labels);
        durations.observe(took.as_secs_f64(), TraceLabel::of(trace), None);
    }
}

pub(crate) fn tool_ended(tool: &'static str, is_error: bool, ran: Duration, trace: Option<String>) {
    let outcome = if is_error { "error" } else { "ok" };
    let labels = ToolLabels { tool, outcome };
    let durations = TOOL.get_or_create(&labels);
    durations.observe(ran.as_secs_f64(), TraceLabel::of(trace), None);
}
