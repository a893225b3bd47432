//! What the kernel keeps between the agent and everything else: the OpenCode child runs in one Landlock
//! domain, the agent's commands run in a tighter one.
//!
//! ```text
//! sidecar ──spawns── OpenCode            domain `child`: workspace, its own data; nothing else to write
//!    │                  └─ shell::run    what OpenCode calls as its shell: hands the command over, waits
//!    └────spawns── runner::run           one per session, domain `command`: runs that session's commands
//!                       └─ bash …        inherits the domain, the seccomp filter and the limits
//! ```
//!
//! A command descends from the runner of its session and not from OpenCode. The runner is the
//! subreaper of all that it starts, and the sidecar is its parent, so what belongs to a session is known by
//! descent: no process can leave it by forking twice or by dropping its environment. One domain per
//! session, and not one per command, because a later command has to be able to signal what an earlier
//! one left running.
//!
//! Promises: nothing here runs with more than the policy says; a domain that cannot be applied is an
//! error and not a warning. It does not decide when a runner starts or ends: that is the engine's.

mod config;
mod domain;
mod kernel;
mod level;
mod message;
mod network;
mod paths;
mod policy;
mod privileges;
mod rules;
mod runner;
mod seccomp;
mod shell;
mod tree;
mod user;

pub(crate) use self::config::Config;
#[cfg(any(test, feature = "bench"))]
pub(crate) use self::config::{Limits, Mode};
pub(crate) use self::domain::enter_child_domain;
pub(crate) use self::kernel::Kernel;
pub(crate) use self::level::{Level, Report};
pub(crate) use self::message::{
    START_SOCKET, connect_at, listen_at, session_socket, valid_session,
};
pub(crate) use self::paths::Places;
pub(crate) use self::policy::Policy;
pub use self::runner::{NAME as RUNNER, run as run_commands};
pub(crate) use self::shell::SHELL_LINK;
pub use self::shell::{is_shell, run as run_shell};
pub(crate) use self::tree::is_started_by;
pub(crate) use self::user::User;
