//! The settings of the driver.

use std::path::PathBuf;
use std::time::Duration;

use crate::event::Reply;
use crate::setting;

/// The comments are the words of `--help`.
#[derive(Clone, Debug, clap::Args)]
#[command(next_help_heading = "Sessions")]
#[group(skip)]
pub(crate) struct Config {
    #[arg(skip)]
    pub(crate) workspace: PathBuf,
    /// Longest a turn may run
    #[arg(long = "session-timeout", default_value = "3600", value_parser = setting::duration)]
    pub(crate) turn_timeout: Duration,
    /// How long a new session waits for an engine that is not ready
    #[arg(long = "engine-wait", default_value = "10", value_parser = setting::duration)]
    pub(crate) engine_wait: Duration,
    /// Same tool call with the same input, this many times in a row, that ends a turn
    #[arg(long = "tool-loop-limit", default_value = "10",
        value_parser = setting::number(0..=1000_u32, "a number from 0 to 1000 (0 turns it off)"))]
    pub(crate) loop_limit: u32,
    /// Silence after which a running turn is reported as stalled
    #[arg(long = "stall-after", default_value = "30", value_parser = setting::duration)]
    pub(crate) stall_after: Duration,
    /// Deaths of the child that one turn survives
    #[arg(long = "max-turn-recoveries", default_value = "2",
        value_parser = setting::number(0..=100_u32, "a number from 0 to 100"))]
    pub(crate) recoveries: u32,
    /// Whether the workspace's AGENTS.md (up to 64 KiB) is added to the system prompt
    #[arg(long = "workspace-instructions", default_value = "on", action = clap::ArgAction::Set,
        value_parser = setting::switch)]
    pub(crate) instructions: bool,
    /// How long a request of the agent waits for a person; a session may say otherwise
    #[arg(long = "ask-timeout", default_value = "300", value_parser = setting::duration)]
    pub(crate) ask_timeout: Duration,
    /// Answer to a permission that nobody answers in time: reject or once
    #[arg(long = "ask-default", default_value = "reject",
        value_parser = setting::word([("reject", Reply::Reject), ("once", Reply::Once)], "reject or once"))]
    pub(crate) ask_default: Reply,
}
