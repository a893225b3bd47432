//! What a session leaves behind while it runs: its log of events, and who may read it.
//!
//! Owns the event log with its cursors ([`log`]) and the number of streams one session serves
//! ([`limits`]). Knows neither HTTP nor OpenCode.

pub(crate) mod limits;
pub(crate) mod log;
