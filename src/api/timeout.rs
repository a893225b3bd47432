//! `timeout_secs` of a request.

use std::time::Duration;

use super::error::ApiError;

/// How long a turn may take; `None`: as long as any.
pub(super) fn check(secs: Option<i64>, most: Duration) -> Result<Option<Duration>, ApiError> {
    let Some(secs) = secs else { return Ok(None) };
    let limit = u64::try_from(secs).ok().map(Duration::from_secs);
    match limit.filter(|limit| !limit.is_zero() && *limit <= most) {
        Some(limit) => Ok(Some(limit)),
        None => Err(ApiError::invalid(
            "timeout_secs",
            &format!(
                "must be a whole number from 1 to {} (SESSION_TIMEOUT)",
                most.as_secs()
            ),
        )),
    }
}
