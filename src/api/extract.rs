//! Extractors that refuse in our words.

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
        let body = Bytes::from_request(request, state)
            .await
            .map_err(unreadable)?;
        if body.trim_ascii().is_empty() {
            return Ok(Self(T::default()));
        }
        parse(&body).map(Self)
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

/// One JSON document to `T`; a mistake is named by its path, or by line and column.
pub(super) fn parse<T: DeserializeOwned>(body: &[u8]) -> Result<T, ApiError> {
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

pub(super) fn unreadable(rejection: BytesRejection) -> ApiError {
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
