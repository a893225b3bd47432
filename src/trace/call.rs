//! One call of a model, as the gateway makes it.

use std::sync::Arc;
use std::time::Duration;

use super::context::{SpanId, TraceContext};
use super::span::{Kind, Span, now};
use super::traced::Traced;

/// A call that has begun.
#[derive(Debug)]
pub(crate) struct CallTrace {
    turn: Arc<Traced>,
    context: TraceContext,
    parent: SpanId,
    start: u64,
}

/// How a call went.
#[derive(Debug)]
pub(crate) struct CallReport<'a> {
    pub(crate) provider: &'static str,
    pub(crate) model: &'a str,
    pub(crate) address: Option<&'a str>,
    pub(crate) port: Option<u16>,
    pub(crate) temperature: Option<f64>,
    pub(crate) max_tokens: Option<u64>,
    pub(crate) first_byte: Option<Duration>,
    /// Input, output, of the input from a cache, of the output reasoning.
    pub(crate) tokens: Option<[u64; 4]>,
    /// Why it failed.
    pub(crate) error: Option<&'static str>,
    /// What the provider answered to a call that failed.
    pub(crate) status: Option<u16>,
}

// === impl CallTrace ===

impl CallTrace {
    /// `agent`: the subagent that calls.
    pub(super) fn begin(turn: Arc<Traced>, agent: Option<&str>) -> Option<Self> {
        let context = turn.span.context.child()?;
        let start = now();
        let mut open = turn.open.lock();
        if let Some(agent) = agent.filter(|_| context.is_sampled()) {
            open.heard_of_caller(agent, start);
        }
        let parent = open.span_of(agent);
        drop(open);
        Some(Self {
            turn,
            context,
            parent,
            start,
        })
    }

    /// For the provider.
    pub(crate) fn traceparent(&self) -> String {
        self.context.header()
    }

    /// The trace, if it is recorded: for whoever points at it.
    pub(crate) fn recorded(&self) -> Option<TraceContext> {
        Some(self.context).filter(TraceContext::is_sampled)
    }

    pub(crate) fn end(self, report: &CallReport<'_>) {
        if !self.context.is_sampled() {
            return;
        }
        let name = format!("chat {}", report.model);
        let times = (self.start, now());
        let mut span = Span::new(self.context, Some(self.parent), name, Kind::Client, times)
            .with("gen_ai.operation.name", "chat")
            .with("gen_ai.provider.name", report.provider)
            .with("gen_ai.request.model", report.model)
            .with("gen_ai.request.stream", true)
            .with("gen_ai.conversation.id", &*self.turn.session)
            .with_some("gen_ai.request.temperature", report.temperature)
            .with_some("gen_ai.request.max_tokens", report.max_tokens)
            .with_some("server.address", report.address)
            .with_some("server.port", report.port)
            .with_some(
                "gen_ai.response.time_to_first_chunk",
                report.first_byte.map(|after| after.as_secs_f64()),
            )
            .with_some("http.response.status_code", report.status);
        if let Some([input, output, cached, reasoning]) = report.tokens {
            span = span
                .with("gen_ai.usage.input_tokens", input)
                .with("gen_ai.usage.output_tokens", output)
                .with("gen_ai.usage.cache_read.input_tokens", cached)
                .with("gen_ai.usage.reasoning.output_tokens", reasoning);
        }
        self.turn.tracer.emit(span.failed(report.error));
    }
}
