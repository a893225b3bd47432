//! `/healthz`, `/health`, `/ready`: answered from memory, without a lock that anybody holds for long.
//!
//! They never touch the disk or the child. The workspace is checked by a task of its own, the engine
//! is watched by its actor; here the latest word of both is read.

use std::sync::Arc;
use std::time::Instant;

use axum::body::{Body, Bytes};
use axum::http::header::{CACHE_CONTROL, CONTENT_TYPE};
use axum::http::{HeaderValue, StatusCode};
use axum::response::Response;
use serde::Serialize;
use utoipa::ToSchema;

use super::{Shared, State};
use crate::clock;

/// 200 of a probe.
#[derive(ToSchema)]
#[expect(dead_code, reason = "described; the body is two constants")]
pub(super) struct Probe {
    /// `ok` or `ready`.
    status: String,
}

/// 503 of `/ready`.
#[derive(Serialize, ToSchema)]
pub(super) struct NotReady<'a> {
    /// `not ready`.
    status: &'static str,
    /// Why.
    error: &'a str,
    #[schema(format = DateTime)]
    timestamp: String,
}

/// Whether the process answers.
#[utoipa::path(
    get,
    path = "/healthz",
    operation_id = "healthz",
    security(()),
    responses((status = 200, description = "it does", body = Probe))
)]
pub(super) async fn healthz() -> Response {
    alive()
}

/// Whether the process answers.
#[utoipa::path(
    get,
    path = "/health",
    operation_id = "health",
    security(()),
    responses((status = 200, description = "it does", body = Probe))
)]
pub(super) async fn health() -> Response {
    alive()
}

/// Whether work can be taken.
#[utoipa::path(
    get,
    path = "/ready",
    operation_id = "ready",
    security(()),
    responses(
        (status = 200, description = "it can", body = Probe),
        (status = 503, description = "it cannot, and why", body = NotReady<'_>),
    )
)]
pub(super) async fn ready(axum::extract::State(state): Shared) -> Response {
    readiness(&state)
}

/// The answer of the probe at `path`, if it is one.
pub(super) fn answer(path: &str, state: &Arc<State>) -> Option<Response> {
    match path {
        "/healthz" | "/health" => Some(alive()),
        "/ready" => Some(readiness(state)),
        _ => None,
    }
}

fn alive() -> Response {
    json(StatusCode::OK, Bytes::from_static(br#"{"status":"ok"}"#))
}

fn readiness(state: &State) -> Response {
    let Some(reason) = not_ready(state) else {
        return json(StatusCode::OK, Bytes::from_static(br#"{"status":"ready"}"#));
    };
    let body = NotReady {
        status: "not ready",
        error: &reason,
        timestamp: clock::Timestamp::now().to_string(),
    };
    json(
        StatusCode::SERVICE_UNAVAILABLE,
        serde_json::to_vec(&body).unwrap_or_default().into(),
    )
}

/// Why no work can be taken now. The most lasting reason first.
fn not_ready(state: &State) -> Option<String> {
    if state.shutdown.drain.is_cancelled() {
        return Some("draining".into());
    }
    let workspace = state.workspace.borrow().sentence();
    if workspace.is_some() {
        return workspace;
    }
    state.engine.not_ready(Instant::now())
}

fn json(status: StatusCode, body: Bytes) -> Response {
    let mut response = Response::new(Body::from(body));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}
