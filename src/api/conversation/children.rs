//! `GET /sessions/{id}/children`

use axum::Json;
use axum::extract::State;

use super::messages::MessagesErrors;
use crate::api::Shared;
use crate::api::error::ApiError;
use crate::api::extract::Id;
use crate::api::lookup;
use crate::conversation::Subagents;

/// The subagents of a session.
#[utoipa::path(
    get,
    path = "/sessions/{id}/children",
    operation_id = "session_children",
    params(("id" = String, Path, description = "the `session_id`")),
    responses((status = 200, description = "all of them", body = Subagents), MessagesErrors)
)]
pub(in crate::api) async fn children(
    State(state): Shared,
    Id(id): Id,
) -> Result<Json<Subagents>, ApiError> {
    let session = lookup::session(&state, &id).await?;
    Ok(Json(state.conversations.subagents(&session).await?))
}
