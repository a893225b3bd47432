//! `GET /sessions`: all that are kept, the newest first, a page at a time.

use axum::Json;
use axum::extract::{OriginalUri, State};
use axum::http::Uri;
use serde::Serialize;
use utoipa::ToSchema;

use super::response::StatusResponse;
use crate::api::Shared;
use crate::api::error::{ApiError, error_responses};
use crate::api::query::Query;
use crate::event::State as SessionState;

const DEFAULT_LIMIT: usize = 50;
const MAX_LIMIT: usize = 500;

#[derive(Debug, utoipa::IntoParams)]
#[into_params(parameter_in = Query)]
pub(in crate::api) struct ListQuery {
    /// Only sessions in this state.
    status: Option<SessionState>,
    /// Sessions on one page; 50 unless said.
    #[param(value_type = Option<usize>, minimum = 1, maximum = 500)]
    limit: usize,
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
    OriginalUri(uri): OriginalUri,
) -> Result<Json<ListResponse>, ApiError> {
    let query = ListQuery::read(&uri)?;
    let wanted = query.status.map(SessionState::as_str);
    let (page, more) = state
        .registry
        .list(query.cursor, wanted, query.limit)
        .await?;
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

// === impl ListQuery ===

impl ListQuery {
    /// Reads each parameter by itself, so that a refusal names the one at fault.
    fn read(uri: &Uri) -> Result<Self, ApiError> {
        let query = Query::read(uri)?;
        Ok(Self {
            status: query.value("status", SessionState::parse, || {
                let states = SessionState::ALL.map(SessionState::as_str).join(", ");
                format!("must be one of {states}")
            })?,
            limit: query.limit(MAX_LIMIT)?.unwrap_or(DEFAULT_LIMIT),
            cursor: query.value(
                "cursor",
                |text| text.parse().ok(),
                || "must be the next_cursor of a page".to_owned(),
            )?,
        })
    }
}
