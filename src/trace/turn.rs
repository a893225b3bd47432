//! The trace of one turn: the driver says what it does, the log what happens, and the gateway whom it calls.

use std::sync::Arc;

use super::call::CallTrace;
use super::content;
use super::context::{SpanAndParent, TraceContext};
use super::span::{Kind, Span, now, of_timestamp};
use super::traced::Traced;
use super::tracer::tracer;
use crate::clock::Timestamp;
use crate::event::{Body, Event};

/// A turn as the traces have it. Empty where nothing is traced. A cheap clone.
#[derive(Clone, Debug, Default)]
pub(crate) struct TurnTrace(Option<Arc<Traced>>);

// === impl TurnTrace ===

impl TurnTrace {
    /// Turn `turn` of `session` begins. `parent`: the request that asked for it.
    pub(crate) fn begin(
        parent: Option<TraceContext>,
        previous: Option<TraceContext>,
        session: &str,
        turn: u32,
    ) -> Self {
        let traced = tracer().and_then(|tracer| {
            let span = SpanAndParent {
                context: tracer.begin(parent.as_ref())?,
                parent: parent.map(|parent| parent.span),
            };
            Some(Traced::new(tracer, span, previous, (session, turn)))
        });
        Self(traced.map(Arc::new))
    }

    /// A turn that an earlier process began: its spans are of the same trace, and its own has the same id.
    pub(crate) fn restore(span: Option<SpanAndParent>, session: &str, turn: u32) -> Self {
        let traced = tracer()
            .zip(span)
            .map(|(tracer, span)| Traced::new(tracer, span, None, (session, turn)));
        Self(traced.map(Arc::new))
    }

    /// Its span, for those that come after it.
    pub(crate) fn span(&self) -> Option<SpanAndParent> {
        Some(self.0.as_ref()?.span)
    }

    pub(crate) fn context(&self) -> Option<TraceContext> {
        Some(self.span()?.context)
    }

    /// That, if it is recorded: for whoever points at the trace.
    pub(crate) fn recorded(&self) -> Option<TraceContext> {
        self.context().filter(TraceContext::is_sampled)
    }

    /// An earlier process began it then.
    pub(crate) fn began(&self, at: Timestamp) {
        if let Some(traced) = &self.0 {
            *traced.start.lock() = of_timestamp(at);
        }
    }

    /// Which model it uses, and what it was asked.
    pub(crate) fn describe(
        &self,
        provider: &'static str,
        model: &str,
        prompt: impl Fn() -> String,
    ) {
        if let Some(traced) = self.sampled() {
            *traced.model.lock() = Some((provider, model.to_owned()));
            if traced.tracer.content {
                *traced.prompt.lock() = Some(content::message("user", &prompt()));
            }
        }
    }

    /// A step of its beginning took from `start` until now.
    pub(crate) fn step(&self, name: &'static str, start: u64) {
        if let Some(traced) = self.sampled()
            && let Some(context) = traced.span.context.child()
        {
            let parent = Some(traced.span.context.span);
            let span = Span::new(context, parent, name, Kind::Internal, (start, now()));
            let span = span.with("gen_ai.conversation.id", &*traced.session);
            traced.tracer.emit(span);
        }
    }

    /// An event of the turn was published.
    pub(crate) fn note(&self, event: &Event) {
        // Output comes thousands of times, and begins and ends nothing.
        if matches!(event.body, Body::Output(_) | Body::Todo(_)) && event.agent.is_none() {
            return;
        }
        let Some(traced) = self.sampled() else { return };
        let ended = traced.open.lock().apply(event);
        if let Some(span) = ended {
            traced.tracer.emit(span);
        }
        if event.is_terminal() {
            traced.end(event);
        }
    }

    /// Session `caller` of OpenCode calls a model; `root` is the session's own agent.
    pub(crate) fn call(&self, caller: &str, root: &str) -> Option<CallTrace> {
        let traced = self.0.as_ref()?;
        let agent = Some(caller).filter(|caller| *caller != root);
        CallTrace::begin(Arc::clone(traced), agent)
    }

    fn sampled(&self) -> Option<&Arc<Traced>> {
        let traced = self.0.as_ref()?;
        traced.span.context.is_sampled().then_some(traced)
    }
}

#[cfg(test)]
mod tests;
