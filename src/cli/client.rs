//! The API of a sidecar as the commands call it: one place for addresses, tokens, deadlines and refusals.

mod diagnosis;
mod refusal;
mod sse;
mod stream;
mod types;

use std::collections::HashSet;
use std::net::IpAddr;
use std::time::Duration;

use reqwest::redirect::Policy;
use reqwest::{Method, RequestBuilder, Response, Url};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

pub(super) use self::diagnosis::Diagnosis;
use self::refusal::{refusal, unreachable};
pub(super) use self::stream::{Source, Stream, StreamRequest, StreamStep};
pub(super) use self::types::{Created, Engine, Event, Page, PendingAsk, Session, Usage, number};
use super::exit::{Exit, Problem};
use crate::config::Target;
use crate::secret::Secret;
use crate::trust;

const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// Longer than the sidecar takes for anything it answers at once: a creation may take 20 s, an operation of
/// the engine 25 s.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(40);

/// Answers are bounded by the server; this is for one that is none of ours.
const MAX_ANSWER: usize = 64 << 20;

/// A sidecar, at its address and with its token.
#[derive(Clone, Debug)]
pub(super) struct Client {
    http: reqwest::Client,
    url: Url,
    token: Option<Secret>,
}

// === impl Client ===

impl Client {
    pub(super) fn new(target: &Target) -> Result<Self, Problem> {
        let failed =
            |reason: String| Problem::failed(format!("no connection can be made: {reason}"));
        let extra = match &target.ca_file {
            Some(path) => trust::certificates(path).map_err(|reason| {
                Problem::usage(format!("ca_file {}: {reason}", path.display()))
            })?,
            None => Vec::new(),
        };
        // The system's certificates take a moment to read.
        let tls = if target.url.scheme() == "https" {
            trust::client(&extra)
        } else {
            trust::nobody()
        };
        let mut builder = reqwest::Client::builder()
            .tls_backend_preconfigured(tls.map_err(|error| failed(error.to_string()))?)
            // A token goes where it was meant to go and nowhere else.
            .redirect(Policy::none())
            .connect_timeout(CONNECT_TIMEOUT)
            .user_agent(concat!("opencode-sidecar/", env!("CARGO_PKG_VERSION")));
        if is_here(&target.url) {
            builder = builder.no_proxy();
        }
        Ok(Self {
            http: builder.build().map_err(|error| failed(error.to_string()))?,
            url: target.url.clone(),
            token: target.token.clone(),
        })
    }

    /// Where the sidecar is, for a sentence.
    pub(super) fn address(&self) -> &str {
        self.url.as_str().trim_end_matches('/')
    }

    /// Whether the sidecar looks at whose process asks: it does so where it wants no token.
    pub(super) fn shows_itself(&self) -> bool {
        self.token.is_none() && is_here(&self.url)
    }

    /// Whether whoever is on the way can read the token.
    pub(super) fn sends_token_in_clear(&self) -> bool {
        self.token.is_some() && self.url.scheme() == "http" && !is_here(&self.url)
    }

    pub(super) async fn get(
        &self,
        path: &[&str],
        query: &[(&str, &str)],
    ) -> Result<Value, Problem> {
        let request = self.request(Method::GET, path).query(query);
        self.answer(request).await
    }

    pub(super) async fn post(
        &self,
        path: &[&str],
        body: &impl Serialize,
    ) -> Result<Value, Problem> {
        let request = self.request(Method::POST, path).json(body);
        self.answer(request).await
    }

    pub(super) async fn delete(&self, path: &[&str]) -> Result<Value, Problem> {
        self.answer(self.request(Method::DELETE, path)).await
    }

    pub(super) async fn session(&self, id: &str) -> Result<Session, Problem> {
        parsed(self.get(&["sessions", id, "status"], &[]).await?)
    }

    /// What a session does, or why it does nothing, as the sidecar says it.
    pub(super) async fn diagnosis(&self, id: &str) -> Result<Value, Problem> {
        self.get(&["sessions", id, "diagnosis"], &[]).await
    }

    /// The newest sessions first.
    pub(super) async fn sessions(&self, query: &[(&str, &str)]) -> Result<Page, Problem> {
        parsed(self.get(&["sessions"], query).await?)
    }

