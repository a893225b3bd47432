//! The sidecar from outside, with the scripted `opencode`: one binary, a module a subject.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

#[path = "../support/mod.rs"]
mod support;

mod audit;
mod auth;
mod backend;
mod caller;
mod console;
mod contract;
mod conversation;
mod dashboard;
mod diagnosis;
mod engine;
mod errors;
mod events;
mod leaving;
mod memory;
mod metrics;
mod origin;
mod probes;
mod prompting;
mod sandbox;
mod sessions;
mod starting;
mod traces;
mod waiting;
mod websocket;
