//! What clients see. Every route is a line of [`router`], and its handler has its description.
//!
//! Handlers check, call and convert; they hold no rules. Errors are made in [`error`] only, and no
//! module below knows a status code. OpenCode and the disk are out of reach from here.

mod caller;
mod deserialize;
mod drain;
pub(crate) mod encode;
mod engine;
mod error;
mod extract;
mod metrics;
mod middleware;
mod openapi;
mod origin;
mod probes;
pub(crate) mod protocol;
mod router;
mod server;
mod sessions;
pub(crate) mod stream;
pub(crate) mod write_timeout;

use std::sync::Arc;
use std::time::Duration;

pub(crate) use self::origin::WebRules;
pub(crate) use self::server::Bound;

use crate::config::SharedSecrets;
use crate::session::Registry;
use crate::shutdown::Shutdown;
use crate::{socket_owner, workspace};

/// What handlers share. Cheap to clone.
#[derive(Clone, Debug)]
pub(crate) struct State {
    pub(crate) engine: crate::engine::Handle,
    pub(crate) workspace: workspace::Watch,
    pub(crate) secrets: SharedSecrets,
    pub(crate) shutdown: Shutdown,
    pub(crate) registry: Registry,
    pub(crate) rules: Rules,
    pub(crate) web: WebRules,
    pub(crate) socket_owners: socket_owner::Finder,
}

/// What requests are held to.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Rules {
    pub(crate) max_body_bytes: usize,
    /// In characters.
    pub(crate) max_prompt: usize,
    /// Whether the provider `demo` may be used.
    pub(crate) demo: bool,
    /// Longest a drain may take.
    pub(crate) drain_timeout: Duration,
}

type Shared = axum::extract::State<Arc<State>>;
