//! skeleton
mod api;
#[expect(dead_code, reason = "wired in by the next commit")]
mod id;
#[cfg_attr(not(test), expect(dead_code, reason = "wired in by the next commit"))]
mod secret;
#[cfg_attr(not(test), expect(dead_code, reason = "wired in by the next commit"))]
mod session;

#[doc(hidden)]
pub mod bench;
