//! The model gateway: the agent works with a key it can never see.
//!
//! ```text
//! child --loopback, its own bearer--> server -> routes (who is calling?) -> meter (is it allowed?)
//!       -> rewrite (model, limits, tools) -> forward --the session's key--> provider
//! child <------- relay (event by event, validated and counted as it passes) <------ provider
//! ```
//!
//! Owns: the loopback listener, the credentials of running turns (in memory only), the dialects of the
//! providers, budgets and metering. Promises: a key is sent to its session's provider and nowhere else; a
//! route lives as long as its [`Grant`]; every call ends, within the two timeouts of [`Config`] and with
//! an error the child's client can read. Does not: publish events, retry faults (the child does, within
//! bounds set here), translate between dialects, or keep anything on disk.

mod answer_reader;
mod body;
mod call;
mod config;
mod demo;
mod error;
mod error_body;
mod error_kind;
mod forward;
mod generic_model;
mod handle;
mod json_parts;
mod last_error;
mod limits;
mod merge_window;
mod meter;
mod provider_error;
mod reach;
mod redactor;
mod relay;
mod request_body;
mod rewrite;
mod routes;
mod segments;
mod server;
mod shared;
mod stop;
mod stream_start;
mod tool_arguments;
mod unsupported;
mod upstream;
mod usage;
mod validate;

pub(crate) use config::Config;
pub(crate) use generic_model::GENERIC_MODELS;
#[cfg(test)]
pub(crate) use handle::BindError;
pub(crate) use handle::{Bound, Handle};
pub(crate) use last_error::{LastError, PROVIDER_AT};
pub(crate) use meter::Wait;
pub(crate) use reach::{Reached, reach};
pub(crate) use routes::{Grant, Route};
pub(crate) use stop::Stop;
#[cfg(any(test, feature = "bench"))]
pub(crate) use upstream::ProxySettings;
#[cfg(test)]
pub(crate) use usage::Tokens;

#[cfg(test)]
#[expect(dead_code, reason = "the black-box tests use the rest of it")]
#[path = "../tests/support/llm.rs"]
pub(crate) mod llm;
#[cfg(test)]
mod tests;
