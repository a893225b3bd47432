//! opencode-sidecar: one HTTP server next to an application, one OpenCode child behind it.
//!
//! Where to look (docs/ARCHITECTURE.md has the whole map):
//!
//! - [`cli`]: the commands that talk to a running sidecar.
//! - [`config`]: flags and environment to a checked `Config`; the only reader of both.
//! - `app`: what is started in which order, and ended in which.
//! - `api`: routes, errors, the listener.
//! - `session`: which sessions exist, and the log of events of each.
//! - `journal`: sessions and their events on disk.
//! - `driver`: one task per turn, between a session and OpenCode.
//! - `event`: what clients are told as it happens; `conversation`: what they can read again.
//! - `engine`: the child process, from spawn to sweep.
//! - `sandbox`: what the kernel keeps between the agent and the rest.
//! - `opencode`: OpenCode's HTTP API and files.
//! - `gateway`: the way of the child to the providers, who alone get the keys.
//! - `provider`, `tool`, `model`: which providers and tools there are, and what a session asks of a model.
//! - `permission`: what the agent may do by itself, and what a person is asked before.
//! - `egress`: the proxy of the agent's tools; `egress_policy`: which hosts it lets them reach.
//! - `backend`: the calls to the Go backend.
//! - `metrics`: what is counted as it happens; `audit`: what was done, and by whom;
//!   `trace`: one trace for each turn.
//!
//! Imports run one way; `tests/architecture` checks it.

mod api;
mod app;
mod audit;
mod backend;
mod backoff;
#[cfg(any(test, feature = "bench"))]
#[doc(hidden)]
pub mod bench;
pub mod cli;
mod clock;
pub mod config;
mod console;
mod conversation;
pub mod drain;
mod driver;
mod egress;
mod egress_policy;
mod engine;
mod event;
mod gateway;
pub mod healthcheck;
mod id;
mod idumb;
mod journal;
mod locks;
mod loopback;
mod metrics;
mod model;
mod opencode;
mod outgoing;
mod permission;
mod process;
mod provider;
mod sandbox;
mod secret;
mod session;
mod setting;
mod shutdown;
mod socket_owner;
pub mod telemetry;
mod text;
mod tool;
mod trace;
mod trust;
mod unauthenticated;
mod warm_up_turn;
mod workspace;

pub use app::{App, AppError, harden, raise_open_file_limit};
pub use config::Config;
pub use engine::{GIT, OomScore, SHIM, git, shim};
pub use sandbox::{RUNNER, is_shell, run_commands, run_shell};
