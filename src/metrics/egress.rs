//! What became of the requests of the agent's tools to the egress proxy.

use std::sync::atomic::{AtomicU64, Ordering};

/// Every outcome there is: the words of `egress::refusal`, and `allowed`.
const OUTCOMES: [&str; 10] = [
    "allowed",
    "address",
    "credential",
    "crowded",
    "malformed",
    "none",
    "not_listed",
    "own_port",
    "unreachable",
    "unresolved",
];

static COUNTS: [AtomicU64; OUTCOMES.len()] = [const { AtomicU64::new(0) }; OUTCOMES.len()];

/// A word that is none of [`OUTCOMES`] is not counted.
pub(crate) fn decided(outcome: &str) {
    if let Some(at) = OUTCOMES.iter().position(|word| *word == outcome)
        && let Some(count) = COUNTS.get(at)
    {
        count.fetch_add(1, Ordering::Relaxed);
    }
}

pub(crate) fn requests() -> [(&'static str, u64); OUTCOMES.len()] {
    std::array::from_fn(|at| {
        let of = |counts: &[AtomicU64]| {
            counts
                .get(at)
                .map_or(0, |count| count.load(Ordering::Relaxed))
        };
        (OUTCOMES.get(at).copied().unwrap_or(""), of(&COUNTS))
    })
}
