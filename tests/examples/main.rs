//! What is in `examples/`, as its readers run it: against a sidecar with the demo model, over loopback.

#![expect(
    clippy::unwrap_used,
    clippy::disallowed_methods,
    reason = "a test fails by panicking, and a program's PATH is that of whoever runs the test"
)]

#[path = "../support/mod.rs"]
mod support;

mod browser;
mod compose;
mod curl;
mod documents;
mod go;
mod kind;
mod python;
mod world;
