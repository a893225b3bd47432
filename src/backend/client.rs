//! The two calls. A redirect is not followed: the secret is for this backend alone.

use std::sync::Arc;
use std::time::Duration;

use reqwest::header::{AUTHORIZATION, CONTENT_TYPE, HeaderMap, HeaderValue, RETRY_AFTER};
use reqwest::redirect::Policy;
use reqwest::{Method, Request, Response, Url};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use super::config::{Bearer, Config, Timing};
use crate::clock::Timestamp;
use crate::id::is_id;
use crate::outgoing::{Caller, SendError, innermost};
use crate::session::Report;
use crate::socket_owner::Finder;
use crate::trust;

/// The list carries prompts, so a few sessions may fill a megabyte.
const MAX_LIST: usize = 16 << 20;

/// As many as `MAX_CONCURRENT_SESSIONS` can be. What is past it is left for the next start.
const MAX_SESSIONS: usize = 1000;

/// The status for a report that is not sent because its id cannot be a part of a path.
const NOT_SENT: u16 = 400;

/// The longest wait that is taken from a `Retry-After`.
const MAX_RETRY_AFTER: Duration = Duration::from_mins(1);

/// A cheap clone.
#[derive(Clone)]
pub(super) struct Client {
    http: Arc<Caller>,
    base: Url,
    bearer: Bearer,
}

/// What became of a report.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Delivery {
    /// The backend has it, or has an end of its own, or does not know the session: nothing is left to report.
    Done(u16),
    /// It will not take it, however often it is sent.
    Refused(u16),
    Failed(Failure),
}

/// A call that is worth another attempt.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Failure {
    pub(super) reason: String,
    /// How long the backend asks to wait.
    pub(super) wait: Option<Duration>,
}

/// Why there is no list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum ListError {
    /// It is worth another attempt.
    Failed(Failure),
    /// The backend answers, but not with a list.
    Invalid(String),
}

/// A session that the backend has as active.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Listed {
    /// It satisfies [`is_id`].
    pub(super) id: String,
    pub(super) created_at: Option<Timestamp>,
    /// The agent's own id, which satisfies it too.
    pub(super) remote_id: Option<String>,
}

/// All of them.
#[derive(Debug, Default)]
pub(super) struct List {
    pub(super) sessions: Vec<Listed>,
    /// Entries that are no sessions, and those past the most that are read.
    pub(super) left_out: usize,
}

/// `PATCH /api/sessions/{id}/status`.
#[derive(Debug, Serialize)]
struct Body<'a> {
    status: &'a str,
    error: Option<&'a str>,
    code: Option<&'a str>,
    last_event_id: &'a str,
    turn: u32,
}

#[derive(Deserialize)]
struct Active<'a> {
    /// Go writes a list without entries as null.
    #[serde(borrow)]
    sessions: Option<Vec<&'a RawValue>>,
}

/// What is read of an entry.
#[derive(Deserialize)]
struct Entry {
    id: String,
    remote_session_id: Option<String>,
    created_at: Option<String>,
}

// === impl Client ===

impl Client {
    pub(super) fn new(
        config: &Config,
        bearer: Bearer,
        owners: Finder,
        timing: Timing,
    ) -> Result<Self, String> {
        let tls = if config.url.scheme() == "https" {
            let extra = match &config.extra_ca_file {
                Some(path) => trust::certificates(path)
                    .map_err(|reason| format!("EXTRA_CA_FILE {}: {reason}", path.display()))?,
                None => Vec::new(),
            };
            trust::client(&extra)
        } else {
            trust::nobody()
        };
        let tls = tls.map_err(|error| error.to_string())?;
        let make = move |_| {
            let builder = reqwest::Client::builder()
                .no_proxy()
                .redirect(Policy::none())
                .connect_timeout(timing.connect)
                .timeout(timing.call)
                .user_agent(concat!("opencode-sidecar/", env!("CARGO_PKG_VERSION")));
            Ok(builder.tls_backend_preconfigured(tls.clone()))
        };
        Ok(Self {
            http: Arc::new(Caller::new(owners, &[], make)),
            base: config.url.clone(),
            bearer,
        })
    }

    /// Reports the end of a turn.
    pub(super) async fn report(&self, report: &Report) -> Delivery {
        // It becomes a part of the path, and may come from a disk that another program wrote.
        if !is_id(&report.id) {
            return Delivery::Refused(NOT_SENT);
        }
        let problem = report.problem.as_ref();
        let body = Body {
            status: report.state.as_str(),
            error: problem.map(|(_, sentence)| sentence.as_str()),
            code: problem.map(|(code, _)| code.as_str()),
            last_event_id: &report.last_event_id,
            turn: report.turn,
        };
        let path = ["api", "sessions", &report.id, "status"];
        let mut request = self.request(Method::PATCH, &path);
        // A struct of strings and numbers always becomes JSON.
        *request.body_mut() = Some(serde_json::to_vec(&body).unwrap_or_default().into());
        let json = HeaderValue::from_static("application/json");
        request.headers_mut().insert(CONTENT_TYPE, json);
        match self.http.execute(request).await {
            Err(error) => Delivery::Failed(unreachable(error)),
            Ok(response) => delivery(&response),
        }
    }

