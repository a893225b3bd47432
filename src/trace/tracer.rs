//! The one tracer of the process, and the requests that it sees.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};

use tokio::sync::mpsc;

use super::config::Config;
use super::context::TraceContext;
use super::export::{Exporter, StartError};
use super::sampler::Sampler;
use super::span::{Kind, Span, now};
use crate::metrics::trace as metrics;
use crate::socket_owner::Finder;

/// Nothing where there is no endpoint.
static TRACER: OnceLock<Arc<Tracer>> = OnceLock::new();

tokio::task_local! {
    /// The span of the request that is being answered.
    static REQUEST: TraceContext;
}

/// Where spans go.
#[derive(Debug)]
pub(super) struct Tracer {
    pub(super) sampler: Sampler,
    /// Whether what was said is a part of the spans.
    pub(super) content: bool,
    spans_tx: mpsc::Sender<Span>,
    /// Spans that were handed over.
    emitted: Arc<AtomicU64>,
}

/// A request that is being answered.
#[derive(Debug)]
pub(crate) struct RequestTrace {
    tracer: Arc<Tracer>,
    context: TraceContext,
    parent: Option<TraceContext>,
    start: u64,
}

// === impl Tracer ===

impl Tracer {
    pub(super) fn new(config: &Config) -> (Self, mpsc::Receiver<Span>) {
        let (spans_tx, spans_rx) = mpsc::channel(config.queue);
        let tracer = Self {
            sampler: config.sampler,
            content: config.content,
            spans_tx,
            emitted: Arc::default(),
        };
        (tracer, spans_rx)
    }

    /// Hands a span over. It waits for nobody.
    pub(super) fn emit(&self, span: Span) {
        if !span.context.sampled {
            return;
        }
        // First, so that the exporter has never handled more than were handed over.
        self.emitted.fetch_add(1, Ordering::Relaxed);
        if self.spans_tx.try_send(span).is_err() {
            self.emitted.fetch_sub(1, Ordering::Relaxed);
            metrics::dropped();
        }
    }

    /// A span below `parent`, or the first of a trace.
    pub(super) fn begin(&self, parent: Option<&TraceContext>) -> Option<TraceContext> {
        match parent {
            Some(parent) => parent.child(),
            None => TraceContext::root(|trace| self.sampler.samples(None, trace)),
        }
    }
}

/// Traces from now on. `owners` says who runs a collector on this host.
///
/// # Errors
/// When there is no thread for the exporter.
pub(crate) fn start(config: Config, owners: Finder) -> Result<Exporter, StartError> {
    let (tracer, spans_rx) = Tracer::new(&config);
    let exporter = Exporter::start(config, spans_rx, Arc::clone(&tracer.emitted), owners)?;
    TRACER.get_or_init(|| Arc::new(tracer));
    Ok(exporter)
}

/// Whether anything is traced.
pub(crate) fn is_on() -> bool {
    TRACER.get().is_some()
}

/// Spans that wait for the exporter, and how many may; nothing where nothing is traced.
pub(crate) fn queue() -> Option<(usize, usize)> {
    let spans_tx = &tracer()?.spans_tx;
    let bound = spans_tx.max_capacity();
    Some((bound.saturating_sub(spans_tx.capacity()), bound))
}

pub(super) fn tracer() -> Option<&'static Arc<Tracer>> {
    TRACER.get()
}

/// The span of the request that this is a part of.
pub(crate) fn current() -> Option<TraceContext> {
    if !is_on() {
        return None;
    }
    REQUEST.try_with(|context| *context).ok()
}

/// A request begins. `traceparent`: the client's, if it sent one. Reading that no client traces is not traced, so that
/// polling makes no traces.
pub(crate) fn request(traceparent: Option<&str>, reads: bool) -> Option<RequestTrace> {
    let tracer = tracer()?;
    let parent = traceparent.and_then(TraceContext::parse);
    if reads && parent.is_none() {
        return None;
    }
    // A sampler that asks no parent decides for each service anew.
    let mut context = tracer.begin(parent.as_ref())?;
    if let Some(parent) = &parent {
        context.sampled = tracer.sampler.samples(Some(parent), &parent.trace);
    }
    Some(RequestTrace {
        tracer: Arc::clone(tracer),
        context,
        parent,
        start: now(),
    })
}

/// Runs `work` as a part of the request.
pub(crate) async fn run_within<T>(request: &RequestTrace, work: impl Future<Output = T>) -> T {
    REQUEST.scope(request.context, work).await
}

/// The same for what goes on beside the request that began it, such as a message of a WebSocket.
pub(crate) async fn with_current<T>(
    context: Option<TraceContext>,
    work: impl Future<Output = T>,
) -> T {
    match context {
        Some(context) => REQUEST.scope(context, work).await,
        None => work.await,
    }
}

// === impl RequestTrace ===

impl RequestTrace {
    pub(crate) const fn context(&self) -> TraceContext {
        self.context
    }

    /// It is answered, as far as the head of the answer.
    pub(crate) fn end(self, method: &str, route: Option<&str>, path: &str, status: u16) {
        let name = match route {
            Some(route) => format!("{method} {route}"),
            None => method.to_owned(),
        };
        let parent = self.parent.map(|parent| parent.span);
        let times = (self.start, now());
        let error = (status >= 500).then(|| status.to_string());
        let span = Span::new(self.context, parent, name, Kind::Server, times)
            .with("http.request.method", method)
            .with("url.path", path)
            .with("url.scheme", "http")
            .with("http.response.status_code", status)
            .with_some("http.route", route)
            .failed(error);
        self.tracer.emit(span);
    }
}
