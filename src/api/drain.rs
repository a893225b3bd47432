//! `POST /drain`: what SIGTERM does, asked for by a client that wants to know when it is done.
//!
//! The answer comes when the turns have ended; then the engine is stopped, and the process leaves. It
//! goes on if the client does not wait.

use std::time::Instant;

use axum::Json;
use axum::extract::State;
use serde::Serialize;
use utoipa::ToSchema;

use super::Shared;
use super::error::{ApiError, ErrorCode, error_responses};
use crate::audit;
use crate::clock::millis;
use crate::event::FailureCode;
use crate::session::Registry;

/// Body of the answer.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Drained)]
pub(super) struct DrainResponse {
    /// `drained`.
    status: &'static str,
    /// Sessions whose turn did not end by itself in time.
    sessions_interrupted: usize,
    waited_ms: u64,
}

error_responses!(DrainErrors: ShuttingDown);

/// Leave: take no new sessions, let turns finish until `DRAIN_TIMEOUT`, answer, stop the child, exit 0.
#[utoipa::path(
    post,
    path = "/drain",
    operation_id = "drain",
    responses((status = 200, description = "no turn runs any more; the process leaves", body = DrainResponse), DrainErrors)
)]
pub(super) async fn drain(State(state): Shared) -> Result<Json<DrainResponse>, ApiError> {
    let begun = Instant::now();
    audit::process("drain");
    state.shutdown.begin();
    let ended = tokio::time::timeout(state.rules.drain_timeout, state.registry.idle()).await;
    if ended.is_err() {
        return Err(ApiError::new(
            ErrorCode::ShuttingDown,
            "turns still run and DRAIN_TIMEOUT is over: the sidecar leaves without their ends",
        ));
    }
    Ok(Json(DrainResponse {
        status: "drained",
        sessions_interrupted: interrupted(&state.registry, state.shutdown.since()),
        waited_ms: millis(begun.elapsed()),
    }))
}

/// How many sessions say that this shutdown ended them. They know; a count taken at the moment of the
/// halt would have those in it that ended by themselves in that moment.
fn interrupted(registry: &Registry, since: Option<Instant>) -> usize {
    let code = FailureCode::ShuttingDown.as_str();
    registry
        .in_memory()
        .iter()
        .map(|session| session.status())
        .filter(|status| status.ended >= since)
        .filter(|status| {
            status
                .problem
                .as_ref()
                .is_some_and(|problem| problem.code == code)
        })
        .count()
}