    /// Asks which sessions the backend has as active.
    pub(super) async fn list(&self) -> Result<List, ListError> {
        let request = self.request(Method::GET, &["api", "sessions", "active"]);
        let failed = |error| ListError::Failed(unreachable(error));
        let mut response = self.http.execute(request).await.map_err(failed)?;
        let status = response.status();
        if !status.is_success() {
            let failure = answered(&response);
            return Err(if is_final(status.as_u16()) {
                ListError::Invalid(failure.reason)
            } else {
                ListError::Failed(failure)
            });
        }
        let mut body = Vec::new();
        while let Some(chunk) = response
            .chunk()
            .await
            .map_err(|error| failed(SendError::Call(error)))?
        {
            if body.len() + chunk.len() > MAX_LIST {
                let reason = format!("the list is larger than {MAX_LIST} bytes");
                return Err(ListError::Invalid(reason));
            }
            body.extend_from_slice(&chunk);
        }
        read(&body)
            .map_err(|error| ListError::Invalid(format!("the list is not understood: {error}")))
    }

    fn request(&self, method: Method, path: &[&str]) -> Request {
        let mut url = self.base.clone();
        // Every http address can be a base.
        if let Ok(mut segments) = url.path_segments_mut() {
            segments.pop_if_empty().extend(path);
        }
        let mut request = Request::new(method, url);
        let secret = (self.bearer)();
        let bearer = secret.map(|secret| format!("Bearer {}", secret.expose()));
        // A secret has only characters that a header may have.
        if let Some(Ok(mut bearer)) = bearer.map(HeaderValue::try_from) {
            bearer.set_sensitive(true);
            request.headers_mut().insert(AUTHORIZATION, bearer);
        }
        request
    }
}

fn read(body: &[u8]) -> Result<List, serde_json::Error> {
    let active: Active<'_> = serde_json::from_slice(body)?;
    let entries = active.sessions.unwrap_or_default();
    let all = entries.len();
    let sessions: Vec<Listed> = entries
        .into_iter()
        .filter_map(|entry| listed(entry.get()))
        .take(MAX_SESSIONS)
        .collect();
    Ok(List {
        left_out: all - sessions.len(),
        sessions,
    })
}

/// One bad entry is no reason not to read the others.
fn listed(entry: &str) -> Option<Listed> {
    let entry: Entry = serde_json::from_str(entry).ok()?;
    is_id(&entry.id).then(|| Listed {
        id: entry.id,
        created_at: entry.created_at.as_deref().and_then(Timestamp::parse),
        // It becomes a part of a path too.
        remote_id: entry.remote_session_id.filter(|id| is_id(id)),
    })
}

fn delivery(response: &Response) -> Delivery {
    let status = response.status().as_u16();
    match status {
        200..=299 | 404 | 409 | 410 => Delivery::Done(status),
        _ if is_final(status) => Delivery::Refused(status),
        _ => Delivery::Failed(answered(response)),
    }
}

/// Whether another attempt would be refused as well. 401 and 403 are not final: a secret is rotated at one side
/// first, and the end of a session should outlive that.
const fn is_final(status: u16) -> bool {
    matches!(status, 400..=499) && !matches!(status, 401 | 403 | 408 | 425 | 429)
}

fn answered(response: &Response) -> Failure {
    let status = response.status().as_u16();
    let reason = match status {
        300..=399 => format!("it answered {status}, and redirects are not followed"),
        401 | 403 => format!("it answered {status}: does it know this OPENCODE_SHARED_SECRET?"),
        _ => format!("it answered {status}"),
    };
    Failure {
        reason,
        wait: retry_after(response.headers()),
    }
}

fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    let seconds = headers.get(RETRY_AFTER)?.to_str().ok()?.trim().parse().ok();
    seconds.map(|seconds| Duration::from_secs(seconds).min(MAX_RETRY_AFTER))
}

fn unreachable(error: SendError) -> Failure {
    let reason = match error {
        SendError::Call(error) if error.is_timeout() => "it does not answer in time".to_owned(),
        SendError::Call(error) => innermost(&error.without_url()),
        SendError::NoClient(reason) => reason,
        SendError::Untrusted(reason) => reason.to_string(),
    };
    Failure { reason, wait: None }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_session_is_left_out_and_the_others_are_read() {
        let list = read(
            br#"{"sessions":[
                {"id":"a","task_id":"t","status":"running","prompt":"p","remote_session_id":"ses_1",
                 "last_event_id":null,"created_at":"2026-11-20T09:23:10.559+02:00","more":[1]},
                {"id":"../b"}, {"id":7}, null, "c", {},
                {"id":"d","remote_session_id":"../../x","created_at":"soon"},
                {"id":"e","remote_session_id":""}
            ],"more":1}"#,
        )
        .unwrap();
        let sessions: Vec<(&str, Option<&str>, bool)> = list
            .sessions
            .iter()
            .map(|listed| {
                let remote_id = listed.remote_id.as_deref();
                (listed.id.as_str(), remote_id, listed.created_at.is_some())
            })
            .collect();
        let expected = [
            ("a", Some("ses_1"), true),
            ("d", None, false),
            ("e", None, false),
        ];
        assert_eq!(sessions, expected);
        assert_eq!(list.left_out, 5);
    }

    #[test]
    fn no_sessions_can_be_said_in_three_ways() {
        for text in [r#"{"sessions":[]}"#, r#"{"sessions":null}"#, "{}"] {
            assert!(read(text.as_bytes()).unwrap().sessions.is_empty(), "{text}");
        }
        for text in ["", "[", "[]x", "null", "<html>", r#"{"sessions":3}"#] {
            assert!(read(text.as_bytes()).is_err(), "{text}");
        }
    }

    #[test]
    fn a_list_is_read_up_to_a_point() {
        let entries: Vec<String> = (0..=MAX_SESSIONS)
            .map(|n| format!("{{\"id\":\"{n}\"}}"))
            .collect();
        let list = read(format!("{{\"sessions\":[{}]}}", entries.join(",")).as_bytes()).unwrap();
        assert_eq!((list.sessions.len(), list.left_out), (MAX_SESSIONS, 1));
    }
}
