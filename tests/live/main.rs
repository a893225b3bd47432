//! The sidecar from outside, with the real OpenCode.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

#[path = "../support/mod.rs"]
mod support;

mod engine;
mod newcomer;
