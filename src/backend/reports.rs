//! Reports the ends of turns, one by one, until the backend has them.
//!
//! Up to [`MAX_CALLS`] are sent at the same time, each with its own back-off, so one that fails or hangs delays
//! no other. While the backend is down one call at a time finds out whether it still is.

use std::collections::{HashMap, HashSet};
use std::time::{Duration, Instant};

use futures_util::StreamExt as _;
use futures_util::future::BoxFuture;
use futures_util::stream::FuturesUnordered;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::client::{Delivery, Failure};
use super::context::Context;
use crate::backoff::{Budget, Limits, jitter};
use crate::session::Report;

const MAX_CALLS: usize = 4;

/// Reports taken from the registry at once.
const PAGE: usize = 64;

/// Reports held here. The others stay in the registry until there is room.
const MAX_PENDING: usize = 1024;

/// Sends the reports, in one task.
pub(super) struct Reporter {
    context: Context,
    changes_rx: watch::Receiver<()>,
    pending: HashMap<String, Pending>,
    calls: FuturesUnordered<BoxFuture<'static, (Report, Delivery)>>,
    /// The registry may have reports that are not here.
    stale: bool,
    read_at: Instant,
    /// The registry had more than could be taken.
    more: bool,
    /// Cancelled when no turn runs any more: then every report gets its last attempt.
    last: CancellationToken,
    /// The sessions and turns whose report had its last attempt; `None` before that time.
    last_attempts: Option<HashSet<(String, u32)>>,
}

/// A report that the backend does not have.
struct Pending {
    report: Report,
    /// The backend has it by now, but the registry could not note that.
    delivered: bool,
    in_flight: bool,
    since: Instant,
    budget: Budget,
    due: Instant,
}

// === impl Reporter ===

impl Reporter {
    pub(super) fn new(context: Context, last: CancellationToken) -> Self {
        Self {
            changes_rx: context.registry.changes(),
            context,
            pending: HashMap::new(),
            calls: FuturesUnordered::new(),
            stale: true,
            read_at: Instant::now(),
            more: false,
            last,
            last_attempts: None,
        }
    }

    /// Runs until the last reports had their last attempt.
    pub(super) async fn run(mut self) {
        while !self.is_finished() {
            if self.stale || self.read_at.elapsed() >= self.context.timing.poll {
                self.stale = false;
                self.read_at = Instant::now();
                self.read_registry().await;
            }
            self.start_calls().await;
            if self.is_finished() {
                return;
            }
            let wake = self.next_wakeup();
            let leaving = self.last_attempts.is_some();
            tokio::select! {
                Some((report, delivery)) = self.calls.next(), if !self.calls.is_empty() => {
                    self.on_delivery(&report, delivery).await;
                }
                Ok(()) = self.changes_rx.changed() => self.stale = true,
                () = self.last.cancelled(), if !leaving => self.begin_last_attempts(),
                () = tokio::time::sleep_until(wake.into()) => {}
            }
        }
    }

    fn is_finished(&self) -> bool {
        let idle = self.pending.is_empty() && self.calls.is_empty();
        self.last_attempts.is_some() && !self.stale && idle
    }

    /// No turn runs any more: each report has one attempt left, at once.
    fn begin_last_attempts(&mut self) {
        self.last_attempts = Some(HashSet::new());
        self.stale = true;
        self.context.breaker.resume();
        let now = Instant::now();
        for pending in self.pending.values_mut() {
            pending.due = now;
        }
    }

    async fn read_registry(&mut self) {
        let limit = MAX_PENDING.min(self.pending.len() + PAGE);
        let reports = match self.context.registry.unreported(limit).await {
            Ok(reports) => reports,
            Err(error) => {
                tracing::debug!(%error, "the ends on disk cannot be read now");
                return;
            }
        };
        self.more = reports.len() >= limit;
        for report in reports {
            let attempts = self.last_attempts.as_ref();
            let attempted = attempts.is_some_and(|attempts| attempts.contains(&report.key()));
            match self.pending.get(&report.id) {
                Some(pending) if pending.report.turn == report.turn => {}
                // The call that is out is about an earlier turn; this one is read again after it.
                Some(pending) if pending.in_flight => self.more = true,
                _ if attempted => {}
                None if self.pending.len() >= MAX_PENDING => self.more = true,
                _ => {
                    let pending = Pending::new(report, self.context.timing.retry);
                    self.pending.insert(pending.report.id.clone(), pending);
                }
            }
        }
    }

