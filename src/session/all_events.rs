//! The events of all sessions as one log with ids of its own: one order, any number of readers.
//!
//! ```text
//! journal::Order --position: session, event--> Cursor --frame--> out of the session's ring, or its rows on disk
//! ```
//!
//! A reader's cursor is the position of an event, `<epoch>-<position>`, and what the log of one session promises holds
//! here too. Nothing is kept twice: a frame gets its id and the fields `session_id` and `event_id` while it is read.

mod filter;
mod frames;
mod reader;

pub(crate) use self::filter::Filter;
pub(crate) use self::reader::{Reader, Source};
