//! The child's protocol: the only place that knows OpenCode's JSON.

pub(crate) mod config;
