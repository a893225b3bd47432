//! skeleton
#[cfg_attr(not(test), expect(dead_code, reason = "wired in by the next commit"))]
mod clock;
#[cfg_attr(not(test), expect(dead_code, reason = "wired in by the next commit"))]
mod driver;
#[cfg_attr(not(test), expect(dead_code, reason = "wired in by the next commit"))]
mod event;
mod id;
#[cfg_attr(not(test), expect(dead_code, reason = "wired in by the next commit"))]
mod opencode;
mod secret;
