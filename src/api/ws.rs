//! `GET /sessions/{id}/ws`: the events of a session as the messages of a WebSocket, and messages of the client back.
//!
//! [`attach`] has the handlers. What they answer with begins a [`conversation`], a task of its own that owns the socket: it
//! sends what its [`source`] has, gives each message of the client to a command, and closes with a [`close`] code. Nothing is
//! queued for a reader: events are pulled from the log when the socket takes more, already made into frames that all readers
//! of a session share ([`readers`]). Does not know OpenCode or the disk, nor how a session runs.

pub(super) mod attach;
mod authenticated;
#[cfg(any(test, feature = "bench"))]
pub(crate) mod bench;
mod bucket;
mod close;
mod command;
pub(crate) mod connection;
pub(crate) mod conversation;
pub(crate) mod handshake;
mod message;
pub(crate) mod readers;
pub(crate) mod source;
mod topic;

pub(crate) use self::readers::{Sockets, UNAUTHENTICATED};

#[cfg(test)]
mod tests;
