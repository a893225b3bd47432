//! The command line as people and scripts see it: the real binary, the real OpenCode, the demo model, pipes and
//! terminals.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

#[path = "../support/mod.rs"]
mod support;

mod asked;
mod doctor;
mod documents;
mod exits;
mod golden;
mod local;
mod piped;
mod program;
mod terminal;
mod tmux;
