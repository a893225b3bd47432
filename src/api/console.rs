//! `GET /`: the console for browsers, a map of the API for programs; and the files of the console.
//!
//! The page and its files hold nothing of a session and no secret, so they need no token: a browser cannot send one
//! with the address that a person types. The map is part of the API and guarded like it.

use std::sync::{Arc, OnceLock};

use axum::extract::{OriginalUri, Path, Request, State as Extract};
use axum::http::header::{
    ACCEPT, ACCEPT_ENCODING, CACHE_CONTROL, CONTENT_ENCODING, CONTENT_SECURITY_POLICY,
    CONTENT_TYPE, ETAG, IF_NONE_MATCH, REFERRER_POLICY, VARY, X_CONTENT_TYPE_OPTIONS,
    X_FRAME_OPTIONS,
};
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode};
use axum::middleware::Next;
use axum::response::{IntoResponse as _, Response};
use axum::{Extension, Json};
use serde::Serialize;
use utoipa::ToSchema;
use utoipa::openapi::path::Operation;

use super::error::{ApiError, error_responses};
use super::openapi::Description;
use super::{Shared, State};
use crate::console::{self, File};
use crate::egress_policy::Mode as EgressMode;

/// What this sidecar is and can do.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = ApiMap)]
pub(super) struct MapResponse {
    /// `opencode-sidecar`.
    name: &'static str,
    version: &'static str,
    /// Whether browsers get the console here.
    console: bool,
    /// Whether the provider `demo` may be used.
    demo_model: bool,
    /// `EGRESS`: where it is not `open`, a session may be given fewer hosts.
    egress: EgressMode,
    /// Describes everything for programs.
    openapi: &'static str,
    routes: &'static [RouteResponse],
}

/// One route.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = ApiMapRoute)]
struct RouteResponse {
    method: &'static str,
    path: String,
    /// What it does, in a few words.
    summary: String,
}

error_responses!(MapErrors:);

