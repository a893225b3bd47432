//! The broker of what the agents of one session ask: which requests wait, what answers them, how they ended. Pure.
//!
//! ```text
//!            +--a rule decides---------------+
//! asked -----+                               v
//!            +--> waits --answer, timeout--> given --OpenCode has it--> ended
//!                   ^                          |  |
//!                   +--OpenCode did not take it+  +--call, turn or process ended--> ended (withdrawn)
//! ```
//!
//! The first answer that is given holds. OpenCode is never told `always`, because there it would hold for all sessions:
//! the session keeps such rules itself, and OpenCode is told `once` each time.

mod broker;
mod ends;
mod new_ask;
mod open;
#[cfg(test)]
mod tests;

pub(crate) use self::broker::Asks;
pub(crate) use self::new_ask::{Asked, NewAsk, Settings};
