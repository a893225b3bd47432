//! Why a configuration is not accepted.

use std::path::PathBuf;

/// Why the program will not start. Reads as one line.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// A value that is not accepted.
    #[error("{name}={value:?} is not accepted: give {accepts}")]
    BadValue {
        /// The variable, or the flag if it came from there.
        name: String,
        /// What was given.
        value: String,
        /// What would be accepted.
        accepts: String,
    },
    /// The same for a secret, whose value is not shown.
    #[error("{name} is not accepted (the value is not shown): give {accepts}")]
    BadSecret {
        /// The variable, or the flag if it came from there.
        name: String,
        /// What would be accepted.
        accepts: String,
    },
    /// A file that a setting names and that cannot be read.
    #[error("{name} names {path:?}, which cannot be read: {reason}")]
    BadFile {
        /// The variable or flag.
        name: String,
        /// The file.
        path: PathBuf,
        /// What the system said.
        reason: String,
    },
    /// The OpenCode binary is not where it was said to be.
    #[error("{0}")]
    NoBinary(String),
    /// The data directory cannot be used.
    #[error("DATA_DIR={path:?} cannot be used: {reason}; give a directory this user can write")]
    DataDir {
        /// The directory.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// The command line itself.
    #[error("{0}; --help lists what there is")]
    Usage(String),
}
