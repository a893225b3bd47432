//! The header `Idempotency-Key`.

use axum::http::HeaderMap;
use sha2::{Digest as _, Sha256};

use super::error::ApiError;
use crate::session::Idempotency;

const MAX_KEY: usize = 255;

/// The key of a request, if it has one, with the digest of its body.
pub(super) fn of_request(
    headers: &HeaderMap,
    body: &[u8],
) -> Result<Option<Idempotency>, ApiError> {
    let Some(key) = headers.get("idempotency-key") else {
        return Ok(None);
    };
    // One that is no text is empty, which is refused.
    of_key(key.to_str().unwrap_or_default(), body).map(Some)
}

/// The key of a request to `route`, whose body may be the same as that of another route, or empty.
pub(super) fn of_route(
    headers: &HeaderMap,
    route: &'static str,
    body: &[u8],
) -> Result<Option<Idempotency>, ApiError> {
    of_request(headers, &[route.as_bytes(), b"\n", body].concat())
}

pub(super) fn of_key(key: &str, body: &[u8]) -> Result<Idempotency, ApiError> {
    let key = key.trim();
    if key.is_empty() || key.len() > MAX_KEY {
        return Err(ApiError::invalid(
            "Idempotency-Key",
            "must have 1 to 255 printable ASCII characters",
        ));
    }
    Ok(Idempotency {
        key: key.to_owned(),
        digest: Sha256::digest(body).into(),
    })
}
