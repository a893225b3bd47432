//! Further prompts of a session: `/sessions/{id}/prompt`, its queue, and what is a prompt with another answer.
//!
//! [`prompt`] and [`stop`] are what every way to talk to a session calls.

mod request;
mod response;
pub(super) mod task;

use std::sync::Arc;
use std::time::Duration;

use axum::Json;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse as _, Response};

use self::request::ToolsGiven;
pub(super) use self::response::{CancelledResponse, PromptResponse};
use self::response::{QueueResponse, ResumedResponse, WithdrawnResponse};
use super::error::{ApiError, ErrorCode, error_responses};
use super::extract::{BodyBytes, Id, IdAndTurn};
use super::idempotency;
use super::lookup;
use super::openapi::StreamEvent;
use super::stream::{permit, turn_stream, wants_stream};
use super::{Shared, State as ApiState};
use crate::audit;
use crate::session::limits::StreamPermit;
use crate::session::{Accepted, Idempotency, OnBusy, Request, Session, Task};

/// A cancel is answered within 5 s, even by a child that hangs; the driver needs at most 4.
const CANCEL: Duration = Duration::from_millis(4800);

error_responses!(PromptErrors:
    InvalidRequest,
    NotFound,
    Gone,
    Conflict,
    CredentialsRequired,
    PayloadTooLarge,
    IdempotencyMismatch,
    QueueFull,
    TooManyStreams,
    TooManySessions,
    EngineUnavailable,
    WorkspaceUnavailable,
    JournalUnavailable,
    ShuttingDown,
);
error_responses!(ResumeErrors:
    InvalidRequest,
    NotFound,
    Gone,
    Conflict,
    CredentialsRequired,
    PayloadTooLarge,
    IdempotencyMismatch,
    TooManySessions,
    EngineUnavailable,
    WorkspaceUnavailable,
    JournalUnavailable,
    ShuttingDown,
);
error_responses!(QueueErrors: InvalidRequest, NotFound, Gone, JournalUnavailable);

/// A prompt that was taken, of the session it was for.
pub(super) struct PromptAccepted {
    pub(super) session: Arc<Session>,
    pub(super) accepted: Accepted,
    /// For the stream of its turn, if that is wanted.
    permit: Option<StreamPermit>,
}

/// How a client hears of a prompt that was taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Reply {
    /// An answer, at once.
    Answer,
    /// The stream of the turn.
    Stream,
}

/// Takes a further prompt of session `id`. `body` is that of `POST /sessions/{id}/prompt`.
pub(super) async fn prompt(
    state: &ApiState,
    id: &str,
    body: &[u8],
    idempotency: Option<Idempotency>,
    reply: Reply,
) -> Result<PromptAccepted, ApiError> {
    // A mistake in the body is told whether or not the session exists.
    let (mut request, on_busy, tools) = request::check(id, body, state).await?;
    request.idempotency = idempotency;
    take(state, (request, on_busy), &tools, reply).await
}

/// The turn of a request that came before under the same key, if it has begun. For routes that look something up before they
/// take a request: what they would find now does not matter to one that is repeated.
async fn begun_before(
    state: &ApiState,
    session: &Arc<Session>,
    idempotency: Option<&Idempotency>,
    reply: Reply,
) -> Result<Option<PromptAccepted>, ApiError> {
    let known = state.registry.begun_before(session, idempotency).await?;
    let Some(accepted) = known else {
        return Ok(None);
    };
    Ok(Some(PromptAccepted {
        session: Arc::clone(session),
        accepted,
        permit: reply.permit(session)?,
    }))
}

/// Compares what was checked with its session, and has the registry take it.
async fn take(
    state: &ApiState,
    (mut request, on_busy): (Request, OnBusy),
    tools: &ToolsGiven,
    reply: Reply,
) -> Result<PromptAccepted, ApiError> {
    let session = lookup::session(state, &request.id).await?;
    tools.same_tools(session.tools())?;
    request.tools = session.tools().cloned();
    // First: a prompt whose client is refused must not run.
    let permit = reply.permit(&session)?;
    let action = match &request.task {
        Task::Compact => "session.compact",
        Task::Shell(_) => "session.shell",
        // As the driver tells them apart.
        Task::Prompt if request.prompt.is_empty() => "session.resume",
        Task::Prompt => "session.prompt",
    };
    let accepted = state.registry.prompt(&session, request, on_busy).await?;
    audit::session(action, &session.id, accepted.turn);
    Ok(PromptAccepted {
        session,
        accepted,
        permit,
    })
}

/// Ends session `id`, and withdraws what waits in its queue.
pub(super) async fn stop(state: &ApiState, id: &str) -> Result<CancelledResponse, ApiError> {
    let session = lookup::session(state, id).await?;
    match tokio::time::timeout(CANCEL, state.registry.stop(&session)).await {
        Ok((status, withdrawn)) => {
            audit::session("session.stop", &session.id, status.turn);
            Ok(CancelledResponse::new(&session, &status, withdrawn))
        }
        Err(_) => Err(ApiError::internal("a cancelled turn did not end in time")),
    }
}

