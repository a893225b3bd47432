//! `GET /sessions`: all that are kept, the newest first, a page at a time.

use axum::Json;
use axum::extract::Query;
use axum::extract::State;
use axum::extract::rejection::QueryRejection;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::response::StatusResponse;
use crate::api::Shared;
use crate::api::error::{ApiError, error_responses};
use crate::event::State as SessionState;

const DEFAULT_LIMIT: usize = 50;
const MAX_LIMIT: usize = 500;

#[derive(Debug, Deserialize, utoipa::IntoParams)]
#[into_params(parameter_in = Query)]
pub(in crate::api) struct ListQuery {
    /// Only sessions in this state.
    #[param(value_type = Option<SessionState>)]
    status: Option<String>,
    /// Sessions on one page; 50 unless said.
    #[param(minimum = 1, maximum = 500)]
    limit: Option<usize>,
    /// `next_cursor` of the page before.
    #[param(value_type = Option<String>, pattern = "^[0-9]{1,19}$")]
    cursor: Option<u64>,
}

/// One page.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = SessionList)]
pub(in crate::api) struct ListResponse {
    sessions: Vec<StatusResponse>,
    /// Asks for the next page; null on the last.
    next_cursor: Option<String>,
}

error_responses!(ListErrors: InvalidRequest, JournalUnavailable);

/// All sessions that are kept, the newest first.
#[utoipa::path(
    get,
    path = "/sessions",
    operation_id = "list_sessions",
    params(ListQuery),
    responses((status = 200, description = "one page", body = ListResponse), ListErrors)
)]
pub(in crate::api) async fn list(
    State(state): Shared,
    query: Result<Query<ListQuery>, QueryRejection>,
) -> Result<Json<ListResponse>, ApiError> {
    let Query(query) = query.map_err(|error| ApiError::invalid("query", &error.body_text()))?;
    let limit = query.limit.unwrap_or(DEFAULT_LIMIT);
    if !(1..=MAX_LIMIT).contains(&limit) {
        return Err(ApiError::invalid(
            "limit",
            &format!("must be from 1 to {MAX_LIMIT}"),
        ));
    }
    let wanted = query.status.as_deref();
    if wanted.is_some_and(|wanted| SessionState::parse(wanted).is_none()) {
        let states = SessionState::ALL.map(SessionState::as_str).join(", ");
        return Err(ApiError::invalid(
            "status",
            &format!("must be one of {states}"),
        ));
    }
    let (page, more) = state.registry.list(query.cursor, wanted, limit).await?;
    let next_cursor = page
        .last()
        .filter(|_| more)
        .map(|(number, _)| number.to_string());
    let sessions = page
        .iter()
        .map(|(_, session)| StatusResponse::new(session))
        .collect();
    Ok(Json(ListResponse {
        sessions,
        next_cursor,
    }))
}
