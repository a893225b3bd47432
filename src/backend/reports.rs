//! The ends of turns, told one by one until the backend has them.
//!
//! Up to [`AT_ONCE`] are told at the same time, each with its own back-off, so one that fails or hangs holds
//! no other. While the backend is down one call at a time finds out whether it still is.

use std::collections::{HashMap, HashSet};
use std::time::{Duration, Instant};

use futures_util::StreamExt as _;
use futures_util::future::BoxFuture;
use futures_util::stream::FuturesUnordered;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::client::{Failure, Told};
use super::{Context, Pace};
use crate::backoff::{Budget, jitter};
use crate::session::Report;

const AT_ONCE: usize = 4;

/// Reports taken from the registry in one look.
const PAGE: usize = 64;

/// Reports held here. The others stay in the registry until there is room.
const MOST: usize = 1024;

/// What tells. It lives in one task.
pub(super) struct Reporter {
    context: Context,
    changes_rx: watch::Receiver<()>,
    pending: HashMap<String, Pending>,
    calls: FuturesUnordered<BoxFuture<'static, (Report, Told)>>,
    /// The registry may have reports that are not here.
    look: bool,
    looked: Instant,
    /// The last look saw more than it could take.
    more: bool,
    /// Cancelled when no turn runs any more: what is told now is the last.
    last: CancellationToken,
    /// Those that had their last attempt; nothing before the end.
    tried: Option<HashSet<String>>,
}

