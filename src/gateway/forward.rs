//! One call: from the child to the provider and back.
//!
//! ```text
//! receive -> who is it? -> may it? -> rewrite -> send -> success -> relay
//!                                        ^        |
//!                                        +- fix <-+- refusal -> verdict -> the child's error
//! ```
//!
//! Dropping the future or the relay at any point ends the call to the provider; that is how the child's
//! hanging up reaches it.

use std::borrow::Cow;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Arc;
use std::time::SystemTime;

use bytes::Bytes;
use http::header::{ACCEPT, ACCEPT_ENCODING, AUTHORIZATION, CONTENT_ENCODING, CONTENT_TYPE};
use http::{HeaderMap, HeaderName, HeaderValue, Method, Response, StatusCode};
use http_body_util::BodyExt;
use tokio::time::Instant;

use super::Shared;
use super::demo;
use super::error::ForwardError;
use super::fix::Fixes;
use super::hold::{self, Early};
use super::judge::{Fault, Judge};
use super::meter::Outcome;
use super::refusal::{self, Refusal};
use super::relay::{Answer, BoxError, Call, Relay};
use super::request_body::Received;
use super::rewrite::{self, Changes};
use super::table::Entry;
use super::usage::{Format, Tap};
use crate::provider::{Dialect, is_reasoning_model};
use crate::secret::Secret;

/// What goes from the child to the provider. Everything else stays here, above all its own bearer.
const REQUEST_HEADERS: [&str; 2] = ["anthropic-beta", "openai-beta"];
/// What goes back. Others would tell the agent about the account, or about our connection.
const RESPONSE_HEADERS: [HeaderName; 2] = [
    HeaderName::from_static("request-id"),
    HeaderName::from_static("x-request-id"),
];
/// The first attempt and one for each thing that it may teach: a limit's name, a temperature, one more.
const MAX_ATTEMPTS: u32 = 4;
/// Anthropic requires it; the child sends its own, which wins.
const ANTHROPIC_VERSION: &str = "anthropic-version";

/// Answers one call, whatever happens.
pub(super) async fn forward<B>(
    shared: &Shared,
    dialect: Dialect,
    headers: &HeaderMap,
    body: B,
) -> Response<Answer>
where
    B: http_body::Body<Data = Bytes> + Unpin,
{
    match attempt(shared, dialect, headers, body).await {
        Ok(response) => response,
        Err(error) => error_response(dialect, &error),
    }
}

async fn attempt<B>(
    shared: &Shared,
    dialect: Dialect,
    headers: &HeaderMap,
    body: B,
) -> Result<Response<Answer>, ForwardError>
where
    B: http_body::Body<Data = Bytes> + Unpin,
{
    let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
    // The body first: a child that is still sending would not read an early answer.
    let Received { body, room } = shared.request_body.receive(body).await?;
    let caller = text("x-session-id").ok_or(ForwardError::UnknownSession)?;
    let entry = shared
        .table
        .find(caller, text("x-parent-session-id"))
        .filter(|entry| entry.route.model.upstream.dialect() == dialect)
        .ok_or(ForwardError::UnknownSession)?;

    let deadline = SystemTime::now() + shared.config.header_timeout;
    let id = entry.meter.begin(caller, deadline, || hash(&body))?;
    let call = Call::new(Arc::clone(&entry), id, Instant::now());
    let exchange = Exchange {
        shared,
        entry: &entry,
        headers,
        dialect,
    };
    let answered = tokio::select! {
        biased;
        () = entry.revoked.cancelled() => Err(ForwardError::Revoked),
        answered = exchange.run(call, &body) => answered,
    };
    drop(room);
    answered
}

/// One call while it has no answer.
struct Exchange<'a> {
    shared: &'a Shared,
    entry: &'a Arc<Entry>,
    headers: &'a HeaderMap,
    dialect: Dialect,
}

/// What a provider has to say.
enum Reply {
    Success(Response<Answer>),
    Refused(Refusal),
}

// === impl Exchange ===