    /// Starts the calls that are due and for which there is room.
    async fn start_calls(&mut self) {
        while self.has_room() {
            let now = Instant::now();
            let due = self.waiting().filter(|pending| pending.due <= now);
            let Some(next) = due.min_by_key(|pending| pending.due) else {
                return;
            };
            let report = next.report.clone();
            if next.delivered {
                self.mark_reported(&report).await;
            } else if self.context.registry.holds(&report) {
                if let Some(pending) = self.pending.get_mut(&report.id) {
                    pending.in_flight = true;
                }
                let client = self.context.client.clone();
                self.calls.push(Box::pin(async move {
                    let delivery = client.report(&report).await;
                    (report, delivery)
                }));
            } else {
                self.pending.remove(&report.id);
            }
        }
    }

    fn has_room(&self) -> bool {
        let down = self.context.breaker.is_down();
        let most = if down { 1 } else { MAX_CALLS };
        self.calls.len() < most && self.context.breaker.pause().is_none()
    }

    fn waiting(&self) -> impl Iterator<Item = &Pending> {
        self.pending.values().filter(|pending| !pending.in_flight)
    }

    /// When there is something to do though nothing happens.
    fn next_wakeup(&self) -> Instant {
        let poll = self.read_at + self.context.timing.poll;
        let due = self.waiting().map(|pending| pending.due).min();
        match (self.context.breaker.pause(), due) {
            (Some(pause), Some(due)) => pause.max(due).min(poll),
            (None, Some(due)) if self.has_room() => due.min(poll),
            _ => poll,
        }
    }

    async fn on_delivery(&mut self, report: &Report, delivery: Delivery) {
        match delivery {
            Delivery::Done(status) => {
                self.context.breaker.answered();
                self.context.recent.insert(&report.id);
                tracing::debug!(
                    session.id = report.id,
                    state = report.state.as_str(),
                    status,
                    "the backend knows how the session ended"
                );
                self.mark_reported(report).await;
            }
            Delivery::Refused(status) => {
                self.context.breaker.answered();
                tracing::warn!(
                    session.id = report.id,
                    status,
                    "the backend refuses the report of how the session ended; it is not sent again"
                );
                self.mark_reported(report).await;
            }
            Delivery::Failed(failure) => {
                self.context.breaker.failed(&failure.reason);
                self.on_failure(report, &failure).await;
            }
        }
        self.stale |= self.more && self.waiting().next().is_none();
    }

    async fn on_failure(&mut self, report: &Report, failure: &Failure) {
        if let Some(attempts) = &mut self.last_attempts {
            attempts.insert(report.key());
            self.pending.remove(&report.id);
            if self.context.breaker.is_down() {
                // The others would fare no better, and there is no time.
                let waiting = self.pending.extract_if(|_, pending| !pending.in_flight);
                attempts.extend(waiting.map(|(_, pending)| pending.report.key()));
            }
            return;
        }
        let Some(pending) = self.pending.get_mut(&report.id) else {
            return;
        };
        if pending.since.elapsed() >= self.context.timing.give_up {
            tracing::warn!(
                session.id = report.id,
                reason = failure.reason,
                "it could not be reported to the backend how the session ended; giving up"
            );
            self.mark_reported(report).await;
            return;
        }
        pending.retry_after(failure.wait.unwrap_or_default());
    }

    /// Notes in the registry that nothing is left to report about this end.
    async fn mark_reported(&mut self, report: &Report) {
        let registry = &self.context.registry;
        let marked = registry.reported(&report.id, report.turn).await;
        let leaving = self.last_attempts.is_some();
        if let Some(attempts) = &mut self.last_attempts {
            attempts.insert(report.key());
        }
        // The end of the next turn may have waited for this one.
        self.stale |= matches!(marked, Ok(true));
        match (marked, self.pending.get_mut(&report.id)) {
            (Err(error), Some(pending)) if !leaving => {
                tracing::debug!(%error, "what the backend knows cannot be noted now");
                pending.delivered = true;
                pending.retry_after(Duration::ZERO);
            }
            _ => {
                self.pending.remove(&report.id);
            }
        }
    }
}

// === impl Pending ===

impl Pending {
    fn new(report: Report, retry: Limits) -> Self {
        let now = Instant::now();
        Self {
            report,
            delivered: false,
            in_flight: false,
            since: now,
            budget: Budget::new(retry),
            due: now,
        }
    }

    /// Another attempt after the back-off's delay, or after `wait` if that is longer.
    fn retry_after(&mut self, wait: Duration) {
        let now = Instant::now();
        let delay = self.budget.failed(now, jitter()).delay();
        self.in_flight = false;
        self.due = now + delay.max(wait);
    }
}
