//! The settings of the gateway.

use std::path::PathBuf;
use std::time::Duration;

use super::upstream::ProxySettings;
use crate::model::Budget;
use crate::setting;

/// The comments are the words of `--help`.
#[derive(Clone, Debug, clap::Args)]
#[command(next_help_heading = "Models")]
#[group(skip)]
pub(crate) struct Config {
    /// Longest a provider may take to begin its answer
    // Second attempts included.
    #[arg(long = "model-header-timeout", default_value = "120", value_parser = setting::duration)]
    pub(crate) header_timeout: Duration,
    /// Longest pause within a provider's answer
    #[arg(long = "model-idle-timeout", default_value = "120", value_parser = setting::duration)]
    pub(crate) idle_timeout: Duration,
    /// Milliseconds for which small pieces of an answer are collected, to reach OpenCode as one; 0: never
    // OpenCode pays for each piece, however short. The first piece and the end of an answer never wait.
    #[arg(long = "model-merge-ms", default_value = "80", value_parser =
        setting::number(0..=1000_u64, "milliseconds from 0 to 1000 (0 merges nothing)"))]
    pub(crate) merge_ms: u64,
    /// Longest wait a provider may ask for with Retry-After
    // OpenCode obeys any, were it days.
    #[arg(long = "max-retry-after-secs", default_value = "60", value_parser = setting::duration)]
    pub(crate) max_retry_after: Duration,
    /// What a session may spend that brings no budget of its own.
    #[command(flatten)]
    pub(crate) default_budget: Budget,
    /// Certificates to trust besides the system's, for calls to providers and the backend
    #[arg(long = "extra-ca-file")]
    pub(crate) extra_ca_file: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) proxy: ProxySettings,
}
