//! `/sessions`: begin, list, look, stop, follow.

mod list;
mod request;
mod response;

use axum::Json;
use axum::extract::{OriginalUri, State};
use axum::http::header::{ACCEPT, LOCATION};
use axum::http::{HeaderMap, HeaderValue, StatusCode};
use axum::response::{IntoResponse as _, Response};

use super::Shared;
use super::error::{ApiError, ErrorCode};
use super::extract::{Id, Whole};
use super::stream::{StreamRequest, stream};
use crate::session::{Found, Session};

pub(super) use self::list::list;
use self::response::{CancelledResponse, CreatedResponse, StatusResponse};

use std::sync::Arc;
use std::time::Duration;

/// A cancel is answered within 5 s, even by a child that hangs; the driver needs at most 4.
const CANCEL: Duration = Duration::from_millis(4800);

pub(super) async fn create(
    State(state): Shared,
    headers: HeaderMap,
    Whole(body): Whole,
) -> Result<Response, ApiError> {
    let request = request::check(&body, &headers, &state.rules)?;
    let (session, created) = state.registry.create(request).await?;
    let location = [(LOCATION, header(&format!("/sessions/{}", session.id)))];
    if wants_stream(&headers) {
        let mut response = stream(&session.log, &session.slots, &StreamRequest::default())?;
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

pub(super) async fn follow(
    State(state): Shared,
    Id(id): Id,
    OriginalUri(uri): OriginalUri,
    headers: HeaderMap,
) -> Result<Response, ApiError> {
    let session = find(&state, &id)?;
    Ok(stream(
        &session.log,
        &session.slots,
        &StreamRequest::read(&uri, &headers),
    )?)
}

pub(super) async fn status(
    State(state): Shared,
    Id(id): Id,
) -> Result<Json<StatusResponse>, ApiError> {
    let session = find(&state, &id)?;
    Ok(Json(StatusResponse::new(&session)))
}

pub(super) async fn stop(
    State(state): Shared,
    Id(id): Id,
) -> Result<Json<CancelledResponse>, ApiError> {
    let session = find(&state, &id)?;
    match tokio::time::timeout(CANCEL, session.cancel()).await {
        Ok(status) => Ok(Json(CancelledResponse::new(&session, &status))),
        Err(_) => Err(ApiError::internal("a cancelled turn did not end in time")),
    }
}

fn find(state: &super::State, id: &str) -> Result<Arc<Session>, ApiError> {
    match state.registry.find(id) {
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
