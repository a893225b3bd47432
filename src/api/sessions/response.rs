//! What clients get to read about a session.

use serde::Serialize;
use serde_json::{Map, Value};
use utoipa::ToSchema;

use crate::api::asks::response::AskSummary;
use crate::api::queue::QueuedBody;
use crate::clock::Timestamp;
use crate::event::{FailureCode, Phase, State, Usage};
use crate::model::ModelCalls;
use crate::session::{Created, ForkedFrom, Reverted, Session};
use crate::tool::Tools;

/// 201 of `POST /sessions`.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = CreatedSession)]
pub(in crate::api) struct CreatedResponse {
    session_id: String,
    remote_session_id: String,
    status: State,
    created_at: Timestamp,
    stream_url: String,
    /// The place before the first event: a stream from here misses nothing.
    last_event_id: String,
    /// Tools among `enabled_tools` that this OpenCode does not offer to the model.
    tools_not_offered: Vec<&'static str>,
}

/// 200 of `GET /sessions/{id}/status`.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = SessionStatus)]
pub(in crate::api) struct StatusResponse {
    session_id: String,
    status: State,
    created_at: Timestamp,
    last_activity: Timestamp,
    #[schema(maximum = 100)]
    progress: u8,
    current_tool: Option<String>,
    remote_session_id: Option<String>,
    completed_at: Option<Timestamp>,
    error: Option<ProblemBody>,
    turn: u32,
    phase: Option<Phase>,
    reason: Option<String>,
    /// Of all turns of the session, as it is now.
    usage: Usage,
    /// Of all turns of the session, as it is now.
    model_calls: ModelCalls,
    /// Of the present or last turn.
    turn_usage: Usage,
    /// Of the present or last turn.
    turn_model_calls: ModelCalls,
    last_event_id: String,
    files_modified: Vec<String>,
    /// The prompts that wait, the next one first.
    queue: Vec<QueuedBody>,
    /// What its caller calls it.
    title: Option<String>,
    /// The caller's own.
    #[schema(value_type = Option<Object>)]
    metadata: Option<Map<String, Value>>,
    /// Which conversation it began with; null: with none.
    forked_from: Option<ForkedFrom>,
    /// What is undone of its conversation, until the next prompt makes that final.
    reverted: Option<Reverted>,
    /// What the agent waits for a person to answer, oldest first.
    asks: Vec<AskSummary>,
}

#[derive(Debug, Serialize, ToSchema)]
#[schema(as = SessionError)]
struct ProblemBody {
    #[schema(value_type = FailureCode)]
    code: String,
    error: String,
}

// === impl CreatedResponse ===

impl CreatedResponse {
    pub(super) fn new(session: &Session, created: Created) -> Self {
        Self {
            stream_url: format!("/sessions/{}/stream", session.id),
            session_id: session.id.clone(),
            remote_session_id: created.remote_id,
            status: State::Running,
            created_at: created.created_at,
            last_event_id: session.log.last_event_id().epoch.at(0).to_string(),
            tools_not_offered: session.tools().map(Tools::not_offered).unwrap_or_default(),
        }
    }
}

// === impl StatusResponse ===

impl StatusResponse {
    pub(in crate::api) fn new(session: &Session) -> Self {
        let (status, labels) = (session.status(), session.labels());
        Self {
            session_id: session.id.clone(),
            status: status.state,
            created_at: session.created_at,
            last_activity: status.last_activity,
            progress: status.progress,
            current_tool: status.current_tool.as_deref().map(str::to_owned),
            remote_session_id: status.remote_id.clone(),
            completed_at: status.completed_at,
            error: status.problem.as_ref().map(|problem| ProblemBody {
                code: problem.code.to_string(),
                error: problem.sentence.clone(),
            }),
            turn: status.turn,
            phase: status.phase,
            reason: status.reason.clone(),
            usage: status.session_usage(),
            model_calls: status.session_calls(),
            turn_usage: status.usage,
            turn_model_calls: status.calls.clone(),
            last_event_id: session.log.last_event_id().to_string(),
            files_modified: status.files_modified.clone(),
            queue: QueuedBody::list(session),
            title: labels.title,
            metadata: labels.metadata,
            forked_from: session.forked_from().cloned(),
            reverted: status.reverted.clone(),
            asks: status
                .asks
                .open
                .iter()
                .map(|ask| AskSummary::new(ask))
                .collect(),
        }
    }
}
