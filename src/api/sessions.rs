//! `/sessions`: begin, list, look, stop, follow.

pub(super) mod list;
pub(super) mod request;
pub(super) mod response;

use axum::Json;
use axum::extract::{OriginalUri, State};
use axum::http::header::{ACCEPT, LOCATION};
use axum::http::{HeaderMap, HeaderValue, StatusCode};
use axum::response::{IntoResponse as _, Response};

use super::Shared;
use super::error::{ApiError, ErrorCode, error_responses};
use super::extract::{BodyBytes, Id};
use super::openapi::StreamEvent;
use super::stream::{StreamRequest, stream};
use crate::session::{Found, Session};

use self::response::{CancelledResponse, CreatedResponse, ResumedResponse, StatusResponse};

use std::sync::Arc;
use std::time::Duration;

/// A cancel is answered within 5 s, even by a child that hangs; the driver needs at most 4.
const CANCEL: Duration = Duration::from_millis(4800);

error_responses!(CreateErrors:
    InvalidRequest,
    Conflict,
    PayloadTooLarge,
    IdempotencyMismatch,
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
    PayloadTooLarge,
    TooManySessions,
    EngineUnavailable,
    WorkspaceUnavailable,
    JournalUnavailable,
    ShuttingDown,
);
error_responses!(StreamErrors:
    InvalidRequest,
    NotFound,
    Gone,
    Conflict,
    TooManyStreams,
    JournalUnavailable,
);
error_responses!(SessionErrors: InvalidRequest, NotFound, Gone, JournalUnavailable);

/// Begin a session. With `Accept: text/event-stream` the answer is its stream.
#[utoipa::path(
    post,
    path = "/sessions",
    operation_id = "create_session",
    params(
        ("Idempotency-Key" = Option<String>, Header, min_length = 1, max_length = 255,
            description = "the same key and body again is the same session"),
    ),
    request_body = request::Body,
    responses((
        status = 201,
        description = "it runs",
        content(
            (CreatedResponse = "application/json"),
            (StreamEvent = "text/event-stream"),
        ),
        headers(("Location" = String, description = "`/sessions/{id}`")),
        links(
            ("session_status" = (operation_id = "session_status", parameters(("id" = "$response.body#/session_id")))),
            ("stop_session" = (operation_id = "stop_session", parameters(("id" = "$response.body#/session_id")))),
            ("delete_session" = (operation_id = "delete_session", parameters(("id" = "$response.body#/session_id")))),
            ("stream_session" = (operation_id = "stream_session", parameters(("id" = "$response.body#/session_id"))))
        ),
    ), CreateErrors)
)]
pub(super) async fn create(
    State(state): Shared,
    headers: HeaderMap,
    BodyBytes(body): BodyBytes,
) -> Result<Response, ApiError> {
    let request = request::check(&body, &headers, &state.rules)?;
    let (session, created) = state.registry.create(request).await?;
    let location = [(LOCATION, header(&format!("/sessions/{}", session.id)))];
    if wants_stream(&headers) {
        let mut response = stream(
            &session.log,
            &session.slots,
            &StreamRequest::default(),
            &state.shutdown.drain,
        )?;
        *response.status_mut() = StatusCode::CREATED;
        return Ok((location, response).into_response());
    }
    Ok((
        StatusCode::CREATED,
        location,
        Json(CreatedResponse::new(&session, created)),
    )
        .into_response())
}

/// What happens in a session, as server-sent events; the schema `Events` has the data of each type.
#[utoipa::path(
    get,
    path = "/sessions/{id}/stream",
    operation_id = "stream_session",
    params(
        ("id" = String, Path, description = "the `session_id`"),
        ("Last-Event-ID" = Option<String>, Header,
            description = "the cursor: an id, `earliest` or `latest`; absent is `earliest`"),
        ("last_event_id" = Option<String>, Query, description = "the same, if there is no header"),
        ("lastEventId" = Option<String>, Query, description = "the same, if there is neither"),
        ("follow" = Option<String>, Query, description = "`1`: stay across turns"),
        ("strict" = Option<String>, Query, description = "`1`: 409 instead of a gap"),
        ("include" = Option<String>, Query, description = "`reasoning`: the model's thoughts too"),
    ),
    responses(
        (status = 200, description = "from the cursor on", content_type = "text/event-stream",
            body = StreamEvent,
            headers(
                ("Sidecar-Last-Event-Id" = String, description = "the id before the first one sent"),
                ("Sidecar-Epoch" = String, description = "which log this is"),
            )),
        (status = 204, description = "the session is idle and the cursor is its last event"),
        StreamErrors,
    )
)]
pub(super) async fn follow(
    State(state): Shared,
    Id(id): Id,
    OriginalUri(uri): OriginalUri,
    headers: HeaderMap,
) -> Result<Response, ApiError> {
    let session = find(&state, &id).await?;
    Ok(stream(
        &session.log,
        &session.slots,
        &StreamRequest::read(&uri, &headers),
        &state.shutdown.drain,
    )?)
}

