//! Turns and the tools in them.

use std::sync::LazyLock;
use std::time::Duration;

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::histogram;

use super::Histogram;

type Durations<L> = LazyLock<Family<L, histogram::Histogram, fn() -> histogram::Histogram>>;

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

fn turn_buckets() -> histogram::Histogram {
    histogram::Histogram::new([
        0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0, 600.0, 1800.0, 3600.0,
    ])
}

fn tool_buckets() -> histogram::Histogram {
    histogram::Histogram::new([0.01, 0.05, 0.1, 0.5, 1.0, 5.0, 15.0, 60.0, 300.0, 1200.0])
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
pub(crate) fn ended(outcome: &'static str, code: &'static str, took: Option<Duration>) {
    ENDED.get_or_create(&EndLabels { outcome, code }).inc();
    if let Some(took) = took {
        let labels = OutcomeLabels { outcome };
        DURATION.get_or_create(&labels).observe(took.as_secs_f64());
    }
}

pub(crate) fn tool_ended(tool: &'static str, is_error: bool, ran: Duration) {
    let outcome = if is_error { "error" } else { "ok" };
    let labels = ToolLabels { tool, outcome };
    TOOL.get_or_create(&labels).observe(ran.as_secs_f64());
}
