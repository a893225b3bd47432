//! `GET /openapi.json`: the API for programs, made from the handlers and the types that speak it.
//!
//! Made at the first request and kept as text: most processes are never asked.

mod events;

pub(super) use self::events::StreamEvent;

use std::sync::LazyLock;

use axum::body::Bytes;
use axum::http::HeaderName;
use axum::http::header::CONTENT_TYPE;
use utoipa::openapi::security::{Http, HttpAuthScheme, SecurityScheme};
use utoipa::{Modify, OpenApi};

use super::error::{Envelope, error_responses};
use super::router;

/// What is said of the API as a whole. The routes come from [`router::description`].
#[derive(OpenApi)]
#[openapi(
    info(title = "opencode-sidecar", description = "API_CONTRACT.md has the words to it."),
    components(schemas(events::Events, Envelope<'_>)),
    // The first is asked for where a secret is set.
    security(("bearer" = []), ()),
    modifiers(&Bearer)
)]
struct Document;

/// How the shared secret is sent.
struct Bearer;

static TEXT: LazyLock<String> = LazyLock::new(|| {
    let mut document = Document::openapi();
    document.merge(router::description());
    // Maps with string keys always become JSON.
    serde_json::to_string(&document).unwrap_or_default()
});

error_responses!(DocumentErrors:);

/// The API description.
#[utoipa::path(
    get,
    path = "/openapi.json",
    operation_id = "openapi",
    responses((status = 200, description = "this document", body = Object), DocumentErrors)
)]
pub(super) async fn document() -> ([(HeaderName, &'static str); 1], Bytes) {
    (
        [(CONTENT_TYPE, "application/json")],
        Bytes::from_static(TEXT.as_bytes()),
    )
}

// === impl Bearer ===

impl Modify for Bearer {
    fn modify(&self, api: &mut utoipa::openapi::OpenApi) {
        let components = api.components.get_or_insert_default();
        components.add_security_scheme(
            "bearer",
            SecurityScheme::Http(Http::new(HttpAuthScheme::Bearer)),
        );
    }
}
