//! All routes, on one page.

use std::sync::Arc;

use axum::Router;
use axum::extract::DefaultBodyLimit;
use axum::middleware::{from_fn, from_fn_with_state};
use axum::routing::{get, post};
use tower_http::catch_panic::CatchPanicLayer;

use super::{State, engine, middleware, probes};

pub(super) fn router(state: Arc<State>) -> Router {
    let open = Router::new()
        .route("/healthz", get(probes::health))
        .route("/health", get(probes::health))
        .route("/ready", get(probes::ready));

    let guarded = Router::new()
        .route("/engine/status", get(engine::status))
        .route("/engine/start", post(engine::start))
        .route("/engine/stop", post(engine::stop))
        .route("/engine/restart", post(engine::restart))
        // What does not exist is guarded too: without a token nobody learns which routes there are.
        .fallback(middleware::no_route)
        .layer(DefaultBodyLimit::max(state.max_body_bytes))
        .layer(from_fn_with_state(state.clone(), middleware::authenticate));

    open.merge(guarded)
        .method_not_allowed_fallback(middleware::no_method)
        // Inside `identify`, so that a panic has a body and a log line like any error.
        .layer(CatchPanicLayer::custom(middleware::panicked))
        .layer(from_fn(middleware::identify))
        .with_state(state)
}
