//! skeleton
#[cfg_attr(
    not(test),
    expect(dead_code, unused_imports, reason = "wired in by the next commit")
)]
mod gateway;
#[expect(dead_code, reason = "wired in by the next commit")]
mod id;
#[cfg(test)]
mod live;
#[cfg_attr(not(test), expect(dead_code, reason = "wired in by the next commit"))]
mod opencode;
mod secret;
