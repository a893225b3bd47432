//! The OpenCode child: one process, started, watched, restarted and stopped by one actor.
//!
//! ```text
//!            start                    listening, healthy, warmed up
//! Stopped ----------> Starting ------------------------------------> Ready
//!    ^                  |   ^                                          |
//!    | stop             |   | delay over                               | exit, wedge
//!    |           failed v   |                                          v
//!    +------------- Waiting (budget left) / Failed (budget spent) <----+
//! ```
//!
//! A child that makes memory short goes from Ready to Starting, because the guard says so; that is no failure.
//!
//! Promises: at most one child at a time; a new password with every start, kept in memory only; when
//! the actor is done no process of ours is left. It knows nothing of sessions, but for how many turns
//! there are ([`Handle::turn`]).

mod actor;
mod child;
mod child_config;
mod config;
mod environment;
mod files;
mod git;
mod guard;
mod handle;
mod history;
mod leftovers;
mod load;
mod memory;
mod oom_score;
mod operation;
mod output;
mod port;
mod process_table;
mod reaper;
mod request;
mod runners;
mod shim;
mod state;
mod sweep;
mod warm_up;

pub(crate) use self::child_config::{ChildConfig, ChildConfigs};
pub(crate) use self::config::Config;
pub(crate) use self::files::{executable, lock, writable};
pub use self::git::{NAME as GIT, exec as git};
pub(crate) use self::handle::{Answer, AskError, Handle, Status, spawn};
pub(crate) use self::history::Ended;
pub(crate) use self::load::LoadGuard;
pub(crate) use self::memory::{Memory, Source as MemorySource};
pub use self::oom_score::OomScore;
pub(crate) use self::operation::Operation;
pub(crate) use self::port::least_port;
pub(crate) use self::runners::shell_link;
pub use self::shim::{NAME as SHIM, exec as shim};
pub(crate) use self::state::Snapshot;
pub(crate) use self::warm_up::{FinishedWarmUpTurn, WarmUpReport, WarmUpTurn};
