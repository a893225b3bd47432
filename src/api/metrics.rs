//! `GET /metrics`: figures for Prometheus, in its text format 0.0.4, or as `OpenMetrics` for whoever prefers that.
//!
//! Figures that a module has anyway are asked for ([`asked`]); the others are counted as things happen ([`counted`]).

mod asked;
mod counted;
mod page;

use std::fmt;
use std::sync::Arc;

use axum::extract::State;
use axum::http::header::{ACCEPT, CONTENT_TYPE, VARY};
use axum::http::{HeaderMap, HeaderName, HeaderValue};
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, prometheus_text, text};
use prometheus_client::registry::Registry;

use self::page::Page;
use super::Shared;
use super::error::{ApiError, error_responses};
use crate::process::{Offspring, Usage};

const OPEN_METRICS: &str = "application/openmetrics-text";
const OPEN_METRICS_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

error_responses!(MetricsErrors:);

/// Figures of the sidecar, its sessions and the child, for Prometheus.
#[utoipa::path(
    get,
    path = "/metrics",
    operation_id = "metrics",
    responses((status = 200, description = "the text format 0.0.4; with `Accept: application/openmetrics-text`, OpenMetrics 1.0",
        content((String = "text/plain"), (String = "application/openmetrics-text"))), MetricsErrors)
)]
pub(super) async fn metrics(
    State(state): Shared,
    headers: HeaderMap,
) -> Result<([(HeaderName, &'static str); 2], String), ApiError> {
    let mut registry = Registry::default();
    registry.register_collector(Box::new(Scrape(state)));
    let mut page = String::new();
    let (kind, written) = if prefers_open_metrics(&headers) {
        (OPEN_METRICS_TYPE, text::encode(&mut page, &registry))
    } else {
        let kind = prometheus_text::CONTENT_TYPE;
        (kind, prometheus_text::encode(&mut page, &registry))
    };
    written.map_err(|_| ApiError::internal("the metrics could not be written"))?;
    Ok(([(CONTENT_TYPE, kind), (VARY, "accept")], page))
}

/// Everything, as it is now.
#[derive(Debug)]
struct Scrape(Arc<super::State>);

// === impl Scrape ===

impl Collector for Scrape {
    fn encode(&self, encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let Self(state) = self;
        let mut page = Page::new(encoder);
        asked::sidecar(&mut page, state.shutdown.drain.is_cancelled());
        asked::sessions(&mut page, &state.registry, &state.sockets);
        counted::turns(&mut page);
        counted::streams(&mut page);
        asked::journal(&mut page, &state.registry);
        counted::disk(&mut page);
        counted::models(&mut page);
        asked::child(&mut page, &state.engine.status());
        asked::offspring(&mut page, &Offspring::now());
        counted::children(&mut page);
        counted::requests(&mut page);
        counted::egress(&mut page);
        counted::traces(&mut page);
        asked::process(&mut page, &Usage::now());
        asked::runtime(&mut page);
        page.end()
    }
}

/// Whether `Accept` names `OpenMetrics`, and puts it no lower than text.
fn prefers_open_metrics(headers: &HeaderMap) -> bool {
    let lists = headers.get_all(ACCEPT).iter().map(HeaderValue::to_str);
    let parts = lists.flatten().flat_map(|list| list.split(','));
    let (mut open, mut plain) = (0.0, 0.0);
    for part in parts {
        let mut fields = part.split(';').map(str::trim);
        let kind = fields.next().unwrap_or_default();
        let weight = fields
            .find_map(|field| field.strip_prefix("q="))
            .map_or(1.0, |weight| weight.parse().unwrap_or(0.0));
        if kind.eq_ignore_ascii_case(OPEN_METRICS) {
            open = f32::max(open, weight);
        } else if kind.eq_ignore_ascii_case("text/plain") {
            plain = f32::max(plain, weight);
        }
    }
    open > 0.0 && open >= plain
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn open_metrics_is_for_those_who_put_it_first() {
        let prefers = |accept: &'static str| {
            prefers_open_metrics(&HeaderMap::from_iter([(
                ACCEPT,
                HeaderValue::from_static(accept),
            )]))
        };
        // What Prometheus sends.
        assert!(prefers(
            "application/openmetrics-text;version=1.0.0;q=0.5,application/openmetrics-text;version=0.0.1;q=0.4,text/plain;version=0.0.4;q=0.3,*/*;q=0.2"
        ));
        assert!(prefers("application/openmetrics-text"));
        assert!(!prefers("text/plain, application/openmetrics-text;q=0.5"));
        assert!(!prefers("application/openmetrics-text;q=0"));
        assert!(!prefers("*/*"));
        assert!(!prefers_open_metrics(&HeaderMap::new()));
    }
}
