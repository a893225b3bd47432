//! `/api`: the API of a dashboard in a browser.

mod plan;
mod project;

use utoipa_axum::routes;

use super::route_table::RouteTable;

pub(super) fn routes<R: RouteTable>(routes: R) -> R {
    routes
        .routes(routes!(plan::tasks))
        .routes(routes!(plan::history))
        .routes(routes!(plan::task))
        .routes(routes!(plan::governance))
}
