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
    key(headers).map(|key| of_key(key, body)).transpose()
}

/// What the header says. One that is no text is empty, which [`of_key`] refuses.
pub(super) fn key(headers: &HeaderMap) -> Option<&str> {
    let key = headers.get("idempotency-key")?;
    Some(key.to_str().unwrap_or_default())
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
