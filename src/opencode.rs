//! OpenCode's HTTP API and files: the only place that knows their form.
//!
//! Promises: every call has a deadline; nothing in an error holds the password. It does not know what
//! a session of ours is, and publishes nothing.

mod asks;
mod call;
mod client;
pub(crate) mod config;
mod conversation;
mod error;
mod feed;
pub(crate) mod sse;
pub(crate) mod types;

pub(crate) use client::{
    Client, Metadata, NewSession, Prompt, PromptPart, Rule, SessionLimits, SidecarMetadata,
};
pub(crate) use conversation::{Command, MessagePage, SessionPatch};
pub(crate) use error::CallError;
pub(crate) use feed::{Feed, FeedError};

/// The version this build is made for and tested with.
pub(crate) const VERSION: &str = "1.18.33";

/// The variable with the password OpenCode asks for on every path.
pub(crate) const PASSWORD_VARIABLE: &str = "OPENCODE_SERVER_PASSWORD";

/// The variable with OpenCode's whole configuration, so that it is never a file the agent can read.
pub(crate) const CONFIG_VARIABLE: &str = "OPENCODE_CONFIG_CONTENT";
