//! One call: from the child to the provider and back.
//!
//! ```text
//! receive -> routes -> meter -> rewrite -> send -> success -> relay
//!                                  ^         |
//!                                  |         +-> refusal -> the child's error
//!                                  +-------------- | without the parameter that is not supported
//! ```
//!
//! Dropping the future or the relay at any point ends the call to the provider: that is how the provider
//! learns that the child hung up.

use std::borrow::Cow;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Arc;
use std::time::SystemTime;

use bytes::Bytes;
use http::header::{ACCEPT, ACCEPT_ENCODING, AUTHORIZATION, CONTENT_ENCODING, CONTENT_TYPE};
use http::{HeaderMap, HeaderName, HeaderValue, Method, Response, StatusCode};
use http_body_util::BodyExt;
use tokio::time::Instant;

use super::answer_reader::AnswerReader;
use super::body::{self, Answer, BoxError};
use super::call::Call;
use super::demo;
use super::error::ForwardError;
use super::meter::Outcome;
use super::provider_error::ProviderError;
use super::relay::relay;
use super::request_body::Received;
use super::rewrite::{self, Changes};
use super::routes::RegisteredRoute;
use super::shared::Shared;
use super::stream_start::{self, StartError};
use super::unsupported::Unsupported;
use super::validate::{Fault, Validator};
use crate::provider::{Dialect, is_reasoning_model};
use crate::trace::CallTrace;

/// What goes from the child to the provider. Everything else stays here, above all its own bearer.
const REQUEST_HEADERS: [&str; 2] = ["anthropic-beta", "openai-beta"];
/// What goes back. Others would show the agent the account, or our connection.
const RESPONSE_HEADERS: [HeaderName; 2] = [
    HeaderName::from_static("request-id"),
    HeaderName::from_static("x-request-id"),
];
/// The first attempt, and one for each parameter that it may turn out not to support: the limit's name, the
/// temperature, one more.
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
    match try_forward(shared, dialect, headers, body).await {
        Ok(response) => response,
        Err(error) => error_response(dialect, &error),
    }
}

async fn try_forward<B>(
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
    let Received { body, memory } = shared.request_body.receive(body).await?;
    let caller = text("x-session-id").ok_or(ForwardError::UnknownSession)?;
    let registered = shared
        .routes
        .find(caller, text("x-parent-session-id"))
        .filter(|registered| registered.route.model.upstream.dialect() == dialect)
        .ok_or(ForwardError::UnknownSession)?;

    let deadline = SystemTime::now() + shared.config.header_timeout;
    let id = registered.meter.begin(caller, deadline, || hash(&body))?;
    let trace = registered
        .route
        .trace
        .call(caller, &registered.route.session);
    let traceparent = trace.as_ref().map(CallTrace::traceparent);
    let call = Call::new(Arc::clone(&registered), id, Instant::now(), trace);
    let exchange = Exchange {
        shared,
        traceparent,
        registered: &registered,
        headers,
        dialect,
    };
    let answered = tokio::select! {
        biased;
        () = registered.revoked.cancelled() => Err(ForwardError::Revoked),
        answered = exchange.run(call, &body) => answered,
    };
    drop(memory);
    answered
}

/// A call that has no answer yet.
struct Exchange<'a> {
    shared: &'a Shared,
    registered: &'a Arc<RegisteredRoute>,
    headers: &'a HeaderMap,
    dialect: Dialect,
    /// Of which trace the call is; nothing where nothing is traced.
    traceparent: Option<String>,
}

/// What a provider answers.
enum Reply {
    Success(Response<Answer>),
    Refused(ProviderError),
}

// === impl Exchange ===

