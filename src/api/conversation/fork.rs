//! `POST /sessions/{id}/fork`

use axum::Json;
use axum::extract::State;
use axum::http::header::{HeaderName, LOCATION};
use axum::http::{HeaderMap, StatusCode};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use utoipa::ToSchema;
use uuid::Uuid;

use super::place::{message_id, place};
use crate::api::Shared;
use crate::api::error::{ApiError, error_responses};
use crate::api::extract::{BodyBytes, Id, parse_optional};
use crate::api::idempotency;
use crate::api::labels::labels;
use crate::api::lookup;
use crate::audit;
use crate::clock::Timestamp;
use crate::driver::ForkRequest;
use crate::event::State as SessionState;
use crate::id::is_id;
use crate::session::{CreateError, ForkedFrom, Found, Session};

#[derive(Default, Deserialize, ToSchema)]
#[serde(expecting = "an object")]
#[schema(as = ForkSession)]
pub(in crate::api) struct ForkBody {
    /// Of the new session. Absent: a UUID is made.
    #[serde(default)]
    #[schema(pattern = "^[A-Za-z0-9_-][A-Za-z0-9._-]{0,127}$")]
    session_id: Option<String>,
    /// A prompt: what came before it is copied. Absent, as well as `turn`: all is.
    #[serde(default)]
    #[schema(pattern = "^msg_[A-Za-z0-9_-]{1,60}$")]
    message_id: Option<String>,
    /// The last turn that is copied.
    #[serde(default)]
    #[schema(minimum = 1)]
    turn: Option<u32>,
    #[serde(default)]
    #[schema(max_length = 256)]
    title: Option<String>,
    /// At most 4 KiB.
    #[serde(default)]
    #[schema(value_type = Option<Object>)]
    metadata: Option<Map<String, Value>>,
}

/// 201 of `POST /sessions/{id}/fork`.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = ForkedSession)]
pub(in crate::api) struct ForkedResponse {
    session_id: String,
    remote_session_id: Option<String>,
    status: SessionState,
    created_at: Timestamp,
    stream_url: String,
    /// The place after the event that says what it was forked from.
    last_event_id: String,
    forked_from: Option<ForkedFrom>,
}

type ForkAnswer = (StatusCode, [(HeaderName, String); 1], Json<ForkedResponse>);

error_responses!(ForkErrors:
    InvalidRequest,
    NotFound,
    Gone,
    Conflict,
    PayloadTooLarge,
    IdempotencyMismatch,
    EngineUnavailable,
    JournalUnavailable,
    ShuttingDown,
);

/// Begin another session with a copy of this one's conversation.
#[utoipa::path(
    post,
    path = "/sessions/{id}/fork",
    operation_id = "fork_session",
    params(
        ("id" = String, Path, description = "the `session_id`"),
        ("Idempotency-Key" = Option<String>, Header, min_length = 1, max_length = 255,
            description = "the same key, session and body again is the same fork"),
    ),
    request_body = Option<ForkBody>,
    responses((
        status = 201, description = "it is there, and idle", body = ForkedResponse,
        headers(("Location" = String, description = "`/sessions/{id}`")),
    ), ForkErrors)
)]
pub(in crate::api) async fn fork(
    State(state): Shared,
    Id(id): Id,
    headers: HeaderMap,
    BodyBytes(bytes): BodyBytes,
) -> Result<ForkAnswer, ApiError> {
    let body: ForkBody = parse_optional(&bytes)?;
    let new_id = body
        .session_id
        .unwrap_or_else(|| Uuid::new_v4().to_string());
    if !is_id(&new_id) {
        return Err(ApiError::invalid(
            "session_id",
            "must be a UUID, or 1 to 128 of the characters A-Z a-z 0-9 - _ .",
        ));
    }
    let message = body.message_id.map(message_id).transpose()?;
    // Keys are those of all sessions, so what it is a fork of belongs to what is asked for.
    let asked = [b"fork ", id.as_bytes(), b"\n", &bytes].concat();
    let request = ForkRequest {
        until: place(message, body.turn)?,
        labels: labels(body.title, body.metadata)?,
        id: new_id,
        idempotency: idempotency::of_request(&headers, &asked)?,
    };
    if let Some(idempotency) = &request.idempotency
        && let Some(session) = state.registry.repeated_fork(idempotency).await?
    {
        return Ok(answer(&session));
    }
    let source = lookup::session(&state, &id).await?;
    if let Found::Here(session) = state.registry.find(&request.id).await? {
        // The same request may have come twice at once.
        if request.idempotency.is_some() && session.idempotency() == request.idempotency.as_ref() {
            return Ok(answer(&session));
        }
        return Err(CreateError::Duplicate.into());
    }
    let session = state.conversations.fork(source, request).await?;
    audit::session("session.fork", &session.id, 0);
    Ok(answer(&session))
}

/// The same whenever it is asked for: how the session is now, its status tells.
fn answer(session: &Session) -> ForkAnswer {
    let location = [(LOCATION, format!("/sessions/{}", session.id))];
    let response = ForkedResponse {
        session_id: session.id.clone(),
        remote_session_id: session.status().remote_id.clone(),
        status: SessionState::Completed,
        created_at: session.created_at,
        stream_url: format!("/sessions/{}/stream", session.id),
        last_event_id: session.log.id(1).to_string(),
        forked_from: session.forked_from().cloned(),
    };
    (StatusCode::CREATED, location, Json(response))
}
