//! Every error a client can see, and the only place that knows status codes.
//!
//! An [`ApiError`] becomes an empty response that carries it; [`render`] fills in the body when the
//! request id is known and the cause has been logged. So a cause never reaches a client, and no body
//! is without its id.

mod conversion;

use std::borrow::Cow;

use axum::body::Body;
use axum::http::header::{
    CONTENT_TYPE, RETRY_AFTER, SEC_WEBSOCKET_VERSION, UPGRADE, WWW_AUTHENTICATE,
};
use axum::http::{HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use utoipa::ToSchema;

use super::asks::response::AnswerResponse;
use crate::clock;

/// The kinds of error, part of the contract: `code` in every body.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[cfg_attr(test, derive(strum::VariantArray))]
#[serde(rename_all = "snake_case")]
pub(crate) enum ErrorCode {
    InvalidRequest,
    Unauthorized,
    ForeignOrigin,
    AgentProcess,
    NotFound,
    MethodNotAllowed,
    Conflict,
    AlreadyAnswered,
    Gone,
    PayloadTooLarge,
    UnknownHost,
    IdempotencyMismatch,
    CredentialsRequired,
    TooManyStreams,
    QueueFull,
    UpgradeRequired,
    TooManySessions,
    EngineUnavailable,
    WorkspaceUnavailable,
    JournalUnavailable,
    ShuttingDown,
    Internal,
}

/// No host name is longer.
const MAX_HOST: usize = 253;

/// One error on its way to a client.
#[derive(Clone, Debug)]
pub(crate) struct ApiError {
    code: ErrorCode,
    message: Cow<'static, str>,
    details: Option<Box<Details>>,
    retry_after_secs: Option<u64>,
    /// The answer that was given before.
    answer: Option<Box<AnswerResponse>>,
    /// For the log, never for the client.
    cause: Option<String>,
}

/// Which field, and what is wrong with it.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub(super) struct Details {
    field: String,
    reason: String,
}

/// The body of every error.
#[derive(Serialize, ToSchema)]
#[schema(as = Error)]
pub(super) struct Envelope<'a> {
    /// One sentence for a person: what is wrong and what to do.
    error: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    details: Option<&'a Details>,
    /// With `already_answered`: the answer that was given.
    #[serde(skip_serializing_if = "Option::is_none")]
    answer: Option<&'a AnswerResponse>,
    #[schema(format = DateTime)]
    timestamp: String,
    /// One word for a program.
    code: ErrorCode,
    /// Also in the header `x-request-id` and in the log.
    request_id: &'a str,
}

// === impl ErrorCode ===

impl ErrorCode {
    pub(super) const fn status(self) -> StatusCode {
        match self {
            Self::InvalidRequest => StatusCode::BAD_REQUEST,
            Self::Unauthorized => StatusCode::UNAUTHORIZED,
            Self::ForeignOrigin | Self::AgentProcess => StatusCode::FORBIDDEN,
            Self::NotFound => StatusCode::NOT_FOUND,
            Self::MethodNotAllowed => StatusCode::METHOD_NOT_ALLOWED,
            Self::Conflict | Self::AlreadyAnswered | Self::CredentialsRequired => {
                StatusCode::CONFLICT
            }
            Self::Gone => StatusCode::GONE,
            Self::UnknownHost => StatusCode::MISDIRECTED_REQUEST,
            Self::IdempotencyMismatch => StatusCode::UNPROCESSABLE_ENTITY,
            Self::TooManyStreams | Self::QueueFull => StatusCode::TOO_MANY_REQUESTS,
            Self::UpgradeRequired => StatusCode::UPGRADE_REQUIRED,
            Self::PayloadTooLarge => StatusCode::PAYLOAD_TOO_LARGE,
            Self::TooManySessions
            | Self::EngineUnavailable
            | Self::WorkspaceUnavailable
            | Self::JournalUnavailable
            | Self::ShuttingDown => StatusCode::SERVICE_UNAVAILABLE,
            Self::Internal => StatusCode::INTERNAL_SERVER_ERROR,
        }
    }

