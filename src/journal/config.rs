//! The settings of the journal, and the figures that only tests change.

use std::path::PathBuf;
use std::time::Duration;

use super::store;
use crate::setting;

/// The settings of the journal. Their comments are the text of `--help`.
#[derive(Clone, Debug, clap::Args)]
#[command(next_help_heading = "Sessions")]
#[group(skip)]
pub(crate) struct Config {
    /// The directory of the database; made if it is missing.
    #[arg(skip)]
    pub(crate) dir: PathBuf,
    /// The most the journal may take on disk; finished sessions go first, the oldest first
    #[arg(long = "journal-max-bytes", default_value = "512Mi", value_parser =
        setting::bytes(4 << 20..=1 << 40, "an amount of memory from 4Mi to 1Ti, such as 512Mi"))]
    pub(crate) max_bytes: u64,
    /// How long a finished session is kept: `SESSION_RETENTION`.
    #[arg(skip)]
    pub(crate) retention: Duration,
}

/// What tests make shorter or smaller.
#[derive(Clone, Debug)]
pub(super) struct Tuning {
    /// The disk hangs if it has not answered for so long.
    pub(super) hang: Duration,
    /// The first and the longest delay before a group that failed is tried again.
    pub(super) retry: (Duration, Duration),
    /// What is kept in memory while nothing can be written, of the pod's 1 GiB.
    pub(super) kept_bytes: usize,
    /// The WAL is copied into the database when it has so many pages.
    pub(super) checkpoint_pages: u32,
}

// === impl Tuning ===

impl Tuning {
    pub(super) fn of(config: &Config) -> Self {
        // A WAL of 4 MiB, but at most an eighth of what the journal may take.
        let pages = config.max_bytes / 8 / store::PAGE;
        Self {
            hang: Duration::from_secs(2),
            retry: (Duration::from_millis(100), Duration::from_secs(1)),
            kept_bytes: 64 << 20,
            checkpoint_pages: u32::try_from(pages).unwrap_or(1000).clamp(16, 1000),
        }
    }
}
