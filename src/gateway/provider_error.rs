//! A provider's answer that is no success, read within bounds and made fit to pass on.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use bytes::{Bytes, BytesMut};
use http::header::{CONTENT_TYPE, RETRY_AFTER};
use http::{HeaderMap, HeaderValue, Response, StatusCode};
use http_body_util::BodyExt;
use tokio::time::{Instant, timeout_at};

use super::body::{self, Answer};
use super::call::Call;
use super::error::{self, ForwardError};
use super::error_body::ErrorBody;
use super::error_kind::{ErrorKind, status_of};
use super::last_error::LastError;
use super::meter::Outcome;
use super::redactor::Redactor;
use super::stop::Stop;
use crate::provider::Dialect;

/// Real error bodies are a few hundred bytes. A longer one is replaced by its beginning.
const MAX_BODY: usize = 64 * 1024;
/// At most this much of a replaced body is quoted.
const MAX_QUOTE: usize = 1024;
/// The status says most of it: the rest is not waited for long.
const READ_TIMEOUT: Duration = Duration::from_secs(5);

/// What was read of it.
#[derive(Debug)]
pub(super) struct ProviderError {
    pub(super) status: StatusCode,
    headers: HeaderMap,
    pub(super) body: Bytes,
    /// There was more.
    cut: bool,
    /// How long the child is to wait where the provider does not say.
    pause: Option<Duration>,
}

// === impl ProviderError ===

impl ProviderError {
    /// Reads the answer; a body that does not end is left.
    pub(super) async fn read(response: Response<Answer>) -> Self {
        let deadline = Instant::now() + READ_TIMEOUT;
        let (head, mut rest) = response.into_parts();
        let mut body = BytesMut::new();
        let cut = loop {
            match timeout_at(deadline, rest.frame()).await {
                Ok(Some(Ok(frame))) => {
                    body.extend_from_slice(frame.data_ref().map_or(&[][..], |data| data));
                }
                Ok(None) => break false,
                Ok(Some(Err(_))) | Err(_) => break true,
            }
            if body.len() > MAX_BODY {
                body.truncate(MAX_BODY);
                break true;
            }
        };
        Self {
            status: head.status,
            headers: head.headers,
            body: body.freeze(),
            cut,
            pause: None,
        }
    }

    /// An error that the provider told in the first event of its stream, already redacted.
    pub(super) fn told(json: String, pause: Duration) -> Self {
        Self {
            status: status_of(&json),
            headers: HeaderMap::new(),
            body: Bytes::from(json),
            cut: false,
            pause: Some(pause),
        }
    }

    /// Ends the call and answers the child. `hash` is that of the call's body.
    pub(super) fn answer(
        self,
        mut call: Call,
        dialect: Dialect,
        redactor: &Redactor,
        max_retry_after: Duration,
        hash: impl FnOnce() -> u64,
    ) -> Result<Response<Answer>, ForwardError> {
        let route = Arc::clone(call.route());
        let now = SystemTime::now();
        let text = String::from_utf8_lossy(&self.body);
        let kind = ErrorKind::of(self.status, &self.headers, &text, max_retry_after, now);
        // What was cut off may end in the middle of a key.
        let unsure = if self.cut { redactor.longest() } else { 0 };
        let clean = redactor.body(head(&text, text.len().saturating_sub(unsure)));
        let error = |code| LastError {
            code,
            status: Some(self.status.as_u16()),
            message: match self.pause {
                Some(_) => told(&clean),
                None => message(&clean),
            },
        };
        let passed = self.passable(&clean, dialect);
        let given = self.headers.get(CONTENT_TYPE);
        let given = given.filter(|_| passed == clean).cloned();
        let mut response = body::json(self.status, passed);
        if let Some(given) = given {
            response.headers_mut().insert(CONTENT_TYPE, given);
        }
        match kind {
            ErrorKind::Transient { retry_after } => {
                call.outcome(Outcome::Failed(error("provider_error")));
                if let Some(after) = retry_after.or(self.pause) {
                    route.meter.retry_at(now + after);
                    let ms = u64::try_from(after.as_millis()).unwrap_or(u64::MAX);
                    let headers = response.headers_mut();
                    headers.insert(RETRY_AFTER, HeaderValue::from(ms.div_ceil(1000)));
                    headers.insert("retry-after-ms", HeaderValue::from(ms));
                }
            }
            ErrorKind::QuotaExhausted => {
                call.outcome(Outcome::Refused(error("provider_quota")));
                route.meter.stop(Stop::QuotaExhausted);
                return Err(ForwardError::Stopped(Stop::QuotaExhausted));
            }
            ErrorKind::Permanent => {
                call.outcome(Outcome::Refused(error("provider_refused")));
                route.meter.refused(hash());
            }
        }
        Ok(response)
    }

    /// The provider's own words where they can be passed on whole.
    fn passable(&self, clean: &str, dialect: Dialect) -> String {
        if clean.trim().is_empty() {
            return error::body(dialect, "provider_error", "the provider gave no reason");
        }
        if self.cut {
            return error::body(dialect, "provider_error", head(clean, MAX_QUOTE));
        }
        clean.to_owned()
    }
}

/// The sentence of an error that was told in a stream.
pub(super) fn told(json: &str) -> String {
    format!("the provider said in its stream: {}", message(json))
}

/// The sentence in an error body, on one line.
fn message(body: &str) -> String {
    match ErrorBody::read(body).sentence {
        none if none.is_empty() => "it gave no reason".to_owned(),
        sentence => sentence,
    }
}

/// At most the first `limit` bytes, in whole characters.
fn head(text: &str, limit: usize) -> &str {
    text.get(..text.floor_char_boundary(limit))
        .unwrap_or_default()
}
