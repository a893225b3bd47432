//! skeleton
#[doc(hidden)]
pub mod bench;
mod clock;
#[cfg_attr(not(test), expect(dead_code, reason = "wired in by the next commit"))]
mod driver;
#[cfg_attr(
    not(test),
    expect(dead_code, unused_imports, reason = "wired in by the next commit")
)]
mod event;
#[expect(dead_code, reason = "wired in by the next commit")]
mod id;
#[cfg_attr(
    not(test),
    expect(dead_code, unused_imports, reason = "wired in by the next commit")
)]
mod opencode;
#[cfg_attr(not(test), expect(dead_code, reason = "wired in by the next commit"))]
mod secret;
