//! The session that a request names.

use std::sync::Arc;

use super::State;
use super::error::{ApiError, ErrorCode};
use crate::session::{Found, Session};

pub(super) async fn session(state: &State, id: &str) -> Result<Arc<Session>, ApiError> {
    match state.registry.find(id).await? {
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
