//! A provider's answer that is no success, read within bounds and made fit to pass on.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use bytes::{Bytes, BytesMut};
use http::header::CONTENT_TYPE;
use http::{HeaderMap, HeaderValue, Response, StatusCode};
use http_body_util::BodyExt;
use tokio::time::{Instant, timeout_at};

use super::error::{self, ForwardError};
use super::error_body::ErrorBody;
use super::meter::{LastError, Outcome, Stop};
use super::redact::redact_body;
use super::relay::{Answer, Call};
use super::verdict::{Verdict, judge, status_of};
use crate::provider::Dialect;

/// Real error bodies are a few hundred bytes. A longer one is replaced by its beginning.
const MAX_BODY: usize = 64 * 1024;
/// So much of a replaced body is quoted.
const MAX_QUOTE: usize = 1024;
/// The status says most of it: the rest is not waited for long.
const READ_TIMEOUT: Duration = Duration::from_secs(5);

const NO_REASON: &str = "the provider gave no reason";

/// What was read of it.
#[derive(Debug)]
pub(super) struct Refusal {
    pub(super) status: StatusCode,
    headers: HeaderMap,
    pub(super) body: Bytes,
    /// There was more.
    cut: bool,
    /// How long the child is to wait where the provider does not say.
    pause: Option<Duration>,
}

// === impl Refusal ===

impl Refusal {
    /// Reads the refusal; a body that does not end is left.
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

    /// One that the provider told in the first event of its stream, already redacted.
    pub(super) fn told(json: String, pause: Duration) -> Self {
        Self {
            status: status_of(&json),
            headers: HeaderMap::new(),
            body: Bytes::from(json),
            cut: false,
            pause: Some(pause),
        }
    }

    /// Ends the call and answers the child.
    pub(super) fn answer(
        self,
        mut call: Call,
        dialect: Dialect,
        token: Option<&str>,
        max_retry_after: Duration,
        hash: impl FnOnce() -> u64,
    ) -> Result<Response<Answer>, ForwardError> {
        let entry = Arc::clone(call.entry());
        let now = SystemTime::now();
        let text = String::from_utf8_lossy(&self.body);
        let verdict = judge(self.status, &self.headers, &text, max_retry_after, now);
        let secrets = [
            entry.key().map_or("", |key| key.expose()),
            token.unwrap_or_default(),
        ];
        // What was cut off may end in the middle of a key.
        let whole = secrets.iter().map(|secret| secret.len()).max().unwrap_or(0);
        let kept = if self.cut {
            text.len().saturating_sub(whole)
        } else {
            text.len()
        };
        let clean = redact_body(head(&text, kept), &secrets);
        let error = |code| LastError {
            code,
            status: Some(self.status.as_u16()),
            message: match self.pause {
                Some(_) => told(&clean),
                None => message(&clean),
            },
        };
        let mut response = Response::new(());
        *response.status_mut() = self.status;
        match verdict {
            Verdict::Passing { after } => {
                call.outcome(Outcome::Failed(error("provider_error")));
                if let Some(after) = after.or(self.pause) {
                    entry.meter.retry_at(now + after);
                    let ms = u64::try_from(after.as_millis()).unwrap_or(u64::MAX);
                    response
                        .headers_mut()
                        .insert("retry-after", HeaderValue::from(ms.div_ceil(1000)));
                    response
                        .headers_mut()
                        .insert("retry-after-ms", HeaderValue::from(ms));
                }
            }
            Verdict::Quota => {
                call.outcome(Outcome::Refused(error("provider_quota")));
                entry.meter.stop(Stop::QuotaExhausted);
                return Err(ForwardError::Stopped(Stop::QuotaExhausted));
            }
            Verdict::Wrong => {
                call.outcome(Outcome::Refused(error("provider_refused")));
                entry.meter.refused(hash());
            }
        }
        let passed = self.passable(&clean, dialect);
        let kind = self
            .headers
            .get(CONTENT_TYPE)
            .filter(|_| passed == clean)
            .cloned();
        let kind = kind.unwrap_or(const { HeaderValue::from_static("application/json") });
        response.headers_mut().insert(CONTENT_TYPE, kind);
        Ok(response.map(|()| full(passed)))
    }

    /// The provider's own words where they can be passed on whole.
    fn passable(&self, clean: &str, dialect: Dialect) -> String {
        if !self.cut && !clean.trim().is_empty() {
            return clean.to_owned();
        }
        let said = if clean.trim().is_empty() {
            NO_REASON
        } else {
            head(clean, MAX_QUOTE)
        };
        error::body(dialect, "provider_error", said)
    }
}

/// A body that is all there.
pub(super) fn full(text: String) -> Answer {
    http_body_util::Full::new(Bytes::from(text))
        .map_err(|never| match never {})
        .boxed_unsync()
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
    let end = (0..=limit.min(text.len()))
        .rev()
        .find(|&at| text.is_char_boundary(at))
        .unwrap_or_default();
    text.get(..end).unwrap_or_default()
}