impl Exchange<'_> {
    async fn run(&self, mut call: Call, body: &Bytes) -> Result<Response<Answer>, ForwardError> {
        let limit = self.shared.config.header_timeout;
        let reply = match tokio::time::timeout(limit, self.converse(body)).await {
            Ok(reply) => reply,
            Err(_) => Err(ForwardError::HeaderTimeout(limit)),
        };
        match reply {
            Ok(Reply::Success(response)) => self.relay(response, call, body).await,
            Ok(Reply::Refused(refusal)) => self.refuse(refusal, call, body),
            Err(error) => {
                let last = error.last_error();
                call.outcome(if error.is_passing() {
                    Outcome::Failed(last)
                } else {
                    Outcome::Refused(last)
                });
                Err(error)
            }
        }
    }

    /// Asks, and asks again without what the provider says it does not take.
    async fn converse(&self, body: &Bytes) -> Result<Reply, ForwardError> {
        let known = self.shared.table.fixes(self.entry);
        let mut fixes = known;
        let mut attempts = 1;
        loop {
            let response = self.send(body, fixes).await?;
            if response.status().is_success() {
                if fixes != known {
                    self.shared.table.remember(self.entry, fixes);
                }
                return Ok(Reply::Success(response));
            }
            if response.status().is_redirection() {
                return Err(ForwardError::Redirect);
            }
            let refusal = Refusal::read(response).await;
            let may_learn = matches!(refusal.status.as_u16(), 400 | 422) && attempts < MAX_ATTEMPTS;
            match fixes
                .learn(self.dialect, &refusal.body)
                .filter(|_| may_learn)
            {
                Some(learnt) => fixes = learnt,
                None => return Ok(Reply::Refused(refusal)),
            }
            attempts += 1;
            self.entry.meter.repeated();
        }
    }

    async fn send(&self, body: &Bytes, fixes: Fixes) -> Result<Response<Answer>, ForwardError> {
        let route = &self.entry.route;
        let (spec, model) = (&route.model, &self.entry.model_id);
        let mut fixes = fixes;
        fixes.completion_limit |= spec.upstream.wants_completion_limit(model);
        let changes = Changes {
            model,
            temperature: spec.temperature,
            max_tokens: spec.max_tokens,
            keep_reasoning: self.dialect == Dialect::Responses && is_reasoning_model(model),
            enabled_tools: route.enabled_tools.as_deref(),
            fixes,
        };
        let segments = rewrite::rewrite(body, self.dialect, &changes)?;
        if spec.upstream.is_demo() {
            return Ok(demo::answer(body, &self.entry.demo));
        }
        let mut request = reqwest::Request::new(Method::POST, spec.upstream.url());
        *request.headers_mut() = self.request_headers()?;
        *request.body_mut() = Some(reqwest::Body::wrap(segments));
        let response: Response<reqwest::Body> =
            self.shared.providers.execute(request).await?.into();
        Ok(response.map(|body| {
            body.map_err(|error| BoxError::from(error.without_url()))
                .boxed_unsync()
        }))
    }

    fn request_headers(&self) -> Result<HeaderMap, ForwardError> {
        let mut headers = HeaderMap::new();
        for name in REQUEST_HEADERS {
            for value in self.headers.get_all(name) {
                headers.append(HeaderName::from_static(name), value.clone());
            }
        }
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        headers.insert(
            ACCEPT,
            HeaderValue::from_static("text/event-stream, application/json"),
        );
        // Compressed streams arrive in lumps. A provider that compresses all the same is understood (gzip).
        headers.insert(ACCEPT_ENCODING, HeaderValue::from_static("identity"));
        if self.dialect == Dialect::Messages {
            let given = self.headers.get(ANTHROPIC_VERSION).cloned();
            headers.insert(
                ANTHROPIC_VERSION,
                given.unwrap_or(const { HeaderValue::from_static("2023-06-01") }),
            );
        }
        if let Some(key) = self.entry.key() {
            let (name, text) = match self.dialect {
                Dialect::Messages => (
                    HeaderName::from_static("x-api-key"),
                    Cow::Borrowed(key.expose()),
                ),
                Dialect::Chat | Dialect::Responses => (
                    AUTHORIZATION,
                    Cow::Owned(format!("Bearer {}", key.expose())),
                ),
            };
            let mut value = HeaderValue::from_str(&text).map_err(|_| ForwardError::BadKey)?;
            value.set_sensitive(true);
            headers.insert(name, value);
        }
        Ok(headers)
    }

    fn refuse(
        &self,
        refusal: Refusal,
        call: Call,
        body: &Bytes,
    ) -> Result<Response<Answer>, ForwardError> {
        let token = self.shared.token();
        let token = token.as_ref().map(Secret::expose);
        let max_retry_after = self.shared.config.max_retry_after;
        refusal.answer(call, self.dialect, token, max_retry_after, || hash(body))
    }

    /// Shows the answer to the child, if it is one.
    async fn relay(
        &self,
        response: Response<Answer>,
        mut call: Call,
        asked: &Bytes,
    ) -> Result<Response<Answer>, ForwardError> {
        let (head, mut body) = response.into_parts();
        if head
            .headers
            .get(CONTENT_ENCODING)
            .is_some_and(|encoding| encoding != "identity")
        {
            call.outcome(Outcome::Refused(ForwardError::Encoding.last_error()));
            return Err(ForwardError::Encoding);
        }
        let kind = head.headers.get(CONTENT_TYPE);
        let is_json = kind.is_some_and(|kind| kind.as_bytes().starts_with(b"application/json"));
        let format = if is_json {
            Format::Json
        } else {
            Format::Stream
        };
        let tap = Tap::new(self.dialect, format);
        call.answering(tap.keeping(self.entry.tool_arguments.clone()));
        let mut judge = Judge::new(self.dialect, self.entry.redactor(self.shared.token()));
        let idle = self.shared.config.idle_timeout;
        let begun = match hold::begin(&mut body, &mut judge, &mut call, idle).await {
            Ok(begun) => begun,
            Err(Early::Stalled) => {
                let error = ForwardError::Stalled(idle);
                call.outcome(Outcome::Failed(error.last_error()));
                return Err(error);
            }
            Err(Early::Fault(Fault::Told(json))) => {
                let refusal = Refusal::told(json, call.pause());
                return self.refuse(refusal, call, asked);
            }
            Err(Early::Fault(Fault::Bad(why))) => {
                let said = judge.sentence(why);
                let status = StatusCode::BAD_GATEWAY.as_u16();
                let pause = call.was_bad(Some(status), said.clone());
                if let Some(pause) = pause {
                    self.entry.meter.retry_at(SystemTime::now() + pause);
                }
                return Err(ForwardError::BadAnswer { said, pause });
            }
        };
        let mut response = Response::new(());
        *response.status_mut() = head.status;
        for name in RESPONSE_HEADERS {
            if let Some(value) = head.headers.get(&name) {
                response.headers_mut().insert(name, value.clone());
            }
        }
        // Whatever the provider called it: it is one.
        response.headers_mut().insert(
            CONTENT_TYPE,
            const { HeaderValue::from_static("text/event-stream") },
        );
        let relay = Relay::new(body, call, judge, begun, idle);
        Ok(response.map(|()| relay.map_err(BoxError::from).boxed_unsync()))
    }
}

fn hash(body: &Bytes) -> u64 {
    let mut hasher = DefaultHasher::new();
    body.hash(&mut hasher);
    hasher.finish()
}

fn error_response(dialect: Dialect, error: &ForwardError) -> Response<Answer> {
    let mut response = Response::new(refusal::full(error.body(dialect)));
    *response.status_mut() = error.status();
    response
        .headers_mut()
        .insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    if let Some(pause) = error.pause() {
        let ms = u64::try_from(pause.as_millis()).unwrap_or(u64::MAX);
        response
            .headers_mut()
            .insert("retry-after-ms", HeaderValue::from(ms));
    }
    response
}