/// A report that the backend does not have.
struct Pending {
    report: Report,
    /// It has it by now, but the registry could not note that.
    told: bool,
    flying: bool,
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
            look: true,
            looked: Instant::now(),
            more: false,
            last,
            tried: None,
        }
    }

    /// Tells until the last ones are told.
    pub(super) async fn run(mut self) {
        while !self.is_finished() {
            if self.look || self.looked.elapsed() >= self.context.pace.look {
                self.look = false;
                self.looked = Instant::now();
                self.take().await;
            }
            self.begin().await;
            if self.is_finished() {
                return;
            }
            let wake = self.wake();
            let ending = self.tried.is_some();
            tokio::select! {
                Some((report, told)) = self.calls.next(), if !self.calls.is_empty() => {
                    self.settle(&report, told).await;
                }
                Ok(()) = self.changes_rx.changed() => self.look = true,
                () = self.last.cancelled(), if !ending => self.end(),
                () = tokio::time::sleep_until(wake.into()) => {}
            }
        }
    }

    fn is_finished(&self) -> bool {
        self.tried.is_some() && !self.look && self.pending.is_empty() && self.calls.is_empty()
    }

    /// No turn runs any more: each report has one attempt left, at once.
    fn end(&mut self) {
        self.tried = Some(HashSet::new());
        self.look = true;
        self.context.breaker.hurry();
        let now = Instant::now();
        for pending in self.pending.values_mut() {
            pending.due = now;
        }
    }

    /// Takes up what the registry has.
    async fn take(&mut self) {
        let limit = MOST.min(self.pending.len() + PAGE);
        let reports = match self.context.registry.unreported(limit).await {
            Ok(reports) => reports,
            Err(error) => {
                tracing::debug!(%error, "the ends on disk cannot be read now");
                return;
            }
        };
        self.more = reports.len() >= limit;
        let now = Instant::now();
        for report in reports {
            let tried = self
                .tried
                .as_ref()
                .is_some_and(|tried| tried.contains(&report.id));
            let full = self.pending.len() >= MOST;
            match self.pending.get(&report.id) {
                Some(pending) if pending.report.turn == report.turn => {}
                // The call that is out is about an earlier turn; the next look is after it.
                Some(pending) if pending.flying => self.more = true,
                _ if tried => {}
                None if full => self.more = true,
                _ => {
                    let pending = Pending::new(report, self.context.pace, now);
                    self.pending.insert(pending.report.id.clone(), pending);
                }
            }
        }
    }

    /// Begins the calls that are due and for which there is room.
    async fn begin(&mut self) {
        while self.has_room() {
            let now = Instant::now();
            let due = self.resting().filter(|pending| pending.due <= now);
            let Some(next) = due.min_by_key(|pending| pending.due) else {
                return;
            };
            let report = next.report.clone();
            if next.told {
                self.note(&report).await;
            } else if self.context.registry.holds(&report) {
                if let Some(pending) = self.pending.get_mut(&report.id) {
                    pending.flying = true;
                }
                let client = self.context.client.clone();
                self.calls.push(Box::pin(async move {
                    let told = client.tell(&report).await;
                    (report, told)
                }));
            } else {
                self.pending.remove(&report.id);
            }
        }
    }

    fn has_room(&self) -> bool {
        let most = if self.context.breaker.is_down() {
            1
        } else {
            AT_ONCE
        };
        self.calls.len() < most && self.context.breaker.pause().is_none()
    }

    fn resting(&self) -> impl Iterator<Item = &Pending> {
        self.pending.values().filter(|pending| !pending.flying)
    }

    /// When there is something to do though nothing happens.
    fn wake(&self) -> Instant {
        let look = self.looked + self.context.pace.look;
        let due = self.resting().map(|pending| pending.due).min();
        match (self.context.breaker.pause(), due) {
            (Some(pause), Some(due)) => pause.max(due).min(look),
            (None, Some(due)) if self.has_room() => due.min(look),
            _ => look,
        }
    }

    async fn settle(&mut self, report: &Report, told: Told) {
        match told {
            Told::Done(status) => {
                self.context.breaker.answered();
                self.context.lately.told(&report.id);
                tracing::debug!(
                    session.id = report.id,
                    state = report.state.as_str(),
                    status,
                    "the backend knows how the session ended"
                );
                self.note(report).await;
            }
            Told::Refused(status) => {
                self.context.breaker.answered();
                tracing::warn!(
                    session.id = report.id,
                    status,
                    "the backend refuses to hear how the session ended; it is not told again"
                );
                self.note(report).await;
            }
            Told::Failed(failure) => {
                self.context.breaker.failed(&failure.reason);
                self.failed(report, &failure).await;
            }
        }
        self.look |= self.more && self.resting().next().is_none();
    }

    async fn failed(&mut self, report: &Report, failure: &Failure) {
        if let Some(tried) = &mut self.tried {
            tried.insert(report.id.clone());
            self.pending.remove(&report.id);
            if self.context.breaker.is_down() {
                // The others would fare no better, and there is no time.
                let resting = self.pending.extract_if(|_, pending| !pending.flying);
                tried.extend(resting.map(|(id, _)| id));
            }
            return;
        }
        let Some(pending) = self.pending.get_mut(&report.id) else {
            return;
        };
        let now = Instant::now();
        if now.duration_since(pending.since) >= self.context.pace.give_up {
            tracing::warn!(
                session.id = report.id,
                reason = failure.reason,
                "the backend could not be told how the session ended; giving up"
            );
            self.note(report).await;
            return;
        }
        pending.flying = false;
        let delay = pending.budget.failed(now, jitter()).delay();
        pending.due = now + delay.max(failure.wait.unwrap_or(Duration::ZERO));
    }

    /// Nothing is left to say about this end.
    async fn note(&mut self, report: &Report) {
        let noted = self
            .context
            .registry
            .reported(&report.id, report.turn)
            .await;
        let ending = self.tried.is_some();
        if let Some(tried) = &mut self.tried {
            tried.insert(report.id.clone());
        }
        match (noted, self.pending.get_mut(&report.id)) {
            (Err(error), Some(pending)) if !ending => {
                tracing::debug!(%error, "what the backend knows cannot be noted now");
                pending.told = true;
                pending.flying = false;
                let now = Instant::now();
                pending.due = now + pending.budget.failed(now, jitter()).delay();
            }
            _ => {
                self.pending.remove(&report.id);
            }
        }
    }
}

// === impl Pending ===

impl Pending {
    fn new(report: Report, pace: Pace, now: Instant) -> Self {
        Self {
            report,
            told: false,
            flying: false,
            since: now,
            budget: Budget::new(pace.retry),
            due: now,
        }
    }
}
