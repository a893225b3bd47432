//! `PATCH /sessions/{id}`

use axum::Json;
use axum::extract::State;
use serde::Deserialize;
use serde_json::{Map, Value};
use utoipa::ToSchema;

use crate::api::Shared;
use crate::api::error::{ApiError, error_responses};
use crate::api::extract::{BodyBytes, Id, parse};
use crate::api::labels::{change, if_given};
use crate::api::lookup;
use crate::api::sessions::response::StatusResponse;
use crate::audit;
use crate::session::Change;

#[derive(Deserialize, ToSchema)]
#[serde(expecting = "an object")]
#[schema(as = SessionUpdate)]
pub(in crate::api) struct UpdateBody {
    /// Null takes it away.
    #[serde(default, deserialize_with = "if_given")]
    #[schema(value_type = Option<String>, max_length = 256)]
    title: Change<String>,
    /// Takes the place of what there was; null takes it away. At most 4 KiB.
    #[serde(default, deserialize_with = "if_given")]
    #[schema(value_type = Option<Object>)]
    metadata: Change<Map<String, Value>>,
}

error_responses!(UpdateErrors: InvalidRequest, NotFound, Gone, PayloadTooLarge, JournalUnavailable);

/// Change what you call a session.
#[utoipa::path(
    patch,
    path = "/sessions/{id}",
    operation_id = "update_session",
    params(("id" = String, Path, description = "the `session_id`")),
    request_body = UpdateBody,
    responses((status = 200, description = "how it is now", body = StatusResponse), UpdateErrors)
)]
pub(in crate::api) async fn update(
    State(state): Shared,
    Id(id): Id,
    BodyBytes(body): BodyBytes,
) -> Result<Json<StatusResponse>, ApiError> {
    let body: UpdateBody = parse(&body)?;
    let change = change(body.title, body.metadata)?;
    let session = lookup::session(&state, &id).await?;
    session.set_labels(change).await;
    audit::session("session.update", &session.id, session.status().turn);
    Ok(Json(StatusResponse::new(&session)))
}
