//! OpenCode's protocol: the only place that knows its JSON.

pub(crate) mod sse;
pub(crate) mod types;
