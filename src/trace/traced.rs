//! What is known of a turn that is traced, and the span of the turn itself.

use std::sync::Arc;

use parking_lot::Mutex;

use super::content;
use super::context::{SpanAndParent, TraceContext};
use super::open::Open;
use super::span::{Kind, Span, now, of_timestamp};
use super::tracer::Tracer;
use crate::event::{Body, Event, FailureCode, State, Usage};

#[derive(Debug)]
pub(super) struct Traced {
    pub(super) tracer: Arc<Tracer>,
    pub(super) span: SpanAndParent,
    /// The turn before, whose trace is another one.
    previous: Option<TraceContext>,
    pub(super) session: String,
    turn: u32,
    /// When the prompt came.
    pub(super) start: Mutex<u64>,
    pub(super) model: Mutex<Option<(&'static str, String)>>,
    /// The prompt, where it is to be told.
    pub(super) prompt: Mutex<Option<String>>,
    pub(super) open: Mutex<Open>,
}

// === impl Traced ===

impl Traced {
    pub(super) fn new(
        tracer: &Arc<Tracer>,
        span: SpanAndParent,
        previous: Option<TraceContext>,
        (session, turn): (&str, u32),
    ) -> Self {
        Self {
            open: Mutex::new(Open::new(span.context, session, tracer.content)),
            tracer: Arc::clone(tracer),
            span,
            previous,
            session: session.to_owned(),
            turn,
            start: Mutex::new(now()),
            model: Mutex::default(),
            prompt: Mutex::default(),
        }
    }

    /// Everything that is left of the turn, and the turn itself.
    pub(super) fn end(&self, event: &Event) {
        let end = of_timestamp(event.at).max(now());
        let mut open = self.open.lock();
        let rest = open.finish(end);
        let notes = std::mem::take(&mut open.notes);
        drop(open);
        for span in rest {
            self.tracer.emit(span);
        }
        let model = self.model.lock().take();
        let (outcome, code) = event.turn_end().unwrap_or((State::Cancelled, None));
        let (usage, answer) = match &event.body {
            Body::Complete(complete) => (Some(complete.usage), Some(&complete.final_message)),
            _ => (None, None),
        };
        let answer = answer.filter(|_| self.tracer.content);
        let answer = answer.map(|words| content::message("assistant", words));
        let times = (*self.start.lock(), end);
        let (context, parent) = (self.span.context, self.span.parent);
        let mut span = Span::new(
            context,
            parent,
            "invoke_agent opencode",
            Kind::Internal,
            times,
        )
        .with("gen_ai.operation.name", "invoke_agent")
        .with("gen_ai.agent.name", "opencode")
        .with("gen_ai.conversation.id", &*self.session)
        .with("sidecar.turn", self.turn)
        .with("sidecar.outcome", outcome.as_str())
        .with_some("gen_ai.input.messages", self.prompt.lock().take())
        .with_some("gen_ai.output.messages", answer);
        if let Some((provider, model)) = model {
            span = span
                .with("gen_ai.provider.name", provider)
                .with("gen_ai.request.model", model);
        }
        if let Some(usage) = usage {
            span = with_usage(span, usage);
        }
        let mut span = span.failed(code.map(FailureCode::as_str));
        span.events = notes;
        span.links = self.previous.into_iter().collect();
        self.tracer.emit(span);
    }
}

fn with_usage(span: Span, usage: Usage) -> Span {
    span.with("gen_ai.usage.input_tokens", usage.input_tokens)
        .with("gen_ai.usage.output_tokens", usage.output_tokens)
        .with(
            "gen_ai.usage.reasoning.output_tokens",
            usage.reasoning_tokens,
        )
        .with(
            "gen_ai.usage.cache_read.input_tokens",
            usage.cache_read_tokens,
        )
        .with(
            "gen_ai.usage.cache_creation.input_tokens",
            usage.cache_write_tokens,
        )
}
