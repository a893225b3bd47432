//! The way of the agent's tools to the network: a proxy on loopback that decides which hosts they reach.
//!
//! ```text
//! tool --CONNECT or plain HTTP, the credential of its session--> server -> connection
//!      -> sessions (who is it? may it ask for this host?) -> target (name to addresses, each checked) -> tunnel
//! ```
//!
//! Owns: the listener, the credentials, the tunnels. Promises: a name that is not listed is not looked up; what is
//! connected to is the address that was checked; a credential opens what its session may reach, as long as a turn of it
//! runs, and a tunnel is cut when its turn ends or its host leaves the list; who is refused reads why. Does not: look into what
//! goes through a tunnel, or keep anything on disk. With `EGRESS=open` nothing of this runs.

mod config;
mod connection;
mod credential;
mod decisions;
mod handle;
mod head;
mod refusal;
mod server;
mod sessions;
mod shared;
mod target;
mod tunnel;

pub(crate) use self::config::Config;
pub(crate) use self::decisions::Decision;
pub(crate) use self::handle::{Bound, Handle};
pub(crate) use self::sessions::{Grant, Subject};

#[cfg(test)]
mod tests;
