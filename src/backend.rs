//! The Go backend: the ends of sessions are reported to it, and it is asked which sessions it has as active.
//!
//! ```text
//! registry --unreported--> reports --PATCH, up to 4 at once--> backend
//!     ^                       |
//!     +------- reported ------+
//!     +------- adopt --- adoption <--GET, at start, until it works-- backend
//! ```
//!
//! Owns the calls to `BACKEND_API_URL`: their deadlines, repetitions and log lines. Promises: the end of
//! every turn is reported until the backend has it, over restarts of the sidecar too where there is a journal;
//! an end is reported once unless an answer is lost; a session that neither the journal nor the agent knows is
//! never touched; and a backend that is down, slow or answers with invalid data delays nothing else. Knows nothing
//! of OpenCode and of our own clients, and reads no answer but the list.

mod adoption;
mod circuit_breaker;
mod client;
mod config;
mod context;
mod reports;
mod spawn;

pub(crate) use self::config::{Bearer, Config, Conversations};
pub(crate) use self::spawn::{Handle, spawn};

#[cfg(test)]
mod tests;
