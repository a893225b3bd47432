//! A place in a conversation, as a body names it.

use crate::api::error::ApiError;
use crate::driver::Place;

/// OpenCode's ids have 30 characters.
const MAX_ID: usize = 64;

/// The id of a message. What is not of these characters never gets into the address of a call of OpenCode.
pub(super) fn message_id(id: String) -> Result<String, ApiError> {
    let accepted = |byte: u8| byte.is_ascii_alphanumeric() || b"_-".contains(&byte);
    let rest = id.strip_prefix("msg_").unwrap_or_default();
    if !rest.is_empty() && id.len() <= MAX_ID && rest.bytes().all(accepted) {
        return Ok(id);
    }
    Err(ApiError::invalid(
        "message_id",
        "must be the id of a message, as GET /sessions/{id}/messages has it",
    ))
}

/// The one place that is named.
pub(super) fn place(message: Option<String>, turn: Option<u32>) -> Result<Option<Place>, ApiError> {
    match (message, turn) {
        (Some(_), Some(_)) => Err(ApiError::invalid(
            "turn",
            "cannot come together with message_id; leave one of them out",
        )),
        (_, Some(0)) => Err(ApiError::invalid("turn", "must be the number of a turn")),
        (Some(id), None) => Ok(Some(Place::Message(id))),
        (None, Some(turn)) => Ok(Some(Place::Turn(turn))),
        (None, None) => Ok(None),
    }
}
