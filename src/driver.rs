//! How sessions meet the child: what a client wants becomes calls of OpenCode, and what OpenCode says
//! becomes what we publish.
//!
//! ```text
//! Seat -> dispatch -> actor (one task per session) --calls--> opencode
//! opencode --feed--> link (one task per child) -> switchboard -> actor -> translate (pure) -> log
//! ```
//!
//! Promises: every turn that begins ends with exactly one terminal event, whatever dies in between.
//! Decides nothing about HTTP answers, and keeps no keys but inside the gateway's grant.

mod actor;
mod closing;
mod crowd;
mod dispatch;
pub(crate) mod ending;
mod instructions;
mod link;
mod opening;
mod publish;
mod recovery;
mod results;
mod resync;
mod switchboard;
pub(crate) mod translate;
mod words;

use std::path::PathBuf;
use std::time::Duration;

pub(crate) use self::dispatch::spawn;

/// What the driver was told.
#[derive(Clone, Debug)]
pub(crate) struct Config {
    pub(crate) workspace: PathBuf,
    /// Longest a turn may run.
    pub(crate) turn_timeout: Duration,
    /// How long a new session waits for an engine that is not ready.
    pub(crate) engine_wait: Duration,
    /// The same tool call with the same input this many times in a row ends the turn; 0 is never.
    pub(crate) loop_limit: u32,
    /// Silence after which a running turn is called stalled.
    pub(crate) stall_after: Duration,
    /// How often a turn goes on in the next child when its child dies; 0 is never.
    pub(crate) recoveries: u32,
    /// Whether the workspace's AGENTS.md is added to the system prompt.
    pub(crate) instructions: bool,
}
