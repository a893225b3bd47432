//! One call of the child that was begun: its meter hears of it once, whatever happens.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use super::last_error::LastError;
use super::meter::{CallId, Outcome};
use super::routes::RegisteredRoute;
use super::stop::BAD_ANSWER;
use super::usage::Tokens;
use crate::metrics::model::{self as metrics, Target};
use crate::provider::Dialect;
use crate::trace::{CallReport, CallTrace};

/// A call that is dropped without an outcome was cut.
#[derive(Debug)]
pub(super) struct Call {
    route: Arc<RegisteredRoute>,
    id: CallId,
    started: Instant,
    first_byte: Option<Duration>,
    trace: Option<CallTrace>,
    tokens: Option<Tokens>,
    outcome: Option<Outcome>,
}

// === impl Call ===

impl Call {
    pub(super) const fn new(
        route: Arc<RegisteredRoute>,
        id: CallId,
        started: Instant,
        trace: Option<CallTrace>,
    ) -> Self {
        Self {
            route,
            id,
            started,
            first_byte: None,
            trace,
            tokens: None,
            outcome: None,
        }
    }

    pub(super) const fn route(&self) -> &Arc<RegisteredRoute> {
        &self.route
    }

    /// The provider has begun to answer.
    pub(super) fn answering(&self) {
        self.route.meter.answering(&self.id);
    }

    /// So many bytes of the answer have come, which has cost `tokens` so far.
    pub(super) fn received(&mut self, bytes: usize, tokens: Option<Tokens>) {
        self.route.meter.received(&self.id, bytes);
        if self.first_byte.is_none() {
            let after = self.started.elapsed();
            self.first_byte = Some(after);
            self.route.meter.first_byte(&self.id, after);
            if self.route.route.counts {
                let provider = self.route.route.model.upstream.provider().name;
                metrics::first_chunk(provider, after);
            }
        }
        self.tokens = tokens;
    }

    /// The gateway itself sends it again.
    pub(super) fn repeated(&self) {
        self.route.meter.repeated(&self.id);
    }

    fn target(&self) -> Target<'_> {
        let upstream = &self.route.route.model.upstream;
        Target {
            provider: upstream.provider().name,
            operation: match upstream.dialect() {
                Dialect::Chat => "chat_completions",
                Dialect::Responses => "responses",
                Dialect::Messages => "messages",
            },
            model: &self.route.model_id,
        }
    }

    /// Ends the call's span with all that is known of the call.
    fn end_trace(&self, trace: CallTrace, outcome: &Outcome) {
        let model = &self.route.route.model;
        let url = model.upstream.url();
        let (error, status) = match outcome {
            Outcome::Complete(_) => (None, None),
            Outcome::Cut => (Some("cut"), None),
            Outcome::Failed(last) | Outcome::Bad(last) | Outcome::Refused(last) => {
                (Some(last.code), last.status)
            }
        };
        trace.end(&CallReport {
            provider: model.upstream.provider().name,
            model: &self.route.model_id,
            address: url.host_str(),
            port: url.port_or_known_default(),
            temperature: model.temperature,
            max_tokens: model.max_tokens.map(Into::into),
            first_byte: self.first_byte,
            tokens: self
                .tokens
                .map(|tokens| tokens.by_kind().map(|(_, count)| count)),
            error,
            status,
        });
    }

    /// The first outcome counts.
    pub(super) fn outcome(&mut self, outcome: Outcome) {
        self.outcome.get_or_insert(outcome);
    }

    /// The answer that had begun failed.
    pub(super) fn failed(&mut self, code: &'static str, message: String) {
        self.outcome(Outcome::Failed(LastError {
            code,
            status: None,
            message,
        }));
    }

    /// The answer cannot be used. Says how long the child is to wait before it calls again, if it is to.
    pub(super) fn answered_badly(
        &mut self,
        status: Option<u16>,
        message: String,
    ) -> Option<Duration> {
        let pause = self.route.meter.pause_after_bad_answer(&self.id);
        self.outcome(Outcome::Bad(LastError {
            code: BAD_ANSWER,
            status,
            message,
        }));
        pause
    }

    /// How long the child is to wait after a failure whose provider does not say.
    pub(super) fn pause_after_failure(&self) -> Duration {
        self.route.meter.pause_after_failure(&self.id)
    }
}

impl Drop for Call {
    fn drop(&mut self) {
        let outcome = self.outcome.take().unwrap_or(Outcome::Cut);
        let duration = self.started.elapsed();
        if self.route.route.counts {
            let used = self.tokens.map(|tokens| metrics::Used {
                tokens: tokens.by_kind(),
                cost: tokens.usd(),
            });
            let exemplar = self.trace.as_ref().and_then(CallTrace::recorded);
            let exemplar = exemplar.map(|context| context.trace_id());
            let end = (outcome.as_metric(), used);
            metrics::ended(self.target(), duration, end, exemplar);
        }
        if let Some(trace) = self.trace.take() {
            self.end_trace(trace, &outcome);
        }
        self.route
            .meter
            .end(&self.id, duration, self.tokens, outcome);
    }
}