    /// Those that have not ended, the newest first, as the API has them. At most `limit`.
    pub(super) async fn active_sessions(&self, limit: usize) -> Result<Vec<Value>, Problem> {
        let mut active = Vec::new();
        for state in ["pending", "running", "waiting_input"] {
            let mut cursor: Option<String> = None;
            loop {
                let mut query = vec![("status", state), ("limit", "500")];
                query.extend(cursor.as_deref().map(|cursor| ("cursor", cursor)));
                let mut answer = self.get(&["sessions"], &query).await?;
                if let Some(sessions) = answer["sessions"].as_array_mut() {
                    active.append(sessions);
                }
                cursor = answer["next_cursor"].as_str().map(str::to_owned);
                if cursor.is_none() || active.len() >= limit {
                    break;
                }
            }
        }
        let created = |session: &Value| session["created_at"].as_str().map(str::to_owned);
        active.sort_by_key(|session| std::cmp::Reverse(created(session)));
        // One may have begun to run between two looks.
        let mut seen = HashSet::new();
        active.retain(|session| seen.insert(session["session_id"].to_string()));
        active.truncate(limit);
        Ok(active)
    }

    pub(super) async fn engine(&self) -> Result<Engine, Problem> {
        parsed(self.get(&["engine", "status"], &[]).await?)
    }

    /// The id of the newest event of all sessions.
    pub(super) async fn newest_event(&self) -> Result<String, Problem> {
        let query = [("last_event_id", "latest")];
        let request = self.request(Method::GET, &["events"]).query(&query);
        let response = accepted(self.send(request).await?).await?;
        let id = response.headers().get("sidecar-last-event-id");
        let id = id.and_then(|id| id.to_str().ok()).map(str::to_owned);
        id.ok_or_else(|| not_ours(self.address()))
    }

    /// Ends what runs in a session.
    pub(super) async fn stop(&self, id: &str) -> Result<Value, Problem> {
        self.post(&["sessions", id, "stop"], &serde_json::json!({}))
            .await
    }

    /// Why no work is taken; nothing if it is.
    pub(super) async fn not_ready(&self) -> Result<Option<String>, Problem> {
        let request = self
            .request(Method::GET, &["ready"])
            .timeout(ANSWER_TIMEOUT);
        let response = self.send(request).await?;
        if response.status().is_success() {
            return Ok(None);
        }
        let body: Value = response.json().await.unwrap_or_default();
        Ok(Some(
            body["error"].as_str().unwrap_or("not ready").to_owned(),
        ))
    }

    fn request(&self, method: Method, path: &[&str]) -> RequestBuilder {
        let mut url = self.url.clone();
        if let Ok(mut segments) = url.path_segments_mut() {
            segments.pop_if_empty().extend(path);
        }
        let mut request = self.http.request(method, url);
        if let Some(token) = &self.token {
            request = request.bearer_auth(token.expose());
        }
        request
    }

    async fn answer(&self, request: RequestBuilder) -> Result<Value, Problem> {
        let response = self.send(request.timeout(ANSWER_TIMEOUT)).await?;
        let mut response = accepted(response).await?;
        let mut body = Vec::new();
        while let Some(chunk) = response
            .chunk()
            .await
            .map_err(|error| unreachable(self.address(), &error))?
        {
            body.extend_from_slice(&chunk);
            if body.len() > MAX_ANSWER {
                return Err(not_ours(self.address()));
            }
        }
        serde_json::from_slice(&body).map_err(|_| not_ours(self.address()))
    }

    /// Sends it and takes whatever the answer is.
    async fn send(&self, request: RequestBuilder) -> Result<Response, Problem> {
        request
            .send()
            .await
            .map_err(|error| unreachable(self.address(), &error))
    }
}

/// A JSON answer as one of our types. A newer sidecar may have more fields, and an older one fewer.
pub(super) fn parsed<T: DeserializeOwned>(value: Value) -> Result<T, Problem> {
    serde_json::from_value(value).map_err(|error| {
        Problem::failed(format!(
            "the answer is not what this version knows: {error}"
        ))
    })
}

/// The response, if it says that it was done.
async fn accepted(response: Response) -> Result<Response, Problem> {
    if response.status().is_success() {
        return Ok(response);
    }
    let status = response.status().as_u16();
    let body = response.text().await.unwrap_or_default();
    Err(refusal(status, &body))
}

fn not_ours(address: &str) -> Problem {
    Problem::new(
        Exit::Unreachable,
        format!("what answers at {address} is no opencode-sidecar; check --url"),
    )
}

fn is_here(url: &Url) -> bool {
    let host = url.host_str().unwrap_or_default();
    let address = host
        .trim_start_matches('[')
        .trim_end_matches(']')
        .parse::<IpAddr>();
    host == "localhost" || address.is_ok_and(|address| address.is_loopback())
}

#[cfg(test)]
mod tests;
