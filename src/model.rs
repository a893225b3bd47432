//! The model of a session: where its calls go, what they may cost, and what they came to.
//!
//! These types are the same from the body of a request to the gateway, and from the gateway's counters to
//! the status that a client reads.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::clock::Timestamp;
use crate::provider::Upstream;
use crate::secret::Secret;
use crate::setting;

/// The model that a session asked for.
#[derive(Clone, Debug)]
pub(crate) struct ModelSpec {
    pub(crate) upstream: Upstream,
    pub(crate) name: String,
    pub(crate) version: Option<String>,
    /// `None` where the provider needs none.
    pub(crate) key: Option<Secret>,
    /// `None` leaves what OpenCode asks for; the same for the next.
    pub(crate) temperature: Option<f64>,
    pub(crate) max_tokens: Option<u32>,
    /// Tokens the model can take in; `None`: guessed from its name.
    pub(crate) context_window: Option<u32>,
    /// What is absent here is taken from the pod's default.
    pub(crate) budget: Budget,
}

/// What a further turn of a session changes of the model of the turn before it.
#[derive(Clone, Debug, Default)]
pub(crate) enum ModelChange {
    #[default]
    Nothing,
    /// These fields; the provider, its address and the rest stay.
    Fields(Box<ModelFields>),
    /// All of it.
    Whole(Box<ModelSpec>),
    /// All of it but the key, which was not kept on disk: that of the turn before is used, if it is for the same
    /// provider at the same address.
    Keyless {
        provider: String,
        base: String,
        fields: Box<ModelFields>,
    },
}

/// Fields of a [`ModelSpec`] that can change while its provider stays.
#[derive(Clone, Debug, Default)]
pub(crate) struct ModelFields {
    pub(crate) name: Option<String>,
    pub(crate) version: Option<String>,
    pub(crate) key: Option<Secret>,
    pub(crate) temperature: Option<f64>,
    pub(crate) max_tokens: Option<u32>,
    pub(crate) context_window: Option<u32>,
    pub(crate) budget: Budget,
}

/// What a session may spend, over all its turns. Absent: no limit. The comments are the words of `--help`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::Args)]
#[command(next_help_heading = "Models")]
pub(crate) struct Budget {
    /// Tokens a session may spend over all its turns, unless it brings its own limit; none: no limit
    // Input and output of all calls together. A call that is running when it is spent runs to its end.
    #[arg(long = "max-total-tokens", value_parser =
        setting::number(1..=1_000_000_000_000_u64, "a number of tokens from 1 to 1000000000000"))]
    pub(crate) max_total_tokens: Option<u64>,
    /// Model calls a session may make over all its turns, unless it brings its own limit; none: 500 in each
    /// turn; 0: no limit
    #[arg(long = "max-calls", value_parser =
        setting::number(0..=1_000_000_000_u64, "a number of calls from 0 to 1000000000 (0 is no limit)"))]
    pub(crate) max_calls: Option<u64>,
}

/// What the gateway counted. More than `usage` where the agent threw an answer away.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(default)]
pub(crate) struct ModelCalls {
    /// Calls that reached a provider (or the demo model).
    // The journal of a version before this one has the name in the alias.
    #[serde(alias = "made")]
    #[schema(required)]
    pub(crate) calls: u64,
    /// Of these, calls made again because one before had failed.
    #[serde(alias = "retried")]
    #[schema(required)]
    pub(crate) retries: u64,
    #[schema(required)]
    pub(crate) total_tokens: u64,
    /// From the last call to the first byte of its answer.
    pub(crate) first_byte_ms: Option<u64>,
    /// What all calls took together.
    #[schema(required)]
    pub(crate) duration_ms: u64,
    pub(crate) last_error: Option<String>,
}

/// One call of the model in a turn that runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, ToSchema)]
pub(crate) struct ModelCall {
    pub(crate) started_at: Timestamp,
    /// Whether a subagent makes it.
    pub(crate) subagent: bool,
    /// 1, and one more for each failure before it since the last success, and for each time that the gateway sent it again without
    /// what the provider does not support.
    pub(crate) attempt: u32,
    /// Until the first byte of the answer; null: none came.
    pub(crate) first_byte_ms: Option<u64>,
    /// Of the answer.
    pub(crate) bytes: u64,
    /// Null while it is under way.
    pub(crate) duration_ms: Option<u64>,
    /// `asked`, `answering`, then `ok`, `cut` or the code of the failure.
    pub(crate) status: &'static str,
}

// === impl ModelChange ===

impl ModelChange {
    /// The model of the next turn, if that of the turn before is `kept`. `None`: there is no key for it.
    pub(crate) fn apply(self, kept: Option<&ModelSpec>) -> Option<ModelSpec> {
        match self {
            Self::Nothing => kept.cloned(),
            Self::Whole(spec) => Some(*spec),
            Self::Fields(fields) => Some(fields.replace_in(kept?)),
            Self::Keyless {
                provider,
                base,
                fields,
            } => {
                let kept = kept?;
                let upstream = &kept.upstream;
                let same = upstream.provider().name == provider && upstream.base() == base;
                same.then(|| fields.complete(kept))
            }
        }
    }
}

