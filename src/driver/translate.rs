//! OpenCode's events to ours: pure, one [`Translator`] per session.
//!
//! It takes what OpenCode said about one root session and its subagents, and a moment; it gives the
//! events to publish and the [`Signal`]s the driver acts on. It reads no clock and waits for nothing.
//!
//! What it promises:
//! - The `output` texts of a part join to the part's final text, without gap and without repetition,
//!   whatever was lost or said twice in between. After a loss ([`Translator::feed_lost`]) the deltas of a
//!   part that was open wait for its final text, as it is not known what is missing before them.
//! - A tool call has one `tool_call` and one `tool_result`, also when the turn ends under it.
//! - Between [`Translator::begin_turn`] and [`Translator::finish`] there is exactly one terminal event,
//!   the last. Outside of a turn it learns, and publishes nothing.
//!
//! It does not decide when a turn has ended; `driver::ending` does. What it remembers grows with the
//! number of parts of the session (about 100 bytes each), so that no part is ever published twice.

mod apply;
mod asks;
mod failure;
mod files;
mod lifecycle;
mod output_diff;
mod progress;
mod result;
mod sequence;
mod signal;
mod status;
#[cfg(test)]
mod tests;
mod text;
mod text_part;
mod tool;
mod tool_counts;
mod tool_run;
mod translator;
mod turn;

pub(crate) use self::failure::classify;
pub(in crate::driver) use self::result::stored_outcome;
pub(crate) use self::signal::Signal;
pub(in crate::driver) use self::tool::requested;
pub(crate) use self::translator::{Settings, Translator};
pub(crate) use self::turn::End;
