//! `GET /sessions/{id}/diff`

use axum::Json;
use axum::extract::{OriginalUri, State};

use super::messages::MessagesErrors;
use crate::api::Shared;
use crate::api::error::ApiError;
use crate::api::extract::Id;
use crate::api::lookup;
use crate::api::query::Query;
use crate::conversation::Changes;

/// What a session changed in the files of its workspace.
#[utoipa::path(
    get,
    path = "/sessions/{id}/diff",
    operation_id = "session_diff",
    params(
        ("id" = String, Path, description = "the `session_id`"),
        ("turn" = Option<u32>, Query, minimum = 1, description = "only what this turn changed"),
    ),
    responses((status = 200, description = "by turn, in order", body = Changes), MessagesErrors)
)]
pub(in crate::api) async fn diff(
    State(state): Shared,
    Id(id): Id,
    OriginalUri(uri): OriginalUri,
) -> Result<Json<Changes>, ApiError> {
    let turn = Query::read(&uri)?.value(
        "turn",
        |text| text.parse().ok().filter(|turn: &u32| *turn > 0),
        || "must be the number of a turn".to_owned(),
    )?;
    let session = lookup::session(&state, &id).await?;
    Ok(Json(state.conversations.diff(&session, turn).await?))
}
