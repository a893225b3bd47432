//! Calls of models, under the names that OpenTelemetry has for them, and under ours where it has none.

use std::collections::BTreeSet;
use std::sync::LazyLock;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::histogram::Histogram;

use super::exemplar::{TraceLabel, Traced};

type Histograms<L> = LazyLock<Family<L, Histogram, fn() -> Histogram>>;
type TracedHistograms<L> = LazyLock<Family<L, Traced, fn() -> Traced>>;

/// Names of models that get series of their own; those that come after them are `other`.
pub(crate) const MAX_MODELS: usize = 32;

/// The one operation that agents use.
const OPERATION: &str = "chat";

pub(crate) static DURATION: TracedHistograms<CallLabels> =
    LazyLock::new(|| Family::new_with_constructor(|| Traced::new(CALL_BOUNDS.into_iter())));
pub(crate) static FIRST_CHUNK: Histograms<ProviderLabels> =
    LazyLock::new(|| Family::new_with_constructor(call_buckets));
pub(crate) static TOKEN_USAGE: Histograms<TokenLabels> =
    LazyLock::new(|| Family::new_with_constructor(token_buckets));
pub(crate) static CALLS: LazyLock<Family<ModelLabels, Counter>> = LazyLock::new(Family::default);
pub(crate) static TOKENS: LazyLock<Family<KindLabels, Counter>> = LazyLock::new(Family::default);
/// In US dollars, where providers say what they charge.
pub(crate) static COST: LazyLock<Family<CostLabels, Counter<f64, AtomicU64>>> =
    LazyLock::new(Family::default);
pub(crate) static STOPS: LazyLock<Family<StopLabels, Counter>> = LazyLock::new(Family::default);
static RETRIES: AtomicU64 = AtomicU64::new(0);
static MODELS: Mutex<BTreeSet<String>> = Mutex::new(BTreeSet::new());

/// The bounds that the conventions name for this.
const CALL_BOUNDS: [f64; 14] = [
    0.01, 0.02, 0.04, 0.08, 0.16, 0.32, 0.64, 1.28, 2.56, 5.12, 10.24, 20.48, 40.96, 81.92,
];

fn call_buckets() -> Histogram {
    Histogram::new(CALL_BOUNDS)
}

