//! `POST /sessions/{id}/revert`, `POST /sessions/{id}/unrevert`

use axum::Json;
use axum::extract::State;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::fork::ForkErrors;
use super::place::{message_id, place};
use crate::api::Shared;
use crate::api::error::ApiError;
use crate::api::extract::{BodyBytes, Id, parse};
use crate::api::lookup;
use crate::audit;
use crate::driver::Undone;
use crate::session::{Reverted, Session};

#[derive(Deserialize, ToSchema)]
#[serde(expecting = "an object")]
#[schema(as = RevertSession)]
pub(in crate::api) struct RevertBody {
    /// The prompt that is undone, with all that came after it. Either this or `turn`.
    #[serde(default)]
    #[schema(pattern = "^msg_[A-Za-z0-9_-]{1,60}$")]
    message_id: Option<String>,
    /// The turn that is undone, with all that came after it.
    #[serde(default)]
    #[schema(minimum = 1)]
    turn: Option<u32>,
}

/// 200 of `POST /sessions/{id}/revert` and `/unrevert`.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = RevertedSession)]
pub(in crate::api) struct RevertedResponse {
    session_id: String,
    /// What is undone; null: nothing is any more.
    reverted: Option<Reverted>,
    /// False where the workspace is no git work tree: then only the conversation is undone.
    files_restored: bool,
    /// What it changed in the files, as a unified diff.
    diff: Option<String>,
    /// The diff is longer than what is here.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    #[schema(value_type = Option<bool>)]
    truncated: bool,
    last_event_id: String,
}

/// Undo a prompt and all that came after it. The next prompt makes it final.
#[utoipa::path(
    post,
    path = "/sessions/{id}/revert",
    operation_id = "revert_session",
    params(("id" = String, Path, description = "the `session_id`")),
    request_body = RevertBody,
    responses((status = 200, description = "it is undone", body = RevertedResponse), ForkErrors)
)]
pub(in crate::api) async fn revert(
    State(state): Shared,
    Id(id): Id,
    BodyBytes(body): BodyBytes,
) -> Result<Json<RevertedResponse>, ApiError> {
    let body: RevertBody = parse(&body)?;
    let message = body.message_id.map(message_id).transpose()?;
    let place = place(message, body.turn)?.ok_or_else(|| {
        ApiError::invalid(
            "message_id",
            "is missing; name a prompt with it, or a turn with turn",
        )
    })?;
    let session = lookup::session(&state, &id).await?;
    let undone = state.conversations.revert(session.clone(), place).await?;
    audit::session("session.revert", &session.id, session.status().turn);
    Ok(Json(RevertedResponse::new(&session, undone)))
}

/// Take back what was undone.
#[utoipa::path(
    post,
    path = "/sessions/{id}/unrevert",
    operation_id = "unrevert_session",
    params(("id" = String, Path, description = "the `session_id`")),
    responses((status = 200, description = "it is there again", body = RevertedResponse), ForkErrors)
)]
pub(in crate::api) async fn unrevert(
    State(state): Shared,
    Id(id): Id,
) -> Result<Json<RevertedResponse>, ApiError> {
    let session = lookup::session(&state, &id).await?;
    let undone = state.conversations.unrevert(session.clone()).await?;
    audit::session("session.unrevert", &session.id, session.status().turn);
    Ok(Json(RevertedResponse::new(&session, undone)))
}

// === impl RevertedResponse ===

impl RevertedResponse {
    fn new(session: &Session, undone: Undone) -> Self {
        Self {
            session_id: session.id.clone(),
            reverted: undone.reverted,
            files_restored: undone.files_restored,
            diff: undone.diff,
            truncated: undone.truncated,
            last_event_id: session.log.last_event_id().to_string(),
        }
    }
}
