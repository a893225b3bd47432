//! How what a reader gets is written down.

pub(crate) mod sse;
pub(crate) mod ws;
