//! Where the routes are listed: a router that serves them, or the description of the API.
//!
//! A router takes a handler's path and methods and drops its description at once. A description of all routes at every start
//! would be three megabytes, which the allocator keeps, for a document that most processes are never asked for.

use std::sync::Arc;

use axum::Router;
use axum::routing::MethodRouter;
use utoipa_axum::router::{OpenApiRouter, UtoipaMethodRouter};

use super::State;

pub(super) trait RouteTable: Default {
    /// Handlers of one path, as `routes!` makes them.
    fn routes(self, handlers: UtoipaMethodRouter<Arc<State>>) -> Self;

    /// What no description tells.
    fn route(self, path: &str, handlers: MethodRouter<Arc<State>>) -> Self;
}

impl RouteTable for Router<Arc<State>> {
    fn routes(self, (_, described, handlers): UtoipaMethodRouter<Arc<State>>) -> Self {
        described
            .paths
            .keys()
            .fold(self, |router, path| router.route(path, handlers.clone()))
    }

    fn route(self, path: &str, handlers: MethodRouter<Arc<State>>) -> Self {
        Self::route(self, path, handlers)
    }
}

impl RouteTable for OpenApiRouter<Arc<State>> {
    fn routes(self, handlers: UtoipaMethodRouter<Arc<State>>) -> Self {
        Self::routes(self, handlers)
    }

    fn route(self, path: &str, handlers: MethodRouter<Arc<State>>) -> Self {
        Self::route(self, path, handlers)
    }
}
