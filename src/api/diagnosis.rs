//! `GET /sessions/{id}/diagnosis`: what a session is doing right now, or why it does nothing.

use std::time::Instant;

use axum::Json;
use axum::extract::State;
use serde::Serialize;
use utoipa::ToSchema;

use super::Shared;
use super::error::{ApiError, error_responses};
use super::extract::Id;
use super::lookup;
use crate::clock::Timestamp;
use crate::event::State as SessionState;
use crate::model::{ModelCall, ModelCalls};
use crate::process::{self, Look};
use crate::session::diagnosis::{
    Diagnosis, Facts, ModelWait, Situation, Surroundings, ToolCounts, diagnose,
};
use crate::session::log::{EventId, LastOutput, ReaderState, RecentEvent, Transport};
use crate::session::{Health, Session};

/// So many readers are told one by one.
const MOST_READERS: usize = 16;

/// 200 of `GET /sessions/{id}/diagnosis`.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = SessionDiagnosis)]
pub(super) struct DiagnosisResponse {
    session_id: String,
    turn: u32,
    status: SessionState,
    #[serde(flatten)]
    diagnosis: Diagnosis,
    last_activity: Timestamp,
    current_tool: Option<String>,
    /// When the turn ends with `timeout`; null while none runs.
    turn_ends_at: Option<Timestamp>,
    /// Null while no turn runs.
    model: Option<ModelBody>,
    /// Of this turn.
    model_calls: ModelCalls,
    /// What the session's commands run at this moment.
    processes: Vec<Look>,
    /// The tools that the turn has called; null while none runs.
    tools: Option<ToolCounts>,
    /// What a tool printed last; null when none did lately.
    last_output: Option<LastOutput>,
    last_event_id: String,
    /// The newest events without what they say, oldest first.
    recent_events: Vec<RecentEvent>,
    /// Streams of this session that are being read.
    readers: usize,
    /// Who reads the session over a stream or a WebSocket of its own, and how far each is: those that are furthest behind.
    reader_positions: Vec<ReaderBody>,
    /// Prompts that wait for this turn to end.
    queued: usize,
}

/// One reader of the session's events.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = DiagnosisReader)]
struct ReaderBody {
    transport: Transport,
    since: Timestamp,
    /// The last event that it was given, or does not want.
    last_event_id: String,
    /// How many events come after that.
    behind: u64,
    /// When it last took something; null: it has taken nothing yet.
    last_taken_at: Option<Timestamp>,
}

/// What the calls of the model do.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = DiagnosisModel)]
struct ModelBody {
    provider: String,
    /// What the provider calls it.
    name: String,
    /// `idle`, `asked`, `answering` or `retry`.
    state: &'static str,
    since: Option<Timestamp>,
    /// When the call is given up, or made again.
    until: Option<Timestamp>,
    /// Of the answer that comes in.
    answer_bytes: Option<u64>,
    /// The newest 16 calls of the turn, oldest first.
    calls: Vec<ModelCall>,
}

error_responses!(DiagnosisErrors: InvalidRequest, NotFound, Gone, JournalUnavailable);

/// What a session is doing right now, or why it does nothing: one sentence, and the same in fields.
#[utoipa::path(
    get,
    path = "/sessions/{id}/diagnosis",
    operation_id = "session_diagnosis",
    params(("id" = String, Path, description = "the `session_id`")),
    responses((status = 200, description = "what it does", body = DiagnosisResponse), DiagnosisErrors)
)]
pub(super) async fn diagnosis(
    State(state): Shared,
    Id(id): Id,
) -> Result<Json<DiagnosisResponse>, ApiError> {
    let session = lookup::session(&state, &id).await?;
    session.settled().await;
    Ok(Json(DiagnosisResponse::new(&state, &session)))
}

/// What is around all turns.
pub(super) fn surroundings(state: &super::State) -> Surroundings {
    Surroundings {
        engine: state.engine.not_ready(Instant::now()),
        missed_checks: state.engine.missed_checks(),
        memory: state.engine.short_of_memory(),
        journal: match &*state.registry.health().borrow() {
            Health::Degraded(reason) => Some(reason.clone()),
            Health::Opening | Health::Well => None,
        },
    }
}

/// What there is to say of one session, and what the turn's task knew for it.
pub(super) fn of_session(session: &Session, around: &Surroundings) -> (Diagnosis, Option<Facts>) {
    let status = session.status();
    let facts = session.facts().filter(|_| !status.state.is_final());
    let situation = match &facts {
        _ if status.state.is_final() => Situation::Ended {
            state: status.state,
            at: status.completed_at,
            reason: status.problem.as_ref().map(|problem| &*problem.sentence),
            queued: session.next_queued(),
        },
        Some(facts) => Situation::Running(facts),
        None => Situation::Opening {
            since: status.last_activity,
        },
    };
    let found = diagnose(situation, around, Timestamp::now());
    (found, facts)
}

// === impl DiagnosisResponse ===

impl DiagnosisResponse {
    fn new(state: &super::State, session: &Session) -> Self {
        let (diagnosis, facts) = of_session(session, &surroundings(state));
        let status = session.status();
        let runners = facts
            .as_ref()
            .map(|facts| state.engine.runners(&facts.agent_sessions))
            .unwrap_or_default();
        let last = session.log.last_event_id();
        let (recent_events, last_output) = session.log.recent();
        let readers = session.log.readers().into_iter().take(MOST_READERS);
        Self {
            session_id: session.id.clone(),
            turn: status.turn,
            status: status.state,
            diagnosis,
            last_activity: status.last_activity,
            current_tool: status.current_tool.as_deref().map(str::to_owned),
            turn_ends_at: facts.as_ref().map(|facts| facts.deadline),
            tools: facts.as_ref().map(|facts| facts.tool_counts.clone()),
            model: facts.map(ModelBody::new),
            model_calls: status.calls.clone(),
            processes: process::below(&runners),
            last_event_id: last.to_string(),
            recent_events,
            last_output,
            reader_positions: readers
                .map(|reader| ReaderBody::new(reader, last))
                .collect(),
            readers: session.slots.taken(),
            queued: session.queued().len(),
        }
    }
}

// === impl ReaderBody ===

impl ReaderBody {
    fn new(reader: ReaderState, last: EventId) -> Self {
        Self {
            transport: reader.transport,
            since: reader.since,
            last_event_id: EventId {
                seq: reader.at,
                ..last
            }
            .to_string(),
            behind: last.seq.saturating_sub(reader.at),
            last_taken_at: reader.taken_at,
        }
    }
}

// === impl ModelBody ===

impl ModelBody {
    fn new(facts: Facts) -> Self {
        let (state, since, until, answer_bytes) = match facts.model {
            ModelWait::Idle => ("idle", None, None, None),
            ModelWait::Asked { since, until } => ("asked", Some(since), Some(until), None),
            ModelWait::Answering {
                since,
                bytes,
                until,
                ..
            } => ("answering", Some(since), Some(until), Some(bytes)),
            ModelWait::Retry { until } => ("retry", None, Some(until), None),
        };
        Self {
            provider: facts.provider,
            name: facts.model_name,
            state,
            since,
            until,
            answer_bytes,
            calls: facts.calls,
        }
    }
}
