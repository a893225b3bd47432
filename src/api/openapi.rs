//! `GET /openapi.json`: the API for programs, made from the types that speak it.
//!
//! Made at the first request and kept as text: most processes are never asked. Which errors an
//! operation has is the table [`ERRORS`]; their statuses and words are those of [`ErrorCode`].

mod events;

pub(super) use self::events::StreamEvent;

use std::collections::BTreeMap;
use std::sync::LazyLock;

use axum::body::Bytes;
use axum::http::HeaderName;
use axum::http::header::CONTENT_TYPE;
use utoipa::openapi::path::{Operation, PathsMap};
use utoipa::openapi::security::{Http, HttpAuthScheme, SecurityScheme};
use utoipa::openapi::{Content, PathItem, Ref, RefOr, Response};
use utoipa::{Modify, OpenApi};

use super::error::{Envelope, ErrorCode};
use super::{drain, engine, metrics, probes, sessions};

#[derive(OpenApi)]
#[openapi(
    info(title = "opencode-sidecar", description = "API_CONTRACT.md has the words to it."),
    paths(
        document,
        probes::health,
        probes::ready,
        metrics::metrics,
        drain::drain,
        engine::status,
        engine::start,
        engine::stop,
        engine::restart,
        sessions::create,
        sessions::list::list,
        sessions::status,
        sessions::stop,
        sessions::resume,
        sessions::follow
    ),
    components(schemas(events::Events, Envelope<'_>)),
    // The first is asked for where a secret is set.
    security(("bearer" = []), ()),
    modifiers(&Rest)
)]
struct Document;

/// What is the same everywhere, and so is in no handler's description.
struct Rest;

/// Errors of each operation, besides those that every guarded one has.
const ERRORS: &[(&str, &[ErrorCode])] = {
    use ErrorCode as E;
    const MOVE: &[E] = &[
        E::InvalidRequest,
        E::Conflict,
        E::PayloadTooLarge,
        E::EngineUnavailable,
        E::ShuttingDown,
    ];
    &[
        ("engine_start", MOVE),
        (
            "engine_stop",
            &[E::Conflict, E::EngineUnavailable, E::ShuttingDown],
        ),
        ("engine_restart", MOVE),
        ("drain", &[E::ShuttingDown]),
        (
            "create_session",
            &[
                E::InvalidRequest,
                E::Conflict,
                E::PayloadTooLarge,
                E::IdempotencyMismatch,
                E::TooManyStreams,
                E::TooManySessions,
                E::EngineUnavailable,
                E::JournalUnavailable,
                E::ShuttingDown,
            ],
        ),
        (
            "resume_session",
            &[
                E::InvalidRequest,
                E::NotFound,
                E::Gone,
                E::Conflict,
                E::PayloadTooLarge,
                E::TooManySessions,
                E::EngineUnavailable,
                E::JournalUnavailable,
                E::ShuttingDown,
            ],
        ),
        ("list_sessions", &[E::InvalidRequest, E::JournalUnavailable]),
        ("session_status", SESSION),
        ("stop_session", SESSION),
        ("delete_session", SESSION),
        (
            "stream_session",
            &[
                E::InvalidRequest,
                E::NotFound,
                E::Gone,
                E::Conflict,
                E::TooManyStreams,
                E::JournalUnavailable,
            ],
        ),
    ]
};

const SESSION: &[ErrorCode] = &[
    ErrorCode::InvalidRequest,
    ErrorCode::NotFound,
    ErrorCode::Gone,
    ErrorCode::JournalUnavailable,
];

const EVERYWHERE: [ErrorCode; 5] = [
    ErrorCode::Unauthorized,
    ErrorCode::ForeignOrigin,
    ErrorCode::AgentProcess,
    ErrorCode::UnknownHost,
    ErrorCode::Internal,
];

static TEXT: LazyLock<String> = LazyLock::new(|| {
    // Maps with string keys always become JSON.
    serde_json::to_string(&Document::openapi()).unwrap_or_default()
});

/// The API description.
#[utoipa::path(
    get,
    path = "/openapi.json",
    operation_id = "openapi",
    responses((status = 200, description = "this document", body = Object))
)]
pub(super) async fn document() -> ([(HeaderName, &'static str); 1], Bytes) {
    (
        [(CONTENT_TYPE, "application/json")],
        Bytes::from_static(TEXT.as_bytes()),
    )
}

// === impl Rest ===

impl Modify for Rest {
    fn modify(&self, api: &mut utoipa::openapi::OpenApi) {
        let components = api.components.get_or_insert_default();
        components.add_security_scheme(
            "bearer",
            SecurityScheme::Http(Http::new(HttpAuthScheme::Bearer)),
        );
        let paths = &mut api.paths.paths;
        // One handler under two names.
        if let Some(healthz) = paths.get("/healthz").cloned() {
            paths.insert("/health".into(), healthz);
        }
        let stop = paths.get("/sessions/{id}/stop").cloned();
        if let Some(operation) = stop.and_then(|stop| stop.post) {
            let mut delete = PathItem::default();
            delete.delete = Some(operation);
            paths.insert("/sessions/{id}".into(), delete);
        }
        rename(paths, "/health", "health");
        rename(paths, "/sessions/{id}", "delete_session");
        for item in paths.values_mut() {
            let operations = [&mut item.get, &mut item.post, &mut item.delete];
            for operation in operations.into_iter().flatten() {
                add_errors(operation);
            }
        }
    }
}

fn rename(paths: &mut PathsMap<String, PathItem>, path: &str, id: &str) {
    if let Some(item) = paths.get_mut(path) {
        let operations = [&mut item.get, &mut item.delete];
        for operation in operations.into_iter().flatten() {
            operation.operation_id = Some(id.to_owned());
        }
    }
}

fn add_errors(operation: &mut Operation) {
    let id = operation.operation_id.as_deref().unwrap_or_default();
    if matches!(id, "health" | "healthz" | "ready") {
        return;
    }
    let own = ERRORS
        .iter()
        .find(|(name, _)| *name == id)
        .map(|(_, codes)| *codes);
    let mut sentences: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for code in own.unwrap_or_default().iter().chain(&EVERYWHERE) {
        let status = code.status().as_u16().to_string();
        sentences
            .entry(status)
            .or_default()
            .push(code.when().to_owned());
    }
    for (status, sentences) in sentences {
        let mut response = Response::new(sentences.join("; or "));
        response.content.insert(
            "application/json".into(),
            RefOr::T(Content::new(Some(Ref::from_schema_name("Error")))),
        );
        operation
            .responses
            .responses
            .insert(status, RefOr::T(response));
    }
}
