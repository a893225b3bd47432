//! Extractors that refuse in our words.

use std::time::Duration;

use axum::body::{Bytes, HttpBody as _};
use axum::extract::rejection::BytesRejection;
use axum::extract::{FromRequest, FromRequestParts, Path, Request};
use axum::http::request::Parts;
use serde::de::DeserializeOwned;

use super::error::{ApiError, ErrorCode};

/// A JSON body that may be left out; then `T`'s default.
///
/// The content type is not asked for: `curl -d` sends another one, and the body says what it is.
#[derive(Debug)]
pub(super) struct OptionalJson<T>(pub(super) T);

impl<S: Send + Sync, T: DeserializeOwned + Default> FromRequest<S> for OptionalJson<T> {
    type Rejection = ApiError;

    async fn from_request(request: Request, state: &S) -> Result<Self, ApiError> {
        if request.body().is_end_stream() {
            return Ok(Self(T::default()));
        }
        let BodyBytes(body) = BodyBytes::from_request(request, state).await?;
        parse_optional(&body).map(Self)
    }
}

/// How long a body may take to arrive. A client that never ends it must not keep its place for ever.
const BODY_DEADLINE: Duration = Duration::from_secs(30);

/// A whole body, bounded in bytes (by the router) and in time.
#[derive(Debug)]
pub(super) struct BodyBytes(pub(super) Bytes);

impl<S: Send + Sync> FromRequest<S> for BodyBytes {
    type Rejection = ApiError;

    async fn from_request(request: Request, state: &S) -> Result<Self, ApiError> {
        let body = Bytes::from_request(request, state);
        match tokio::time::timeout(BODY_DEADLINE, body).await {
            Ok(body) => body.map(Self).map_err(unreadable),
            Err(_) => Err(ApiError::new(
                ErrorCode::InvalidRequest,
                format!(
                    "the body did not arrive within {} s",
                    BODY_DEADLINE.as_secs()
                ),
            )),
        }
    }
}

/// The `{id}` of a session's path.
#[derive(Debug)]
pub(super) struct Id(pub(super) String);

impl<S: Send + Sync> FromRequestParts<S> for Id {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, ApiError> {
        let path = Path::<String>::from_request_parts(parts, state).await;
        path.map(|Path(id)| Self(id))
            .map_err(|_| ApiError::invalid("session_id", "is not UTF-8"))
    }
}

/// The `{id}` and `{turn}` of a session's path.
#[derive(Debug)]
pub(super) struct IdAndTurn(pub(super) String, pub(super) u32);

impl<S: Send + Sync> FromRequestParts<S> for IdAndTurn {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, ApiError> {
        let Ids(id, turn) = Ids::from_request_parts(parts, state).await?;
        match turn.parse() {
            Ok(turn) => Ok(Self(id, turn)),
            Err(_) => Err(ApiError::invalid("turn", "must be the number of a turn")),
        }
    }
}

/// The session's id and the one after it in the path.
#[derive(Debug)]
pub(super) struct Ids(pub(super) String, pub(super) String);

impl<S: Send + Sync> FromRequestParts<S> for Ids {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, ApiError> {
        let path = Path::<(String, String)>::from_request_parts(parts, state).await;
        path.map(|Path((id, inner))| Self(id, inner))
            .map_err(|_| ApiError::invalid("session_id", "is not UTF-8"))
    }
}

/// A body that may be left out; then `T`'s default.
pub(super) fn parse_optional<T: DeserializeOwned + Default>(body: &[u8]) -> Result<T, ApiError> {
    if body.trim_ascii().is_empty() {
        return Ok(T::default());
    }
    parse(body)
}

/// One JSON document to `T`; a mistake is named by its path, or by line and column.
pub(super) fn parse<T: DeserializeOwned>(body: &[u8]) -> Result<T, ApiError> {
    // Serde takes a list for an object, field by field; that is nobody's contract.
    if body.trim_ascii_start().starts_with(b"[") {
        return Err(ApiError::new(
            ErrorCode::InvalidRequest,
            "the body is not the JSON expected: it is a list, and should be an object",
        ));
    }
    let mut json = serde_json::Deserializer::from_slice(body);
    let value = serde_path_to_error::deserialize(&mut json).map_err(|error| {
        let path = error.path().to_string();
        let reason = error.into_inner();
        let words = without_position(&reason);
        // A field that is not there has no path of its own: serde names it in its words.
        if let Some(field) = words.strip_prefix("missing field `") {
            let field = field.trim_end_matches('`');
            let outer = Some(path).filter(|path| path != ".");
            let full = outer.map_or_else(|| field.to_owned(), |outer| format!("{outer}.{field}"));
            ApiError::invalid(&full, "is missing")
        } else if reason.is_data() && path != "." {
            ApiError::invalid(&path, &words)
        } else {
            ApiError::new(
                ErrorCode::InvalidRequest,
                format!("the body is not the JSON expected: {reason}"),
            )
        }
    })?;
    json.end().map_err(|reason| {
        ApiError::new(
            ErrorCode::InvalidRequest,
            format!("there is more after the JSON document: {reason}"),
        )
    })?;
    Ok(value)
}

/// A field's path says where; line and column are for what has no path.
fn without_position(error: &serde_json::Error) -> String {
    let text = error.to_string();
    let end = text.rfind(" at line ").unwrap_or(text.len());
    text.get(..end).unwrap_or(&text).to_owned()
}

fn unreadable(rejection: BytesRejection) -> ApiError {
    use axum::extract::rejection::FailedToBufferBody::LengthLimitError;
    match rejection {
        BytesRejection::FailedToBufferBody(LengthLimitError(_)) => ApiError::new(
            ErrorCode::PayloadTooLarge,
            "the body is larger than MAX_BODY_BYTES allows",
        ),
        other => ApiError::new(
            ErrorCode::InvalidRequest,
            format!("the body could not be read: {other}"),
        ),
    }
}

#[cfg(test)]
mod tests {
    use axum::body::Body;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_body_that_never_ends_is_not_waited_for_for_ever() {
        let endless = futures_util::stream::pending::<Result<Bytes, std::io::Error>>();
        let request = Request::new(Body::from_stream(endless));
        let start = tokio::time::Instant::now();
        let error = BodyBytes::from_request(request, &()).await.unwrap_err();
        assert_eq!(start.elapsed(), BODY_DEADLINE);
        assert!(format!("{error:?}").contains("the body did not arrive within 30 s"));
    }
}
