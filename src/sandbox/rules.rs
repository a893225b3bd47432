//! The files of one domain.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

/// What one domain may do with files.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Rules {
    /// To be read and executed.
    pub(super) read: Vec<PathBuf>,
    /// Folders that may be listed, with all below; their files are not readable by this.
    pub(super) list: Vec<PathBuf>,
    /// To be read, executed and written.
    pub(super) write: Vec<PathBuf>,
    /// Devices and terminals.
    pub(super) devices: Vec<PathBuf>,
}
