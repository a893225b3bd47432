//! How a transcript is to look.

use crate::cli::style::Style;

/// Lines of one tool's output that a terminal is shown; the rest is counted.
pub(super) const SHORT: usize = 12;

#[derive(Clone, Copy, Debug)]
pub(in crate::cli) struct Look {
    pub(in crate::cli) style: Style,
    /// The width of the terminal; nothing for a pipe, where lines have any length.
    pub(in crate::cli) columns: Option<usize>,
    /// Whether all output of tools is shown.
    pub(in crate::cli) full: bool,
}
