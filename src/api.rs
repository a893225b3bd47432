//! What clients see. Every route is a line of [`router`], and its handler has its description.
//!
//! Handlers check, call and convert; they hold no rules. Errors are made in [`error`] only, and no
//! module below knows a status code. OpenCode and the disk are out of reach from here.

mod access;
mod asks;
mod authentication;
mod caller;
mod console;
mod conversation;
mod dashboard;
mod debug;
mod deserialize;
mod diagnosis;
mod drain;
mod egress;
pub(crate) mod encode;
mod engine;
mod error;
mod error_description;
mod events;
mod extract;
mod file_type;
mod idempotency;
mod labels;
mod lookup;
mod metrics;
mod middleware;
mod model_config;
mod openapi;
mod origin;
pub(crate) mod place;
mod policy;
mod probes;
mod prompt_body;
pub(crate) mod protocol;
mod query;
mod queue;
mod route_table;
mod router;
mod server;
mod sessions;
mod state;
pub(crate) mod stream;
mod timeout;
mod turns;
pub(crate) mod write_timeout;
pub(crate) mod ws;

pub(crate) use self::place::Places;
pub(crate) use self::router::openapi_text;
pub(crate) use self::server::Bound;
pub(crate) use self::state::{Egress, Rules, State, WebRules};
pub(crate) use self::ws::Sockets;

use self::state::Shared;
