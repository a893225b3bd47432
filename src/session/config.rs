//! The settings of sessions.

use std::time::Duration;

use crate::setting;

/// The settings of sessions. Their comments are the text of `--help`.
#[derive(Clone, Copy, Debug, clap::Args)]
#[command(next_help_heading = "Sessions")]
#[group(skip)]
pub(crate) struct Config {
    /// Sessions that may be active at once
    #[arg(long = "max-concurrent-sessions", default_value = "5",
        value_parser = setting::number(1..=1000_usize, "a number from 1 to 1000"))]
    pub(crate) most: usize,
    /// How long a finished session can be asked for
    #[arg(long = "session-retention", default_value = "24h", value_parser = setting::duration)]
    pub(crate) retention: Duration,
    /// How long the model and the key of a finished turn are kept in memory for further turns (0: not at all)
    #[arg(long = "credential-retention", default_value = "1h", value_parser = setting::duration_or_none)]
    pub(crate) credential_retention: Duration,
    /// Whether prompts are kept in the journal
    #[arg(long = "journal-prompts", default_value = "on", action = clap::ArgAction::Set,
        value_parser = setting::switch)]
    pub(crate) keep_prompts: bool,
    /// Whether there is a backend that is told how turns end.
    #[arg(skip)]
    pub(crate) tells_ends: bool,
}