    /// When a client meets it, as the contract and the API description say.
    pub(super) const fn when(self) -> &'static str {
        match self {
            Self::InvalidRequest => "the body or a field cannot be used",
            Self::Unauthorized => "the token is missing or not ours",
            Self::ForeignOrigin => {
                "a web page asks that is not of this origin, and `CORS_ALLOW_ORIGINS` does not let it"
            }
            Self::AgentProcess => {
                "no secret is set, and the connection comes from the agent or its tools, or may do so"
            }
            Self::NotFound => "no such route, session or request",
            Self::MethodNotAllowed => "the route takes other methods; `Allow` lists them",
            Self::Conflict => "something else is in progress, or already so",
            Self::AlreadyAnswered => "somebody else was first; `answer` says with what",
            Self::Gone => "the session is over and its events are deleted",
            Self::PayloadTooLarge => "the body is larger than `MAX_BODY_BYTES`",
            Self::UnknownHost => {
                "no secret is set, and the host name asked for is neither local, nor the cluster's, nor in `ALLOWED_HOSTS`"
            }
            Self::IdempotencyMismatch => "the Idempotency-Key was used with another body",
            Self::TooManyStreams => {
                "64 streams of this session, or of all events, or 512 WebSockets of it are open, or 64 WebSockets have not said their token yet; `Retry-After`"
            }
            Self::CredentialsRequired => {
                "the key of the turn before is not kept any more; send `model_config` again"
            }
            Self::QueueFull => "8 prompts of this session wait already; `Retry-After`",
            Self::UpgradeRequired => "this route is a WebSocket, and the request asks for none",
            Self::TooManySessions => "`MAX_CONCURRENT_SESSIONS` sessions are active; `Retry-After`",
            Self::EngineUnavailable => {
                "the child cannot take work; `Retry-After` says when to ask again"
            }
            Self::WorkspaceUnavailable => {
                "the agent's directory cannot be used; the sentence is that of `/ready`"
            }
            Self::JournalUnavailable => {
                "the journal is being opened, or its disk does not answer or is full; `Retry-After`"
            }
            Self::ShuttingDown => "the sidecar is leaving; `Retry-After`",
            Self::Internal => "our fault; the log has the cause under the request id",
        }
    }
}

/// Names the errors that a handler may answer with, as a type for the `responses` of its description.
/// Those that every guarded route has are among them without being named.
macro_rules! error_responses {
    ($name:ident: $($code:ident),* $(,)?) => {
        pub(in crate::api) struct $name;

        impl utoipa::IntoResponses for $name {
            fn responses() -> std::collections::BTreeMap<
                String,
                utoipa::openapi::RefOr<utoipa::openapi::Response>,
            > {
                $crate::api::error_description::describe(&[$($crate::api::error::ErrorCode::$code),*])
            }
        }
    };
}
pub(super) use error_responses;

// === impl ApiError ===

impl ApiError {
    pub(crate) fn new(code: ErrorCode, message: impl Into<Cow<'static, str>>) -> Self {
        Self {
            code,
            message: message.into(),
            details: None,
            retry_after_secs: None,
            answer: None,
            cause: None,
        }
    }

    /// A field that is wrong: the sentence names it and what would be right.
    pub(crate) fn invalid(field: &str, reason: &str) -> Self {
        let details = Details {
            field: field.to_owned(),
            reason: reason.to_owned(),
        };
        Self {
            details: Some(Box::new(details)),
            ..Self::new(ErrorCode::InvalidRequest, format!("{field}: {reason}"))
        }
    }

    /// Somebody else's answer was first.
    pub(super) fn already_answered(answer: AnswerResponse) -> Self {
        let message = format!("this request was answered already: {}", answer.summary());
        Self {
            answer: Some(Box::new(answer)),
            ..Self::new(ErrorCode::AlreadyAnswered, message)
        }
    }

    /// `what` completes the sentence: what came instead of the token.
    pub(crate) fn unauthorized(what: &str) -> Self {
        let message = format!(
            "this route needs the header `Authorization: Bearer <shared secret>` or `X-Sidecar-Token: <shared secret>`, and {what}"
        );
        Self::new(ErrorCode::Unauthorized, message)
    }

    pub(crate) fn foreign_origin() -> Self {
        Self::new(
            ErrorCode::ForeignOrigin,
            "this request comes from a web page of another origin; name its origin in CORS_ALLOW_ORIGINS if it may use this route (routes of the engine, the metrics and the drain take none)",
        )
    }