/// Tell the agent more. With `Accept: text/event-stream` the answer is the stream of this turn.
#[utoipa::path(
    post,
    path = "/sessions/{id}/prompt",
    operation_id = "prompt_session",
    params(
        ("id" = String, Path, description = "the `session_id`"),
        ("Idempotency-Key" = Option<String>, Header, min_length = 1, max_length = 255,
            description = "the same key and body again is the same turn"),
    ),
    request_body = request::PromptBody,
    responses(
        (status = 202, description = "it is taken", body = PromptResponse),
        (status = 200, description = "with `Accept: text/event-stream`: the events of the turn",
            content_type = "text/event-stream", body = StreamEvent),
        PromptErrors,
    )
)]
pub(super) async fn create(
    State(state): Shared,
    Id(id): Id,
    headers: HeaderMap,
    BodyBytes(body): BodyBytes,
) -> Result<Response, ApiError> {
    let idempotency = idempotency::of_request(&headers, &body)?;
    let reply = Reply::of(&headers);
    let accepted = prompt(&state, &id, &body, idempotency, reply).await?;
    Ok(answer(&state, accepted))
}

/// What a client gets for a prompt that was taken: where to follow it, or its stream.
fn answer(state: &ApiState, taken: PromptAccepted) -> Response {
    let PromptAccepted {
        session,
        accepted,
        permit,
    } = taken;
    let Some(permit) = permit else {
        let body = Json(PromptResponse::new(&session, &accepted));
        return (StatusCode::ACCEPTED, body).into_response();
    };
    let turn = (accepted.from, accepted.span);
    turn_stream(&session.log, permit, turn, &state.shutdown.drain)
}

// === impl Reply ===

impl Reply {
    fn of(headers: &HeaderMap) -> Self {
        if wants_stream(headers) {
            Self::Stream
        } else {
            Self::Answer
        }
    }

    fn permit(self, session: &Session) -> Result<Option<StreamPermit>, ApiError> {
        match self {
            Self::Answer => Ok(None),
            Self::Stream => Ok(Some(permit(&session.slots)?)),
        }
    }
}

/// Go on with a session that has ended: another turn, with all that the agent knows of it.
#[utoipa::path(
    post,
    path = "/sessions/{id}/resume",
    operation_id = "resume_session",
    params(
        ("id" = String, Path, description = "the `session_id`"),
        ("Idempotency-Key" = Option<String>, Header, min_length = 1, max_length = 255,
            description = "the same key and body again is the same turn"),
    ),
    request_body = request::ResumeBody,
    responses((status = 200, description = "it runs", body = ResumedResponse), ResumeErrors)
)]
pub(super) async fn resume(
    State(state): Shared,
    Id(id): Id,
    headers: HeaderMap,
    BodyBytes(body): BodyBytes,
) -> Result<Json<ResumedResponse>, ApiError> {
    let idempotency = idempotency::of_route(&headers, "resume", &body)?;
    let (mut request, tools) = request::check_resume(&id, &body, &state)?;
    request.idempotency = idempotency;
    let taken = take(&state, (request, OnBusy::Reject), &tools, Reply::Answer).await?;
    Ok(Json(ResumedResponse::new(&taken.session, &taken.accepted)))
}

/// The prompts that wait.
#[utoipa::path(
    get,
    path = "/sessions/{id}/queue",
    operation_id = "session_queue",
    params(("id" = String, Path, description = "the `session_id`")),
    responses((status = 200, description = "the next one first", body = QueueResponse), QueueErrors)
)]
pub(super) async fn queue(
    State(state): Shared,
    Id(id): Id,
) -> Result<Json<QueueResponse>, ApiError> {
    let session = lookup::session(&state, &id).await?;
    Ok(Json(QueueResponse::new(&session)))
}

/// Withdraw a prompt that waits.
#[utoipa::path(
    delete,
    path = "/sessions/{id}/queue/{turn}",
    operation_id = "withdraw_prompt",
    params(
        ("id" = String, Path, description = "the `session_id`"),
        ("turn" = u32, Path, description = "the number of its turn"),
    ),
    responses(
        (status = 200, description = "its turn never comes", body = WithdrawnResponse),
        QueueErrors,
    )
)]
pub(super) async fn withdraw(
    State(state): Shared,
    IdAndTurn(id, turn): IdAndTurn,
) -> Result<Json<WithdrawnResponse>, ApiError> {
    let session = lookup::session(&state, &id).await?;
    if !state.registry.withdraw(&session, turn).await {
        return Err(ApiError::new(
            ErrorCode::NotFound,
            "no prompt with this turn waits; GET /sessions/{id}/queue lists those that do",
        ));
    }
    audit::session("prompt.withdraw", &session.id, turn);
    Ok(Json(WithdrawnResponse::new(&session, turn)))
}

/// End a session. One that has ended is left as it is.
#[utoipa::path(
    post,
    path = "/sessions/{id}/stop",
    operation_id = "stop_session",
    params(("id" = String, Path, description = "the `session_id`")),
    responses((status = 200, description = "it has ended", body = CancelledResponse), QueueErrors)
)]
pub(super) async fn stop_session(
    State(state): Shared,
    Id(id): Id,
) -> Result<Json<CancelledResponse>, ApiError> {
    stop(&state, &id).await.map(Json)
}

/// End a session. One that has ended is left as it is.
#[utoipa::path(
    delete,
    path = "/sessions/{id}",
    operation_id = "delete_session",
    params(("id" = String, Path, description = "the `session_id`")),
    responses((status = 200, description = "it has ended", body = CancelledResponse), QueueErrors)
)]
pub(super) async fn delete_session(
    State(state): Shared,
    Id(id): Id,
) -> Result<Json<CancelledResponse>, ApiError> {
    stop(&state, &id).await.map(Json)
}
