//! How sessions meet the child: what a client wants becomes calls of OpenCode, and what OpenCode says
//! becomes what we publish.
//!
//! ```text
//! TurnHandle -> dispatch -> opening -> actor (one task per turn) --calls--> opencode
//! opencode --feed--> child_connection (one task per child) -> demux -> actor -> translate (pure) -> log
//! ```
//!
//! Promises: every turn that begins ends with exactly one terminal event, whatever dies in between.
//! Decides nothing about HTTP answers, and keeps no keys but inside the gateway's grant.

mod actor;
mod agent_sessions;
mod asks;
mod child_connection;
mod config;
mod context;
mod conversations;
mod demux;
mod dispatch;
mod end_reasons;
mod ending;
mod interrupted;
mod open_turn;
mod opening;
mod overlap;
mod prompt;
mod publish;
mod refused_calls;
mod resync;
mod seen_tool_results;
mod start;
mod steering;
pub(crate) mod translate;
mod unsent;

pub(crate) use self::agent_sessions::AgentSessions;
pub(crate) use self::config::Config;
pub(crate) use self::conversations::{
    ConversationError, Conversations, ForkRequest, MessageQuery, Place, Undone,
};
pub(crate) use self::dispatch::spawn;