    /// `host` comes from the request, so it is cut to what a name can be.
    pub(crate) fn unknown_host(host: &str) -> Self {
        let host: String = host.chars().take(MAX_HOST).collect();
        Self::new(
            ErrorCode::UnknownHost,
            format!(
                "the host {host} is not known here; ask by address, or name it in ALLOWED_HOSTS"
            ),
        )
    }

    pub(crate) fn agent_process() -> Self {
        Self::new(
            ErrorCode::AgentProcess,
            "this connection comes from the agent or its tools, which may not use this API; set OPENCODE_SHARED_SECRET",
        )
    }

    /// A connection within this host whose process cannot be found out.
    pub(crate) fn maybe_agent_process() -> Self {
        Self::new(
            ErrorCode::AgentProcess,
            "it cannot be told whether this connection comes from the agent's tools, which may not use this API; set OPENCODE_SHARED_SECRET, or let the caller run as another user than the sidecar",
        )
    }

    pub(crate) fn not_found(path: &str) -> Self {
        Self::new(
            ErrorCode::NotFound,
            format!("there is no route {path}; API_CONTRACT.md lists them"),
        )
    }

    pub(crate) fn method_not_allowed(method: &str, path: &str) -> Self {
        let message = format!("{path} does not take {method}; the Allow header says what it takes");
        Self::new(ErrorCode::MethodNotAllowed, message)
    }

    /// `what` completes the sentence: what is wrong with the handshake.
    pub(crate) fn upgrade_required(what: &str) -> Self {
        Self::new(
            ErrorCode::UpgradeRequired,
            format!("this route is a WebSocket of version 13: {what}"),
        )
    }

    /// For what frees itself when others go, which nobody can foresee.
    pub(crate) fn too_many_sockets(what: &'static str) -> Self {
        Self {
            retry_after_secs: Some(5),
            ..Self::new(ErrorCode::TooManyStreams, what)
        }
    }

    /// Our fault. The cause goes to the log under the request id the client gets.
    pub(crate) fn internal(cause: impl Into<String>) -> Self {
        let message = "something failed in the sidecar; its log says what, under this request_id";
        Self {
            cause: Some(cause.into()),
            ..Self::new(ErrorCode::Internal, message)
        }
    }

    pub(crate) fn engine_unavailable(reason: String) -> Self {
        Self {
            retry_after_secs: Some(5),
            ..Self::new(ErrorCode::EngineUnavailable, reason)
        }
    }

    pub(super) fn cause(&self) -> Option<&str> {
        self.cause.as_deref()
    }

    pub(super) fn status(&self) -> StatusCode {
        self.code.status()
    }

    pub(super) fn message(&self) -> &str {
        &self.message
    }

    /// The body, as it is told at this moment.
    pub(super) fn envelope<'a>(&'a self, request_id: &'a str) -> Envelope<'a> {
        Envelope {
            error: &self.message,
            details: self.details.as_deref(),
            answer: self.answer.as_deref(),
            timestamp: clock::Timestamp::now().to_string(),
            code: self.code,
            request_id,
        }
    }
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        let mut response = self.code.status().into_response();
        if self.code == ErrorCode::Unauthorized {
            response
                .headers_mut()
                .insert(WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        if self.code == ErrorCode::UpgradeRequired {
            let headers = response.headers_mut();
            headers.insert(UPGRADE, HeaderValue::from_static("websocket"));
            headers.insert(SEC_WEBSOCKET_VERSION, HeaderValue::from_static("13"));
        }
        if let Some(seconds) = self.retry_after_secs {
            response.headers_mut().insert(RETRY_AFTER, seconds.into());
        }
        response.extensions_mut().insert(self);
        response
    }
}

/// Gives a response that carries an error its body.
pub(super) fn render(error: &ApiError, response: &mut Response, request_id: &str) {
    // A struct of strings always serialises.
    let body = serde_json::to_vec(&error.envelope(request_id)).unwrap_or_default();
    response
        .headers_mut()
        .insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    *response.body_mut() = Body::from(body);
}

#[cfg(test)]
mod tests;
