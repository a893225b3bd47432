//! Sessions: the status of each, its log of events, who may read it, and which may exist.
//!
//! ```text
//! api --create--> Registry --Turn--> driver         api --find--> Session --Command--> driver
//!                                   driver --append--> log --> journal
//! ```
//!
//! The [`Registry`] says whether a turn may begin and hands a [`TurnHandle`] to whoever drives it. The channel is the
//! interface: this module knows neither HTTP nor OpenCode.

mod accepted;
pub(crate) mod all_events;
mod asks;
mod beginning;
mod config;
mod credentials;
pub(crate) mod diagnosis;
mod labels;
pub(crate) mod limits;
pub(crate) mod log;
mod note;
mod outcome;
mod prompt;
mod prompt_note;
mod prompt_row;
mod queue;
mod record;
mod registry;
mod request;
mod row;
mod session_map;
mod status;
mod steer;
mod steer_note;
mod turn;
mod turn_audit;
mod turn_ends;
mod turn_handle;
mod turn_observers;
mod turn_progress;
mod unsent;

pub(crate) use self::accepted::{Acceptance, Accepted};
pub(crate) use self::asks::{
    Answer, AnswerCommand, AnswerError, Ask, AskKind, AskOutcome, EndedAsk, Subject,
};
pub(crate) use self::beginning::Beginning;
pub(crate) use self::config::Config;
pub(crate) use self::labels::{Change, LabelChange, Labels};
pub(crate) use self::limits::STREAMS_PER_SESSION;
pub(crate) use self::outcome::Created;
pub(crate) use self::prompt::{Part, Prompt};
pub(crate) use self::record::{Command, ForkedFrom, Session};
pub(crate) use self::registry::{
    AddedFork, Adoption, ArchiveError, HeldLock, NewFork, OrphanSession, Receivers, Registry,
    Report, Survey,
};
pub(crate) use self::request::{CreateError, Idempotency, OnBusy, Request, Task};
pub(crate) use self::session_map::Found;
pub(crate) use self::status::{Problem, Reverted, Status};
pub(crate) use self::steer::{Steer, SteerOutcome, SteerRecord};
pub(crate) use self::turn::{Interrupted, TurnKind};
pub(crate) use self::turn_handle::{Turn, TurnHandle};
pub(crate) use self::unsent::Unsent;

pub(crate) use crate::journal::{Figures, Health};

#[cfg(test)]
pub(crate) mod tests;
