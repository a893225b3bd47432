//! The sidecar from outside, with the real OpenCode.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

#[expect(dead_code, reason = "the unit tests of the gateway use the rest of it")]
#[path = "../support/llm.rs"]
mod llm;
#[path = "../support/mod.rs"]
mod support;
mod world;

mod creating;
mod crowd;
mod engine;
mod faults;
mod healing;
mod stopping;
mod turns;
