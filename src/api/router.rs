//! All routes, on one page.

use std::sync::Arc;

use axum::Router;
use axum::extract::DefaultBodyLimit;
use axum::middleware::{from_fn, from_fn_with_state};
use axum::routing::{delete, get, post};
use tower::util::option_layer;
use tower_http::catch_panic::CatchPanicLayer;

use super::{State, caller, drain, engine, metrics, middleware, openapi, origin, probes, sessions};

pub(super) fn router(state: Arc<State>) -> Router {
    let open = Router::new()
        .route("/healthz", get(probes::health))
        .route("/health", get(probes::health))
        .route("/ready", get(probes::ready))
        .method_not_allowed_fallback(middleware::no_method);

    // No page of another origin may move the child, end the process or read the figures.
    let operating = Router::new()
        .route("/metrics", get(metrics::metrics))
        .route("/drain", post(drain::drain))
        .route("/engine/status", get(engine::status))
        .route("/engine/start", post(engine::start))
        .route("/engine/stop", post(engine::stop))
        .route("/engine/restart", post(engine::restart))
        .method_not_allowed_fallback(middleware::no_method)
        .layer(from_fn_with_state(state.clone(), middleware::authenticate))
        .layer(from_fn(origin::own_pages));

    let working = Router::new()
        .route("/openapi.json", get(openapi::document))
        .route("/sessions", get(sessions::list).post(sessions::create))
        .route("/sessions/{id}", delete(sessions::stop))
        .route("/sessions/{id}/stop", post(sessions::stop))
        .route("/sessions/{id}/resume", post(sessions::resume))
        .route("/sessions/{id}/status", get(sessions::status))
        .route("/sessions/{id}/stream", get(sessions::follow))
        // What does not exist is guarded too: without a token nobody learns which routes there are.
        .fallback(middleware::no_route)
        .method_not_allowed_fallback(middleware::no_method)
        .layer(from_fn_with_state(state.clone(), middleware::authenticate))
        // Before the token is asked for: a preflight has none.
        .layer(option_layer(origin::cors(&state.web)))
        .layer(from_fn_with_state(state.clone(), origin::listed_pages));

    let guarded = operating
        .merge(working)
        .layer(DefaultBodyLimit::max(state.rules.max_body_bytes))
        .layer(from_fn_with_state(state.clone(), caller::refuse_agent))
        .layer(from_fn_with_state(state.clone(), origin::known_host));

    outermost(open.merge(guarded)).with_state(state)
}

/// What no request and no answer gets past.
fn outermost<S: Clone + Send + Sync + 'static>(router: Router<S>) -> Router<S> {
    router
        // Inside `identify`, so that a panic has a body and a log line like any error.
        .layer(CatchPanicLayer::custom(middleware::panicked))
        .layer(from_fn(middleware::identify))
}

#[cfg(test)]
mod tests {
    use axum::body::{Body, to_bytes};
    use axum::http::Request;
    use serde_json::Value;
    use tower::ServiceExt as _;

    use super::*;

    async fn faulty() -> &'static str {
        panic!("the key is hunter2")
    }

    #[tokio::test]
    async fn a_panic_is_a_500_with_the_envelope_and_without_its_words() {
        let router = outermost(Router::new().route("/", get(faulty)));
        let response = router.oneshot(Request::new(Body::empty())).await.unwrap();
        assert_eq!(response.status().as_u16(), 500);
        let id = response.headers()["x-request-id"]
            .to_str()
            .unwrap()
            .to_owned();
        let body = to_bytes(response.into_body(), 4096).await.unwrap();
        let body: Value = serde_json::from_slice(&body).unwrap();
        assert_eq!(body["code"], "internal");
        assert_eq!(body["request_id"], id);
        assert!(!body.to_string().contains("hunter2"));
    }
}
