//! The stream as a client sees it: over real sockets, or the body alone where time is part of the test.

mod answer;
mod resume;
mod server;
mod sockets;

use super::*;
use crate::session::log::{Limits, log_with};

/// A session whose one turn has ended with event `events`.
fn finished(events: u64) -> EventLog {
    let log = log_with(Limits::default());
    for nth in 1..events {
        log.append("output", &format!(r#"{{"text":"{nth} 🌍"}}"#));
    }
    log.end_turn("complete", "{}");
    log
}
