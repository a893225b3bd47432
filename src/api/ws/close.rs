//! How a WebSocket ends: the codes of the contract.
//!
//! Below 4000 they are those of RFC 6455; from there on it is 4000 and the HTTP status that would have said the same.

use std::borrow::Cow;

use tungstenite::Utf8Bytes;
use tungstenite::protocol::CloseFrame;

use crate::api::error::ApiError;

/// Why a WebSocket ends, as its client is told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Close {
    code: u16,
    reason: Cow<'static, str>,
}

/// A control frame has at most 125 bytes, and the code takes two.
const MAX_REASON: usize = 123;

// === impl Close ===

impl Close {
    const fn of(code: u16, reason: &'static str) -> Self {
        Self {
            code,
            reason: Cow::Borrowed(reason),
        }
    }

    pub(super) const fn idle() -> Self {
        Self::of(1000, "the session is idle")
    }

    pub(super) const fn going_away() -> Self {
        Self::of(1001, "the sidecar leaves; come back with the last id")
    }

    pub(super) const fn protocol() -> Self {
        Self::of(1002, "this is no WebSocket protocol")
    }

    pub(super) const fn binary() -> Self {
        Self::of(1003, "messages are text")
    }

    pub(super) const fn not_utf8() -> Self {
        Self::of(1007, "this text is not UTF-8")
    }

    pub(super) const fn too_large() -> Self {
        Self::of(1009, "the message is larger than MAX_BODY_BYTES allows")
    }

    pub(super) const fn auth_too_large() -> Self {
        Self::of(1009, "the message with the token is too large")
    }

    pub(super) const fn unreadable() -> Self {
        Self::of(
            1013,
            "the events cannot be read now; come back with the last id",
        )
    }

    pub(super) const fn no_token() -> Self {
        Self::of(4401, "no token came within 5 s")
    }

    pub(super) const fn revoked() -> Self {
        Self::of(4401, "the token is not accepted any more")
    }

    pub(super) const fn slow() -> Self {
        Self::of(
            4408,
            "nothing was read for too long; come back with the last id",
        )
    }

    pub(super) const fn silent() -> Self {
        Self::of(4408, "pings are not answered; come back with the last id")
    }

    pub(super) const fn gone() -> Self {
        Self::of(4410, "the session is over and its events are deleted")
    }

    /// What would have been an answer with this error.
    pub(super) fn error(error: &ApiError) -> Self {
        Self {
            code: 4000 + error.status().as_u16(),
            reason: error.message().to_owned().into(),
        }
    }

    pub(super) const fn code(&self) -> u16 {
        self.code
    }

    pub(super) fn frame(&self) -> CloseFrame {
        let end = self.reason.floor_char_boundary(MAX_REASON);
        let reason = self.reason.get(..end).unwrap_or_default();
        CloseFrame {
            code: self.code.into(),
            reason: Utf8Bytes::from(reason),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::error::ErrorCode;

    #[test]
    fn an_error_becomes_its_status_and_a_reason_that_fits() {
        let error = ApiError::new(ErrorCode::NotFound, "ü".repeat(200));
        let frame = Close::error(&error).frame();
        assert_eq!(u16::from(frame.code), 4404);
        assert_eq!(frame.reason.as_str(), "ü".repeat(61));
    }
}
