//! The answers on their way to OpenCode, and when those come that nobody gave.

use std::collections::HashMap;
use std::time::Duration;

use futures_util::StreamExt as _;
use futures_util::future::BoxFuture;
use futures_util::stream::FuturesUnordered;
use tokio::sync::oneshot;
use tokio::time::Instant;

use crate::opencode::CallError;
use crate::session::{Answer, AnswerError};

/// How sending an answer went, and to which request.
pub(super) type Sent = (String, Result<(), CallError>);

/// Answers that are being sent.
pub(super) type Sending = FuturesUnordered<BoxFuture<'static, Sent>>;

/// The answers on their way, and when those come that nobody gave.
#[derive(Default)]
pub(super) struct AskCalls {
    pub(super) deadlines: Vec<Deadline>,
    pub(super) sending: Sending,
    /// The clients whose answers are on their way, by request.
    pub(super) waiting: HashMap<String, (Answer, oneshot::Sender<Result<(), AnswerError>>)>,
    /// Since when a person is waited for.
    pub(super) since: Option<Instant>,
}

/// When an answer is given, or sent once more, to a request that is still open.
pub(super) struct Deadline {
    pub(super) request: String,
    pub(super) at: Instant,
    pub(super) attempts: u32,
}

/// The next answer that was sent. Waits for ever if none is on its way. Cancel-safe.
pub(super) async fn next_sent(sending: &mut Sending) -> Sent {
    match sending.next().await {
        Some(sent) => sent,
        None => std::future::pending().await,
    }
}

/// Waits until a deadline is reached; for ever if there is none. Cancel-safe.
pub(super) async fn next_deadline(deadlines: &[Deadline]) {
    match deadlines.iter().map(|deadline| deadline.at).min() {
        Some(at) => tokio::time::sleep_until(at).await,
        None => std::future::pending().await,
    }
}

// === impl AskCalls ===

impl AskCalls {
    /// Whether the turn's clock stands still.
    pub(super) const fn is_waiting(&self) -> bool {
        self.since.is_some()
    }

    /// It replaces the one that the request has.
    pub(super) fn set_deadline(&mut self, request: String, wait: Duration) {
        self.deadlines
            .retain(|deadline| deadline.request != request);
        self.deadlines.push(Deadline {
            request,
            at: Instant::now() + wait,
            attempts: 0,
        });
    }
}
