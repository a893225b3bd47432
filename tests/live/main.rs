//! The sidecar from outside, with the real OpenCode.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

#[path = "../support/llm.rs"]
#[allow(
    dead_code,
    clippy::allow_attributes,
    reason = "each test binary uses its part of this"
)]
mod llm;
#[path = "../support/mod.rs"]
mod support;
mod world;

mod answers;
mod asks;
mod attacks;
mod budgets;
mod conversation;
mod conversation_secrecy;
mod creating;
mod diagnosis;
mod dialects;
mod egress;
mod engine;
mod events;
mod faults;
mod gateway;
mod healing;
mod insider;
mod memory;
mod merging;
mod newcomer;
mod observability;
mod outsider;
mod overlap;
mod place;
mod prompting;
mod proxied;
mod proxy;
mod reasons;
mod recovering;
mod restarting;
mod secrecy;
mod shell_environment;
mod stopping;
mod tasks;
mod traces;
mod turns;
mod undoing;
mod user;
mod warm_up;
mod websocket;
mod work;
mod workspace;
