//! A request as it comes in, and how long such a one waits.

use std::sync::Arc;
use std::time::Duration;

use crate::event::{Agent, Event, Reply};
use crate::session::Subject;

/// How long a session's requests wait, and what comes then.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Settings {
    /// Whether a person may be asked at all. Otherwise every request is rejected at once.
    pub(crate) may_ask: bool,
    pub(crate) timeout: Duration,
    /// The answer to a permission that nobody answers. A question is then always rejected.
    pub(crate) default: Reply,
}

/// A request as OpenCode tells it.
#[derive(Debug)]
pub(crate) struct NewAsk {
    pub(crate) request_id: String,
    /// OpenCode's session.
    pub(crate) session: String,
    pub(crate) agent: Option<Arc<Agent>>,
    pub(crate) call_id: Option<String>,
    pub(crate) subject: Subject,
}

/// What is to be done about a new request.
#[derive(Debug)]
pub(crate) enum Asked {
    /// It is known already.
    Known,
    /// Publish this, and wait.
    Waits(Box<Event>),
    /// The answer is given; send it.
    Decided,
}

// === impl Settings ===

impl Default for Settings {
    fn default() -> Self {
        Self {
            may_ask: false,
            timeout: Duration::ZERO,
            default: Reply::Reject,
        }
    }
}