/// The bounds that the conventions name for this.
fn token_buckets() -> Histogram {
    Histogram::new([
        1.0,
        4.0,
        16.0,
        64.0,
        256.0,
        1024.0,
        4096.0,
        16384.0,
        65536.0,
        262_144.0,
        1_048_576.0,
        4_194_304.0,
    ])
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(crate) struct CallLabels {
    gen_ai_operation_name: &'static str,
    gen_ai_provider_name: &'static str,
    /// Empty where there was none.
    error_type: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(crate) struct ProviderLabels {
    gen_ai_operation_name: &'static str,
    gen_ai_provider_name: &'static str,
}

#[expect(
    clippy::struct_field_names,
    reason = "the conventions' names of the labels"
)]
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(crate) struct TokenLabels {
    gen_ai_operation_name: &'static str,
    gen_ai_provider_name: &'static str,
    gen_ai_token_type: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(crate) struct ModelLabels {
    provider: &'static str,
    operation: &'static str,
    model: String,
    status: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(crate) struct KindLabels {
    provider: &'static str,
    kind: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(crate) struct CostLabels {
    provider: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(crate) struct StopLabels {
    reason: &'static str,
}

/// Where a call went.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Target<'a> {
    pub(crate) provider: &'static str,
    /// The provider's name for what was asked: `chat_completions`, `responses`, `messages`.
    pub(crate) operation: &'static str,
    pub(crate) model: &'a str,
}

/// How a call ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum CallEnd {
    Complete,
    /// By the agent or the end of the turn.
    Cut,
    /// With a code of the gateway's.
    Failed(&'static str),
}

// === impl CallEnd ===

impl CallEnd {
    /// In one word: `ok`, `cut` or the code.
    pub(crate) const fn status(self) -> &'static str {
        match self {
            Self::Complete => "ok",
            Self::Cut => "cut",
            Self::Failed(code) => code,
        }
    }
}

/// What one call used.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Used {
    /// By kind.
    pub(crate) tokens: [(&'static str, u64); 4],
    /// In US dollars, where the provider says it.
    pub(crate) cost: Option<f64>,
}

/// `trace`: the id of its trace.
pub(crate) fn ended(
    target: Target<'_>,
    took: Duration,
    (end, used): (CallEnd, Option<Used>),
    trace: Option<String>,
) {
    let provider = target.provider;
    let status = end.status();
    let error_type = if end == CallEnd::Complete { "" } else { status };
    let labels = CallLabels {
        gen_ai_operation_name: OPERATION,
        gen_ai_provider_name: provider,
        error_type,
    };
    let durations = DURATION.get_or_create(&labels);
    durations.observe(took.as_secs_f64(), TraceLabel::of(trace), None);
    let labels = ModelLabels {
        provider,
        operation: target.operation,
        model: bounded(target.model, &mut MODELS.lock()),
        status,
    };
    CALLS.get_or_create(&labels).inc();
    if let Some(cost) = used.and_then(|used| used.cost) {
        COST.get_or_create(&CostLabels { provider }).inc_by(cost);
    }
    for (kind, count) in used.into_iter().flat_map(|used| used.tokens) {
        TOKENS
            .get_or_create(&KindLabels { provider, kind })
            .inc_by(count);
        if matches!(kind, "input" | "output") {
            let labels = TokenLabels {
                gen_ai_operation_name: OPERATION,
                gen_ai_provider_name: provider,
                gen_ai_token_type: kind,
            };
            let tokens = u32::try_from(count).unwrap_or(u32::MAX);
            TOKEN_USAGE.get_or_create(&labels).observe(tokens.into());
        }
    }
}

/// The first byte of an answer came.
pub(crate) fn first_chunk(provider: &'static str, after: Duration) {
    let labels = ProviderLabels {
        gen_ai_operation_name: OPERATION,
        gen_ai_provider_name: provider,
    };
    FIRST_CHUNK
        .get_or_create(&labels)
        .observe(after.as_secs_f64());
}

/// A call was made again because one before had failed.
pub(crate) fn retried() {
    RETRIES.fetch_add(1, Ordering::Relaxed);
}

/// No more calls are made in a turn.
pub(crate) fn stopped(reason: &'static str) {
    STOPS.get_or_create(&StopLabels { reason }).inc();
}

pub(crate) fn retries() -> u64 {
    RETRIES.load(Ordering::Relaxed)
}

/// Any client may name any model, so only the first names are kept apart, and only short ones.
fn bounded(name: &str, known: &mut BTreeSet<String>) -> String {
    const LONGEST: usize = 64;
    if known.contains(name) {
        return name.to_owned();
    }
    let sound = |c: char| c.is_ascii_alphanumeric() || "-_.:/@".contains(c);
    if known.len() >= MAX_MODELS || name.len() > LONGEST || !name.chars().all(sound) {
        return "other".to_owned();
    }
    known.insert(name.to_owned());
    name.to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_models_are_bounded() {
        let mut known = BTreeSet::new();
        assert_eq!(bounded("gpt-4o", &mut known), "gpt-4o");
        assert_eq!(bounded("two words", &mut known), "other");
        assert_eq!(bounded(&"x".repeat(65), &mut known), "other");
        for n in 0..2 * MAX_MODELS {
            bounded(&format!("m-{n}"), &mut known);
        }
        assert_eq!(known.len(), MAX_MODELS);
        assert_eq!(bounded("gpt-4o", &mut known), "gpt-4o");
        assert_eq!(bounded("one-more", &mut known), "other");
    }
}
