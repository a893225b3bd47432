//! What a session is: its record, its log of events, who may read it, and which may exist.
//!
//! ```text
//! api --create--> Registry --Turn--> driver         api --find--> Session --Command--> driver
//!                                   driver --append--> log --wake--> journal
//! ```
//!
//! The [`Registry`] says whether a turn may begin and hands a [`TurnHandle`] to whoever drives it. The
//! channel is the interface: this module knows neither HTTP nor OpenCode.

pub(crate) mod limits;
pub(crate) mod log;
mod record;
mod registry;
mod row;
mod turn_handle;

use std::time::Duration;

pub(crate) use self::record::{Command, Problem, Session, Status};
pub(crate) use self::registry::{
    Adoption, ArchiveError, Found, OrphanSession, Receivers, Registry, Report,
};
pub(crate) use self::turn_handle::{Created, Interrupted, Turn, TurnHandle, TurnKind};

pub(crate) use crate::journal::{Figures, Health};
use crate::model::ModelSpec;
use crate::setting;
use crate::tool::Tools;

/// The settings of sessions. Their comments are the words of `--help`.
#[derive(Clone, Copy, Debug, clap::Args)]
#[command(next_help_heading = "Sessions")]
#[group(skip)]
pub(crate) struct Config {
    /// Sessions that may be active at once
    #[arg(long = "max-concurrent-sessions", default_value = "5",
        value_parser = setting::number(1..=1000_usize, "a number from 1 to 1000"))]
    pub(crate) most: usize,
    /// How long a finished session can be asked for
    #[arg(long = "session-retention", default_value = "24h", value_parser = setting::duration)]
    pub(crate) retention: Duration,
    /// Whether prompts are kept in the journal
    #[arg(long = "journal-prompts", default_value = "on", action = clap::ArgAction::Set,
        value_parser = setting::switch)]
    pub(crate) keep_prompts: bool,
}

/// What a client asks for, checked.
#[derive(Clone, Debug)]
pub(crate) struct Request {
    pub(crate) id: String,
    pub(crate) prompt: String,
    pub(crate) system_prompt: Option<String>,
    pub(crate) model: ModelSpec,
    /// `None`: every tool.
    pub(crate) tools: Option<Tools>,
    pub(crate) idempotency: Option<Idempotency>,
}

/// A key by which the same request is known again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Idempotency {
    pub(crate) key: String,
    /// Of the whole body: the key with another body is a mistake.
    pub(crate) digest: [u8; 32],
}

/// Why a session was not made. The texts are for the client.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum CreateError {
    #[error("a session with this session_id exists already; choose another id")]
    Duplicate,
    #[error(
        "{0} sessions are active, which is the most this sidecar runs (MAX_CONCURRENT_SESSIONS)"
    )]
    Full(usize),
    #[error("this Idempotency-Key was used with another body; use a new key for a new request")]
    KeyReused,
    #[error("a turn of this session is running; wait for its end, or stop it")]
    Running,
    #[error("this session never began, so there is nothing to go on with; create a new one")]
    NeverBegan,
    #[error("the agent has nothing of this session any more; create a new one")]
    RemoteGone,
    #[error("the session was removed meanwhile")]
    Removed,
    #[error("the session was cancelled before it had begun")]
    Cancelled,
    #[error("the sidecar is shutting down")]
    ShuttingDown,
    /// The agent's directory cannot be used.
    #[error("{0}")]
    WorkspaceUnavailable(String),
    #[error("{0}")]
    EngineUnavailable(String),
    #[error("{0}")]
    JournalUnavailable(String),
    /// The child refused or did not answer; the text is for the log.
    #[error("{0}")]
    Failed(String),
}

#[cfg(test)]
pub(crate) mod tests;