/// A map of the API. Browsers get the console here.
#[utoipa::path(
    get,
    path = "/",
    operation_id = "map",
    responses((status = 200, description = "what there is", body = MapResponse), MapErrors)
)]
pub(super) async fn map(
    Extract(state): Shared,
    Extension(Description(routes)): Extension<Description>,
) -> ([(HeaderName, &'static str); 1], Json<MapResponse>) {
    static ROUTES: OnceLock<Vec<RouteResponse>> = OnceLock::new();
    let map = MapResponse {
        name: "opencode-sidecar",
        version: env!("CARGO_PKG_VERSION"),
        console: state.rules.console,
        demo_model: state.rules.demo,
        egress: state.egress.policy.mode,
        openapi: "/openapi.json",
        routes: ROUTES.get_or_init(|| list(routes())),
    };
    // What is at this address depends on who asks.
    ([(VARY, "accept")], Json(map))
}

fn list(document: utoipa::openapi::OpenApi) -> Vec<RouteResponse> {
    let mut found = Vec::new();
    for (path, item) in document.paths.paths {
        let operations = [
            ("GET", item.get),
            ("POST", item.post),
            ("PATCH", item.patch),
            ("PUT", item.put),
            ("DELETE", item.delete),
        ];
        for (method, operation) in operations {
            let Some(Operation { summary, .. }) = operation else {
                continue;
            };
            found.push(RouteResponse {
                method,
                path: path.clone(),
                summary: summary.unwrap_or_default(),
            });
        }
    }
    found
}

/// Answers a browser that asks for `/`, before anything is asked of it; everything else goes on.
pub(super) async fn page(request: Request, next: Next) -> Response {
    let reads = matches!(*request.method(), Method::GET | Method::HEAD);
    if reads && request.uri().path() == "/" && wants_html(request.headers()) {
        return answer(console::page(), request.headers());
    }
    next.run(request).await
}

/// A file that the page names.
pub(super) async fn file(
    Path(name): Path<String>,
    OriginalUri(uri): OriginalUri,
    Extract(_): Extract<Arc<State>>,
    headers: HeaderMap,
) -> Response {
    match console::file(&name) {
        Some(file) => answer(file, &headers),
        None => ApiError::not_found(uri.path()).into_response(),
    }
}

fn answer(file: &'static File, headers: &HeaderMap) -> Response {
    let encoded = file.encoded();
    let compressed = takes_gzip(headers) && !encoded.gzip.is_empty();
    // Two encodings are two representations, so each has its own tag.
    let suffix = if compressed { "-gzip" } else { "" };
    let tag = format!("\"{}{suffix}\"", encoded.tag);
    let mut response = if is_known(headers, &tag) {
        StatusCode::NOT_MODIFIED.into_response()
    } else if compressed {
        encoded.gzip.clone().into_response()
    } else {
        encoded.plain.clone().into_response()
    };
    let out = response.headers_mut();
    if compressed {
        out.insert(CONTENT_ENCODING, HeaderValue::from_static("gzip"));
    }
    if let Ok(tag) = HeaderValue::from_str(&tag) {
        out.insert(ETAG, tag);
    }
    for (name, value) in [
        (CONTENT_TYPE, file.media_type),
        // Kept, and asked for again each time: what a new sidecar says holds at once.
        (CACHE_CONTROL, "no-cache"),
        (VARY, "accept, accept-encoding"),
        (CONTENT_SECURITY_POLICY, console::POLICY),
        (X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (X_FRAME_OPTIONS, "DENY"),
        (REFERRER_POLICY, "no-referrer"),
        (
            HeaderName::from_static("cross-origin-opener-policy"),
            "same-origin",
        ),
        (
            HeaderName::from_static("cross-origin-resource-policy"),
            "same-origin",
        ),
    ] {
        out.insert(name, HeaderValue::from_static(value));
    }
    response
}

/// Browsers name it; programs that take anything get JSON.
fn wants_html(headers: &HeaderMap) -> bool {
    words(headers, &ACCEPT)
        .any(|(word, refused)| word.eq_ignore_ascii_case("text/html") && !refused)
}

fn takes_gzip(headers: &HeaderMap) -> bool {
    words(headers, &ACCEPT_ENCODING)
        .any(|(word, refused)| word.eq_ignore_ascii_case("gzip") && !refused)
}

fn is_known(headers: &HeaderMap, tag: &str) -> bool {
    words(headers, &IF_NONE_MATCH)
        .any(|(word, _)| word == "*" || word.trim_start_matches("W/") == tag)
}

/// The words of a list, and whether `q=0` refuses each.
fn words<'a>(headers: &'a HeaderMap, name: &HeaderName) -> impl Iterator<Item = (&'a str, bool)> {
    let values = headers.get_all(name).into_iter();
    let texts = values.filter_map(|value| value.to_str().ok());
    texts.flat_map(|text| text.split(',')).map(|entry| {
        let mut parts = entry.split(';').map(str::trim);
        let word = parts.next().unwrap_or_default();
        let refused = parts
            .filter_map(|part| part.strip_prefix("q="))
            .any(|weight| weight.parse::<f32>().is_ok_and(|weight| weight <= 0.0));
        (word, refused)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_browser_is_told_from_a_program_by_what_it_accepts() {
        let asks = |accept: &'static str| {
            let headers = HeaderMap::from_iter([(ACCEPT, HeaderValue::from_static(accept))]);
            wants_html(&headers)
        };
        assert!(asks(
            "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8"
        ));
        assert!(asks("application/json, Text/HTML;q=0.5"));
        for program in [
            "*/*",
            "application/json",
            "text/html;q=0, */*",
            "text/*",
            "",
        ] {
            assert!(!asks(program), "{program}");
        }
        assert!(!wants_html(&HeaderMap::new()));
    }
}
