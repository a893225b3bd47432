//! What is under `deploy/`, as the cluster would see it: rendered, validated, and held to our own rules.
//!
//! Everything is read from `deploy/rendered`, so no test needs a cluster, a network or kubectl. Where
//! there is a kubectl, `rendering` compares with what it makes now.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

#[path = "../support/mod.rs"]
mod support;

mod custom;
mod documents;
mod known;
mod manifests;
mod mutations;
mod quantity;
mod rendering;
mod rules;
mod same;
mod validator;
