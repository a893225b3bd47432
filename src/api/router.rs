//! All routes, on one page.

use std::sync::Arc;

use axum::extract::DefaultBodyLimit;
use axum::http::header::{AUTHORIZATION, SEC_WEBSOCKET_PROTOCOL};
use axum::middleware::{from_fn, from_fn_with_state};
use axum::routing::{connect, get};
use axum::{Extension, Router};
use tower::util::option_layer;
use tower_http::catch_panic::CatchPanicLayer;
use tower_http::sensitive_headers::SetSensitiveRequestHeadersLayer;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::authentication::SIDECAR_TOKEN;
use super::route_table::RouteTable;
use super::{
    State, asks, authentication, caller, console, conversation, dashboard, debug, diagnosis, drain,
    egress, engine, events, metrics, middleware, openapi, origin, probes, sessions, turns, ws,
};

// Each handler says its own method, path, parameters and answers.

/// For the kubelet, which has no token.
fn public_routes<T: RouteTable>() -> T {
    T::default()
        .routes(routes!(probes::healthz))
        .routes(routes!(probes::health))
        .routes(routes!(probes::ready))
}

/// For operators: no page of another origin may move the child, end the process or read the figures.
fn operator_routes<T: RouteTable>() -> T {
    T::default()
        .routes(routes!(metrics::metrics))
        .routes(routes!(debug::state))
        .routes(routes!(debug::log_level))
        .routes(routes!(drain::drain))
        .routes(routes!(engine::status))
        .routes(routes!(engine::start))
        .routes(routes!(engine::stop))
        .routes(routes!(engine::restart))
}

/// For clients, and for the pages that `CORS_ALLOW_ORIGINS` names.
fn client_routes<T: RouteTable>() -> T {
    dashboard::routes(T::default())
        .routes(routes!(console::map))
        .routes(routes!(openapi::document))
        .routes(routes!(sessions::list::list, sessions::create))
        .routes(routes!(turns::delete_session, conversation::update::update))
        .routes(routes!(turns::stop_session))
        .routes(routes!(turns::resume))
        .routes(routes!(turns::create))
        .routes(routes!(turns::queue))
        .routes(routes!(turns::withdraw))
        .routes(routes!(sessions::status))
        .routes(routes!(diagnosis::diagnosis))
        .routes(routes!(egress::show, egress::change))
        .routes(routes!(sessions::follow))
        .routes(routes!(conversation::messages::messages))
        .routes(routes!(conversation::children::children))
        .routes(routes!(conversation::todos::todos))
        .routes(routes!(conversation::diff::diff))
        .routes(routes!(events::follow))
        .routes(routes!(turns::task::compact))
        .routes(routes!(turns::task::shell))
        .routes(routes!(turns::task::command))
        .routes(routes!(conversation::fork::fork))
        .routes(routes!(conversation::revert::revert))
        .routes(routes!(conversation::revert::unrevert))
        .routes(routes!(asks::permissions))
        .routes(routes!(asks::post_permission))
        .routes(routes!(asks::questions))
        .routes(routes!(asks::post_question))
}

/// WebSockets, for the same pages. A token may come with the first message.
fn socket_routes<T: RouteTable>() -> T {
    T::default()
        .routes(routes!(ws::attach::session))
        .routes(routes!(ws::attach::all))
        // Over HTTP/2.
        .route("/sessions/{id}/ws", connect(ws::attach::session))
        .route("/events/ws", connect(ws::attach::all))
}

pub(super) fn router(state: Arc<State>) -> Router {
    let mut open: Router<Arc<State>> = public_routes();
    if state.rules.console {
        open = open.route("/console/{name}", get(console::file));
    }
    let open = open.method_not_allowed_fallback(middleware::no_method);

    let operating = operator_routes::<Router<Arc<State>>>()
        .method_not_allowed_fallback(middleware::no_method)
        .layer(from_fn_with_state(
            state.clone(),
            authentication::authenticate,
        ))
        .layer(from_fn(origin::require_own_origin));

    let working = client_routes::<Router<Arc<State>>>()
        // What does not exist is guarded too: without a token nobody learns which routes there are.
        .fallback(middleware::no_route)
        .layer(Extension(openapi::Description(description)))
        .method_not_allowed_fallback(middleware::no_method)
        .layer(from_fn_with_state(
            state.clone(),
            authentication::authenticate,
        ))
        // Before the token is asked for: a preflight has none.
        .layer(option_layer(origin::cors(&state.web)))
        .layer(from_fn_with_state(
            state.clone(),
            origin::require_listed_origin,
        ));

    let sockets = socket_routes::<Router<Arc<State>>>()
        .method_not_allowed_fallback(middleware::no_socket_method)
        .layer(from_fn_with_state(
            state.clone(),
            authentication::authenticate_socket,
        ))
        .layer(from_fn_with_state(
            state.clone(),
            origin::require_listed_origin,
        ));

    let guarded = operating
        .merge(working)
        .merge(sockets)
        .layer(DefaultBodyLimit::max(state.rules.max_body_bytes))
        .layer(from_fn_with_state(state.clone(), caller::refuse_agent))
        .layer(from_fn_with_state(state.clone(), origin::known_host))
        // Outermost: the page asks for nothing, and is asked for nothing.
        .layer(option_layer(
            state.rules.console.then(|| from_fn(console::page)),
        ));

    outermost(open.merge(guarded)).with_state(state)
}

/// The description of the API, for whoever has no server to ask.
pub(crate) fn openapi_text() -> String {
    openapi::text(description)
}

/// The routes of `METRICS_PORT`: there is nothing to do there but to read figures.
pub(super) fn metrics_router(state: Arc<State>) -> Router {
    let probes: Router<Arc<State>> = public_routes();
    let figures = RouteTable::routes(Router::new(), routes!(metrics::metrics))
        .layer(from_fn(origin::require_own_origin));
    let all = probes
        .merge(figures)
        .fallback(middleware::no_route)
        .method_not_allowed_fallback(middleware::no_method);
    outermost(all).with_state(state)
}

/// All routes as the handlers describe them.
fn description() -> utoipa::openapi::OpenApi {
    let routes: OpenApiRouter<Arc<State>> = public_routes();
    let routes = routes
        .merge(operator_routes())
        .merge(client_routes())
        .merge(socket_routes());
    routes.into_openapi()
}

/// What no request and no answer gets past.
fn outermost<S: Clone + Send + Sync + 'static>(router: Router<S>) -> Router<S> {
    router
        // No log line that prints headers shows these.
        .layer(SetSensitiveRequestHeadersLayer::new([
            AUTHORIZATION,
            SIDECAR_TOKEN,
            SEC_WEBSOCKET_PROTOCOL,
        ]))
        // Inside `identify`, so that a panic has a body and a log line like any error.
        .layer(CatchPanicLayer::custom(middleware::panicked))
        .layer(from_fn(middleware::identify))
}

#[cfg(test)]
mod tests {
    use axum::body::{Body, to_bytes};
    use axum::http::Request;
    use axum::routing::get;
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
