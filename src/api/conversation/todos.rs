//! `GET /sessions/{id}/todos`

use axum::Json;
use axum::extract::State;

use super::messages::MessagesErrors;
use crate::api::Shared;
use crate::api::error::ApiError;
use crate::api::extract::Id;
use crate::api::lookup;
use crate::event::Todo;

/// The agent's plan as it is now.
#[utoipa::path(
    get,
    path = "/sessions/{id}/todos",
    operation_id = "session_todos",
    params(("id" = String, Path, description = "the `session_id`")),
    responses((status = 200, description = "the plan", body = Todo), MessagesErrors)
)]
pub(in crate::api) async fn todos(
    State(state): Shared,
    Id(id): Id,
) -> Result<Json<Todo>, ApiError> {
    let session = lookup::session(&state, &id).await?;
    let items = state.conversations.todos(&session).await?;
    Ok(Json(Todo { items }))
}