// === impl ModelFields ===

impl ModelFields {
    /// `kept` with these fields. Another model has its own version and its own context.
    fn replace_in(self, kept: &ModelSpec) -> ModelSpec {
        let (version, context_window) = match &self.name {
            Some(_) => (self.version, self.context_window),
            None => (
                self.version.or_else(|| kept.version.clone()),
                self.context_window.or(kept.context_window),
            ),
        };
        ModelSpec {
            upstream: kept.upstream.clone(),
            name: self.name.unwrap_or_else(|| kept.name.clone()),
            version,
            key: self.key.or_else(|| kept.key.clone()),
            temperature: self.temperature.or(kept.temperature),
            max_tokens: self.max_tokens.or(kept.max_tokens),
            context_window,
            budget: Budget {
                max_total_tokens: self
                    .budget
                    .max_total_tokens
                    .or(kept.budget.max_total_tokens),
                max_calls: self.budget.max_calls.or(kept.budget.max_calls),
            },
        }
    }

    /// These fields, and nothing of `kept` but where its calls go and its key.
    fn complete(self, kept: &ModelSpec) -> ModelSpec {
        ModelSpec {
            upstream: kept.upstream.clone(),
            name: self.name.unwrap_or_else(|| kept.name.clone()),
            version: self.version,
            key: kept.key.clone(),
            temperature: self.temperature,
            max_tokens: self.max_tokens,
            context_window: self.context_window,
            budget: self.budget,
        }
    }
}

// === impl ModelCalls ===

impl ModelCalls {
    /// With those of the turn after.
    pub(crate) fn plus(&self, next: &Self) -> Self {
        Self {
            calls: self.calls.saturating_add(next.calls),
            retries: self.retries.saturating_add(next.retries),
            total_tokens: self.total_tokens.saturating_add(next.total_tokens),
            first_byte_ms: next.first_byte_ms.or(self.first_byte_ms),
            duration_ms: self.duration_ms.saturating_add(next.duration_ms),
            last_error: next.last_error.clone().or_else(|| self.last_error.clone()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spec(name: &str, key: &str) -> ModelSpec {
        ModelSpec {
            upstream: Upstream::resolve("openai", None, true, false).unwrap(),
            name: name.into(),
            version: Some("v1".into()),
            key: Some(Secret::new(key)),
            temperature: Some(0.5),
            max_tokens: Some(100),
            context_window: Some(1000),
            budget: Budget::default(),
        }
    }

    fn key(spec: &ModelSpec) -> &str {
        spec.key.as_ref().unwrap().expose()
    }

    #[test]
    fn what_is_left_out_stays_and_another_model_has_its_own_version() {
        let kept = spec("m", "k1");
        let apply = |fields: ModelFields| {
            ModelChange::Fields(Box::new(fields))
                .apply(Some(&kept))
                .unwrap()
        };
        let new_key = apply(ModelFields {
            key: Some(Secret::new("k2")),
            ..ModelFields::default()
        });
        assert_eq!((&*new_key.name, key(&new_key)), ("m", "k2"));
        assert_eq!(new_key.version.as_deref(), Some("v1"));
        let new_model = apply(ModelFields {
            name: Some("n".into()),
            ..ModelFields::default()
        });
        assert_eq!((&*new_model.name, key(&new_model)), ("n", "k1"));
        assert_eq!((new_model.version, new_model.context_window), (None, None));
        assert_eq!(new_model.temperature, Some(0.5));
    }

    #[test]
    fn without_a_key_only_a_whole_model_will_do() {
        assert!(ModelChange::Nothing.apply(None).is_none());
        assert!(ModelChange::Fields(Box::default()).apply(None).is_none());
        let whole = ModelChange::Whole(Box::new(spec("m", "k1")));
        assert_eq!(key(&whole.apply(None).unwrap()), "k1");
    }

    #[test]
    fn a_model_without_its_key_takes_one_for_the_same_provider_only() {
        let kept = spec("m", "k2");
        let keyless = |provider: &str, base: &str| ModelChange::Keyless {
            provider: provider.into(),
            base: base.into(),
            fields: Box::new(ModelFields {
                name: Some("n".into()),
                ..ModelFields::default()
            }),
        };
        let base = kept.upstream.base();
        let applied = keyless("openai", base).apply(Some(&kept)).unwrap();
        assert_eq!((&*applied.name, key(&applied)), ("n", "k2"));
        assert_eq!(applied.temperature, None);
        assert!(keyless("anthropic", base).apply(Some(&kept)).is_none());
        assert!(keyless("openai", "http://x").apply(Some(&kept)).is_none());
    }
}