impl Exchange<'_> {
    async fn run(&self, mut call: Call, body: &Bytes) -> Result<Response<Answer>, ForwardError> {
        let limit = self.shared.config.header_timeout;
        let reply = match tokio::time::timeout(limit, self.ask(&call, body)).await {
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

    /// Asks, and asks again without what the provider says it does not support.
    async fn ask(&self, call: &Call, body: &Bytes) -> Result<Reply, ForwardError> {
        let known = self.shared.routes.unsupported(self.registered);
        let mut unsupported = known;
        let mut attempts = 1;
        loop {
            let response = self.send(body, unsupported).await?;
            if response.status().is_success() {
                if unsupported != known {
                    self.shared.routes.remember(self.registered, unsupported);
                }
                return Ok(Reply::Success(response));
            }
            if response.status().is_redirection() {
                return Err(ForwardError::Redirect);
            }
            let refusal = ProviderError::read(response).await;
            let may_learn = matches!(refusal.status.as_u16(), 400 | 422) && attempts < MAX_ATTEMPTS;
            match unsupported
                .learn(self.dialect, &refusal.body)
                .filter(|_| may_learn)
            {
                Some(learnt) => unsupported = learnt,
                None => return Ok(Reply::Refused(refusal)),
            }
            attempts += 1;
            call.repeated();
        }
    }

    async fn send(
        &self,
        body: &Bytes,
        unsupported: Unsupported,
    ) -> Result<Response<Answer>, ForwardError> {
        let route = &self.registered.route;
        let (spec, model) = (&route.model, &self.registered.model_id);
        let mut unsupported = unsupported;
        unsupported.max_tokens |= spec.upstream.wants_completion_limit(model);
        let changes = Changes {
            model,
            temperature: spec.temperature,
            max_tokens: spec.max_tokens,
            keep_reasoning: self.dialect == Dialect::Responses && is_reasoning_model(model),
            enabled_tools: route.enabled_tools.as_deref(),
            unsupported,
        };
        let segments = rewrite::rewrite(body, self.dialect, &changes)?;
        if spec.upstream.is_demo() {
            return Ok(demo::answer(body, &self.registered.demo));
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
        // A compressed stream arrives in few large pieces. gzip is understood if a provider uses it all the same.
        headers.insert(ACCEPT_ENCODING, HeaderValue::from_static("identity"));
        let traceparent = self.traceparent.as_deref();
        if let Some(value) = traceparent.and_then(|text| HeaderValue::from_str(text).ok()) {
            headers.insert(HeaderName::from_static("traceparent"), value);
        }
        if self.dialect == Dialect::Messages {
            let given = self.headers.get(ANTHROPIC_VERSION).cloned();
            headers.insert(
                ANTHROPIC_VERSION,
                given.unwrap_or(const { HeaderValue::from_static("2023-06-01") }),
            );
        }
        if let Some(key) = self.registered.key() {
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
        refusal: ProviderError,
        call: Call,
        body: &Bytes,
    ) -> Result<Response<Answer>, ForwardError> {
        let redactor = self.registered.redactor(self.shared.token());
        let max_retry_after = self.shared.config.max_retry_after;
        refusal.answer(call, self.dialect, &redactor, max_retry_after, || {
            hash(body)
        })
    }

    /// Shows the answer to the child, if it is one.
    async fn relay(
        &self,
        response: Response<Answer>,
        mut call: Call,
        asked: &Bytes,
    ) -> Result<Response<Answer>, ForwardError> {
        let (head, body) = response.into_parts();
        let encoding = head.headers.get(CONTENT_ENCODING);
        if encoding.is_some_and(|encoding| encoding != "identity") {
            call.outcome(Outcome::Refused(ForwardError::Encoding.last_error()));
            return Err(ForwardError::Encoding);
        }
        call.answering();
        let config = &self.shared.config;
        let merge_window = self.shared.merge_window;
        let validator = Validator::new(
            self.dialect,
            self.registered.redactor(self.shared.token()),
            Arc::clone(&self.registered.tool_arguments),
            merge_window.merges(),
        );
        let mut reader = AnswerReader::new(body, call, validator, config.idle_timeout);
        let started = match stream_start::start(&mut reader).await {
            Ok(started) => started,
            Err(StartError::Stalled) => {
                let error = ForwardError::Stalled(config.idle_timeout);
                reader.call.outcome(Outcome::Failed(error.last_error()));
                return Err(error);
            }
            Err(StartError::Fault(Fault::Told(json))) => {
                let refusal = ProviderError::told(json, reader.call.pause_after_failure());
                return self.refuse(refusal, reader.call, asked);
            }
            Err(StartError::Fault(Fault::Bad(why))) => {
                let said = reader.validator.sentence(why);
                let status = StatusCode::BAD_GATEWAY.as_u16();
                let pause = reader.call.answered_badly(Some(status), said.clone());
                if let Some(pause) = pause {
                    self.registered.meter.retry_at(SystemTime::now() + pause);
                }
                return Err(ForwardError::BadAnswer { said, pause });
            }
        };
        let mut response = Response::new(relay(reader, started, merge_window));
        *response.status_mut() = head.status;
        for name in RESPONSE_HEADERS {
            if let Some(value) = head.headers.get(&name) {
                response.headers_mut().insert(name, value.clone());
            }
        }
        // An answer that was validated is an event stream, whatever the provider called it.
        let kind = const { HeaderValue::from_static("text/event-stream") };
        response.headers_mut().insert(CONTENT_TYPE, kind);
        Ok(response)
    }
}

fn hash(body: &Bytes) -> u64 {
    let mut hasher = DefaultHasher::new();
    body.hash(&mut hasher);
    hasher.finish()
}

fn error_response(dialect: Dialect, error: &ForwardError) -> Response<Answer> {
    let mut response = body::json(error.status(), error.body(dialect));
    if let Some(pause) = error.pause() {
        let ms = u64::try_from(pause.as_millis()).unwrap_or(u64::MAX);
        let headers = response.headers_mut();
        headers.insert("retry-after-ms", HeaderValue::from(ms));
    }
    response
}
