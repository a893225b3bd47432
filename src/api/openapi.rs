//! `GET /openapi.json`: the API for programs, made from the handlers and the types that speak it.
//!
//! Made at the first request and kept as text: most processes are never asked.

mod events;

pub(super) use self::events::StreamEvent;

use std::sync::OnceLock;

use axum::Extension;
use axum::body::Bytes;
use axum::http::HeaderName;
use axum::http::header::CONTENT_TYPE;
use utoipa::openapi::security::{ApiKey, ApiKeyValue, Http, HttpAuthScheme, SecurityScheme};
use utoipa::{Modify, OpenApi};

use super::error::{Envelope, error_responses};

/// What is said of the API as a whole. The routes come from the router, as a [`Description`].
#[derive(OpenApi)]
#[openapi(
    info(title = "opencode-sidecar", description = "API_CONTRACT.md has the words to it."),
    components(schemas(events::Events, Envelope<'_>, crate::permission::Rule)),
    // One of the first two is asked for where a secret is set.
    security(("bearer" = []), ("sidecar_token" = []), ()),
    modifiers(&Bearer)
)]
struct Document;

/// How the shared secret is sent.
struct Bearer;

/// Describes all routes. The router hands it to the handler below, which is one of those routes itself.
#[derive(Clone, Copy)]
pub(super) struct Description(pub(super) fn() -> utoipa::openapi::OpenApi);

error_responses!(DocumentErrors:);

/// The API description.
#[utoipa::path(
    get,
    path = "/openapi.json",
    operation_id = "openapi",
    responses((status = 200, description = "this document", body = Object), DocumentErrors)
)]
pub(super) async fn document(
    Extension(Description(routes)): Extension<Description>,
) -> ([(HeaderName, &'static str); 1], Bytes) {
    static TEXT: OnceLock<String> = OnceLock::new();
    let text = TEXT.get_or_init(|| text(routes));
    (
        [(CONTENT_TYPE, "application/json")],
        Bytes::from_static(text.as_bytes()),
    )
}

/// The description with these routes, as JSON.
pub(super) fn text(routes: fn() -> utoipa::openapi::OpenApi) -> String {
    let mut document = Document::openapi();
    document.merge(routes());
    // Maps with string keys always become JSON.
    serde_json::to_string(&document).unwrap_or_default()
}

// === impl Bearer ===

impl Modify for Bearer {
    fn modify(&self, api: &mut utoipa::openapi::OpenApi) {
        let components = api.components.get_or_insert_default();
        components.add_security_scheme(
            "bearer",
            SecurityScheme::Http(Http::new(HttpAuthScheme::Bearer)),
        );
        components.add_security_scheme(
            "sidecar_token",
            SecurityScheme::ApiKey(ApiKey::Header(ApiKeyValue::new("X-Sidecar-Token"))),
        );
    }
}
