//! opencode-sidecar: one HTTP server next to an application, one OpenCode child behind it.
//!
//! Where to look (docs/ARCHITECTURE.md has the whole map):
//!
//! - [`config`]: flags and environment to a checked `Config`; the only reader of both.
//! - `app`: what is started in which order, and ended in which.
//! - `api`: routes, errors, the listener.
//! - `journal`: sessions and their events on disk.
//! - `engine`: the child process, from spawn to sweep.
//! - `sandbox`: what the kernel keeps between the agent and the rest.
//! - `opencode`: OpenCode's HTTP API and files.
//! - `workspace`: whether the agent's directory can be used.
//!
//! Imports run one way; `tests/architecture` checks it.

mod api;
mod app;
mod backend;
mod backoff;
#[cfg(any(test, feature = "bench"))]
#[doc(hidden)]
pub mod bench;
mod clock;
pub mod config;
pub mod drain;
mod driver;
mod engine;
mod event;
mod gateway;
pub mod healthcheck;
mod id;
mod journal;
mod loopback;
mod model;
mod opencode;
mod outgoing;
mod process;
mod provider;
mod sandbox;
mod secret;
mod session;
mod setting;
mod shutdown;
mod socket_owner;
pub mod telemetry;
mod test_turn;
mod text;
mod tool;
mod trust;
mod workspace;

pub use app::{App, AppError, harden, widen};
pub use config::Config;
pub use engine::{GIT, OomScore, SHIM, git, shim};
pub use sandbox::{RUNNER, is_shell, run_commands, run_shell};
