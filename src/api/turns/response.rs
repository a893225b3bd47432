//! What clients get to read about turns.

use serde::Serialize;
use utoipa::ToSchema;

use crate::api::queue::QueuedBody;
use crate::clock::Timestamp;
use crate::event::State;
use crate::session::{Acceptance, Accepted, Session, Status};

/// 202 of `POST /sessions/{id}/prompt`.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = AcceptedPrompt)]
pub(in crate::api) struct PromptResponse {
    session_id: String,
    /// The number of the turn that it is, or is part of.
    turn: u32,
    status: AcceptedState,
    /// A stream from here misses nothing of the turn.
    last_event_id: String,
    stream_url: String,
}

#[derive(Clone, Copy, Debug, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
enum AcceptedState {
    /// Its turn runs.
    Running,
    /// Its turn comes when those before it have ended.
    Queued,
    /// It is part of the running turn.
    Steered,
}

/// 200 of `POST /sessions/{id}/resume`.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = ResumedSession)]
pub(in crate::api) struct ResumedResponse {
    session_id: String,
    remote_session_id: String,
    /// `queued`: prompts that were held since a restart go first.
    status: AcceptedState,
    created_at: Timestamp,
    turn: u32,
    stream_url: String,
    /// The place before the first event of the turn: a stream from here misses nothing of it.
    last_event_id: String,
}

/// 200 of `GET /sessions/{id}/queue`.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = SessionQueue)]
pub(in crate::api) struct QueueResponse {
    session_id: String,
    /// The next one first.
    queue: Vec<QueuedBody>,
}

/// 200 of `DELETE /sessions/{id}/queue/{turn}`.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = WithdrawnPrompt)]
pub(in crate::api) struct WithdrawnResponse {
    session_id: String,
    turn: u32,
    /// `withdrawn`.
    state: &'static str,
}

/// 200 of `POST /sessions/{id}/stop` and `DELETE /sessions/{id}`.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = CancelledSession)]
pub(in crate::api) struct CancelledResponse {
    session_id: String,
    /// `cancelled`, or how it had ended before.
    status: State,
    #[serde(skip_serializing_if = "Option::is_none")]
    cancelled_at: Option<Timestamp>,
    #[serde(skip_serializing_if = "Option::is_none")]
    completed_at: Option<Timestamp>,
    /// The turns of prompts that waited and will not run.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schema(required = false)]
    withdrawn: Vec<u32>,
}

fn stream_url(session: &Session) -> String {
    format!("/sessions/{}/stream", session.id)
}

// === impl PromptResponse ===

impl PromptResponse {
    pub(in crate::api) fn new(session: &Session, accepted: &Accepted) -> Self {
        Self {
            session_id: session.id.clone(),
            turn: accepted.turn,
            status: accepted.acceptance.into(),
            last_event_id: accepted.from.to_string(),
            stream_url: stream_url(session),
        }
    }
}

// === impl AcceptedState ===

impl From<Acceptance> for AcceptedState {
    fn from(acceptance: Acceptance) -> Self {
        match acceptance {
            Acceptance::Running => Self::Running,
            Acceptance::Queued => Self::Queued,
            Acceptance::Steered => Self::Steered,
        }
    }
}

// === impl ResumedResponse ===

impl ResumedResponse {
    pub(super) fn new(session: &Session, accepted: &Accepted) -> Self {
        let status = session.status();
        Self {
            session_id: session.id.clone(),
            remote_session_id: status.remote_id.clone().unwrap_or_default(),
            status: accepted.acceptance.into(),
            created_at: session.created_at,
            turn: accepted.turn,
            stream_url: stream_url(session),
            last_event_id: accepted.from.to_string(),
        }
    }
}

// === impl QueueResponse ===

impl QueueResponse {
    pub(super) fn new(session: &Session) -> Self {
        Self {
            session_id: session.id.clone(),
            queue: QueuedBody::list(session),
        }
    }
}

// === impl WithdrawnResponse ===

impl WithdrawnResponse {
    pub(super) fn new(session: &Session, turn: u32) -> Self {
        Self {
            session_id: session.id.clone(),
            turn,
            state: "withdrawn",
        }
    }
}

// === impl CancelledResponse ===

impl CancelledResponse {
    pub(super) fn new(session: &Session, status: &Status, withdrawn: Vec<u32>) -> Self {
        let cancelled = status.state == State::Cancelled;
        Self {
            session_id: session.id.clone(),
            status: status.state,
            cancelled_at: status.completed_at.filter(|_| cancelled),
            completed_at: status.completed_at.filter(|_| !cancelled),
            withdrawn,
        }
    }
}
