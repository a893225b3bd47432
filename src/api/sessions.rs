//! `/sessions`: begin, list, look, follow.

pub(super) mod list;
pub(super) mod request;
pub(super) mod response;

use axum::Json;
use axum::extract::{OriginalUri, State};
use axum::http::header::LOCATION;
use axum::http::{HeaderMap, HeaderValue, StatusCode};
use axum::response::{IntoResponse as _, Response};

use super::Shared;
use super::error::{ApiError, error_responses};
use super::extract::{BodyBytes, Id};
use super::lookup;
use super::openapi::StreamEvent;
use super::stream::{StreamRequest, stream, wants_stream};
use crate::audit;

use self::response::{CreatedResponse, StatusResponse};

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
    let request = request::check(&body, &headers, &state).await?;
    let (session, created) = state.registry.create(request).await?;
    audit::session("session.create", &session.id, 1);
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
    let session = lookup::session(&state, &id).await?;
    Ok(stream(
        &session.log,
        &session.slots,
        &StreamRequest::read(&uri, &headers),
        &state.shutdown.drain,
    )?)
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
    let session = lookup::session(&state, &id).await?;
    session.settled().await;
    Ok(Json(StatusResponse::new(&session)))
}

/// Ids are checked to be harmless in a header.
fn header(text: &str) -> HeaderValue {
    HeaderValue::from_str(text).unwrap_or_else(|_| HeaderValue::from_static("/sessions"))
}
