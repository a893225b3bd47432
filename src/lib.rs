//! skeleton
#[cfg_attr(
    not(test),
    expect(dead_code, unused_imports, reason = "wired in by the next commit")
)]
mod gateway;
mod id;
#[cfg_attr(not(test), expect(dead_code, reason = "wired in by the next commit"))]
mod opencode;
mod secret;