/// Go on with a session that has ended: another turn, with all that the agent knows of it.
#[utoipa::path(
    post,
    path = "/sessions/{id}/resume",
    operation_id = "resume_session",
    params(("id" = String, Path, description = "the `session_id`")),
    request_body = request::ResumeBody,
    responses((status = 200, description = "it runs", body = ResumedResponse), ResumeErrors)
)]
pub(super) async fn resume(
    State(state): Shared,
    Id(id): Id,
    BodyBytes(body): BodyBytes,
) -> Result<Json<ResumedResponse>, ApiError> {
    // A mistake in the body is told whether or not the session exists.
    let request = request::check_resume(&id, &body, &state.rules)?;
    let session = find(&state, &id).await?;
    let request = request::same_tools(request, session.tools())?;
    // The turn before is over in every respect: its last event has its number.
    session.settled().await;
    let from = session.log.last_event_id();
    let (session, created) = state.registry.resume(session, request).await?;
    Ok(Json(ResumedResponse::new(&session, created, from)))
}

/// How a session is.
#[utoipa::path(
    get,
    path = "/sessions/{id}/status",
    operation_id = "session_status",
    params(("id" = String, Path, description = "the `session_id`")),
    responses((status = 200, description = "how it is", body = StatusResponse), SessionErrors)
)]
pub(super) async fn status(
    State(state): Shared,
    Id(id): Id,
) -> Result<Json<StatusResponse>, ApiError> {
    let session = find(&state, &id).await?;
    session.settled().await;
    Ok(Json(StatusResponse::new(&session)))
}

/// End a session. One that has ended is left as it is.
#[utoipa::path(
    post,
    path = "/sessions/{id}/stop",
    operation_id = "stop_session",
    params(("id" = String, Path, description = "the `session_id`")),
    responses((status = 200, description = "it has ended", body = CancelledResponse), SessionErrors)
)]
pub(super) async fn stop(
    State(state): Shared,
    Id(id): Id,
) -> Result<Json<CancelledResponse>, ApiError> {
    cancel(&state, &id).await
}

/// End a session. One that has ended is left as it is.
#[utoipa::path(
    delete,
    path = "/sessions/{id}",
    operation_id = "delete_session",
    params(("id" = String, Path, description = "the `session_id`")),
    responses((status = 200, description = "it has ended", body = CancelledResponse), SessionErrors)
)]
pub(super) async fn delete(
    State(state): Shared,
    Id(id): Id,
) -> Result<Json<CancelledResponse>, ApiError> {
    cancel(&state, &id).await
}

async fn cancel(state: &super::State, id: &str) -> Result<Json<CancelledResponse>, ApiError> {
    let session = find(state, id).await?;
    match tokio::time::timeout(CANCEL, session.cancel()).await {
        Ok(status) => Ok(Json(CancelledResponse::new(&session, &status))),
        Err(_) => Err(ApiError::internal("a cancelled turn did not end in time")),
    }
}

/// The session with this id, in memory.
pub(super) async fn find(state: &super::State, id: &str) -> Result<Arc<Session>, ApiError> {
    match state.registry.find(id).await? {
        Found::Here(session) => Ok(session),
        Found::Gone => Err(ApiError::new(
            ErrorCode::Gone,
            "this session is over and its events are deleted",
        )),
        Found::Unknown => Err(ApiError::new(
            ErrorCode::NotFound,
            "there is no session with this id",
        )),
    }
}

/// Whether the client wants to follow at once. A list that also takes JSON is no such wish.
fn wants_stream(headers: &HeaderMap) -> bool {
    let accept = headers
        .get(ACCEPT)
        .and_then(|value| value.to_str().ok())
        .unwrap_or_default();
    accept.contains("text/event-stream") && !accept.contains("json")
}

/// Ids are checked to be harmless in a header.
fn header(text: &str) -> HeaderValue {
    HeaderValue::from_str(text).unwrap_or_else(|_| HeaderValue::from_static("/sessions"))
}
