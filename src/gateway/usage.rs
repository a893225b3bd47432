//! The token counts of an answer, in the words of each dialect. Pure.

use serde::Deserialize;

use crate::provider::Dialect;

/// What one call cost. `input` holds `cached`, and `output` holds `reasoning`, in every dialect.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Tokens {
    pub(crate) input: u64,
    pub(crate) output: u64,
    pub(crate) cached: u64,
    pub(crate) reasoning: u64,
    /// What the provider says that it charges, in billionths of a US dollar. Few do: `OpenRouter`, and gateways such as
    /// `LiteLLM` that are told to.
    pub(crate) nano_usd: Option<u64>,
}

/// The three dialects' names for the same things.
#[derive(Deserialize, Default)]
#[serde(default)]
struct Counts {
    prompt_tokens: Option<u64>,
    completion_tokens: Option<u64>,
    prompt_tokens_details: Option<Details>,
    completion_tokens_details: Option<Details>,
    /// `DeepSeek`.
    prompt_cache_hit_tokens: Option<u64>,
    input_tokens: Option<u64>,
    output_tokens: Option<u64>,
    input_tokens_details: Option<Details>,
    output_tokens_details: Option<Details>,
    cache_read_input_tokens: Option<u64>,
    cache_creation_input_tokens: Option<u64>,
    /// In US dollars where it is a number. Others have other things here, which must not spoil the counts.
    cost: Option<serde_json::Value>,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct Details {
    cached_tokens: Option<u64>,
    reasoning_tokens: Option<u64>,
}

/// An answer that is one JSON text.
#[derive(Deserialize)]
struct Body {
    usage: Option<Counts>,
}

// === impl Tokens ===

impl Tokens {
    pub(crate) const fn total(self) -> u64 {
        self.input.saturating_add(self.output)
    }

    /// As metrics name them.
    pub(super) const fn by_kind(self) -> [(&'static str, u64); 4] {
        [
            ("input", self.input),
            ("output", self.output),
            ("cache_read", self.cached),
            ("reasoning", self.reasoning),
        ]
    }

    /// What the provider charges, as far as it says so.
    pub(super) fn usd(self) -> Option<f64> {
        #[expect(clippy::cast_precision_loss, reason = "it is below 2^53")]
        self.nano_usd.map(|nano| nano as f64 / 1e9)
    }

    pub(super) fn add(&mut self, other: Self) {
        self.input = self.input.saturating_add(other.input);
        self.output = self.output.saturating_add(other.output);
        self.cached = self.cached.saturating_add(other.cached);
        self.reasoning = self.reasoning.saturating_add(other.reasoning);
        let both = self.nano_usd.zip(other.nano_usd);
        let sum = both.map(|(one, more)| one.saturating_add(more));
        self.nano_usd = sum.or(self.nano_usd).or(other.nano_usd);
    }

    pub(super) fn max(self, other: Self) -> Self {
        Self {
            input: self.input.max(other.input),
            output: self.output.max(other.output),
            cached: self.cached.max(other.cached),
            reasoning: self.reasoning.max(other.reasoning),
            nano_usd: self.nano_usd.max(other.nano_usd),
        }
    }

    /// The counts in a `usage` object; `None` if it holds none.
    pub(super) fn read(dialect: Dialect, usage: &str) -> Option<Self> {
        let counts: Counts = serde_json::from_str(usage).ok()?;
        Some(counts.tokens(dialect)).filter(|tokens| *tokens != Self::default())
    }

    /// The counts of an answer that is one JSON text.
    pub(super) fn read_body(dialect: Dialect, body: &[u8]) -> Option<Self> {
        let body: Body = serde_json::from_slice(body).ok()?;
        Some(body.usage?.tokens(dialect)).filter(|tokens| *tokens != Self::default())
    }
}

// === impl Counts ===

impl Counts {
    fn tokens(self, dialect: Dialect) -> Tokens {
        let nano_usd = self.cost.as_ref().and_then(nano_usd);
        let cached = |details: Option<Details>| details.and_then(|details| details.cached_tokens);
        let reasoning =
            |details: Option<Details>| details.and_then(|details| details.reasoning_tokens);
        let [input, output, cached, reasoning] = match dialect {
            Dialect::Chat => [
                self.prompt_tokens,
                self.completion_tokens,
                cached(self.prompt_tokens_details).or(self.prompt_cache_hit_tokens),
                reasoning(self.completion_tokens_details),
            ],
            Dialect::Responses => [
                self.input_tokens,
                self.output_tokens,
                cached(self.input_tokens_details),
                reasoning(self.output_tokens_details),
            ],
            // Anthropic counts what was cached apart.
            Dialect::Messages => {
                let input = [
                    self.input_tokens,
                    self.cache_read_input_tokens,
                    self.cache_creation_input_tokens,
                ];
                let sum =
                    |sum: u64, count: Option<u64>| sum.saturating_add(count.unwrap_or_default());
                [
                    Some(input.into_iter().fold(0, sum)),
                    self.output_tokens,
                    self.cache_read_input_tokens,
                    None,
                ]
            }
        }
        .map(Option::unwrap_or_default);
        Tokens {
            input,
            output,
            cached,
            reasoning,
            nano_usd,
        }
    }
}

/// A million dollars and more for one call is no cost.
fn nano_usd(cost: &serde_json::Value) -> Option<u64> {
    const MOST: f64 = 1e6;
    let dollars = cost.as_f64().filter(|cost| (0.0..MOST).contains(cost))?;
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "it is from 0 to 1e15"
    )]
    let nano = (dollars * 1e9).round() as u64;
    Some(nano)
}
