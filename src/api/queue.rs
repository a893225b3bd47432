//! A prompt that waits, as clients read of it.

use serde::Serialize;
use utoipa::ToSchema;

use crate::clock::Timestamp;
use crate::session::Session;

#[derive(Debug, Serialize, ToSchema)]
#[schema(as = QueuedPrompt)]
pub(super) struct QueuedBody {
    /// The number that its turn will have.
    turn: u32,
    state: QueuedState,
    /// Why it is held: `credentials_required`.
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<&'static str>,
    queued_at: Timestamp,
    /// The beginning of it.
    text: String,
}

#[derive(Clone, Copy, Debug, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
enum QueuedState {
    /// It waits for the turns before it.
    Queued,
    /// It waits for a key: it was queued before a restart of the sidecar, or behind a prompt whose key went with it.
    Held,
}

// === impl QueuedBody ===

impl QueuedBody {
    /// All that wait in a session, the next one first.
    pub(super) fn list(session: &Session) -> Vec<Self> {
        let queued = session.queued().into_iter().map(|prompt| Self {
            turn: prompt.turn,
            state: if prompt.held {
                QueuedState::Held
            } else {
                QueuedState::Queued
            },
            reason: prompt.held.then_some("credentials_required"),
            queued_at: prompt.queued_at,
            text: prompt.text,
        });
        queued.collect()
    }
}
