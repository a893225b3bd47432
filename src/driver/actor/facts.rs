//! What this task knows of its turn, for whoever asks what it is doing.

use std::time::{Duration, Instant, SystemTime};

use super::state::Actor;
use crate::clock::{Timestamp, millis};
use crate::event::Phase;
use crate::gateway::{Grant, Wait};
use crate::session::Health;
use crate::session::diagnosis::{Diagnosis, Facts, ModelWait, Situation, Surroundings, diagnose};

// === impl Actor ===

impl Actor {
    /// Looks at everything, keeps it for clients that ask, and says what it comes to.
    pub(super) fn diagnose(&mut self) -> Diagnosis {
        let now = Timestamp::now();
        let facts = self.facts(now);
        let found = diagnose(Situation::Running(&facts), &self.surroundings(), now);
        self.turn_handle.session.set_facts(Some(facts));
        found
    }

    fn facts(&mut self, now: Timestamp) -> Facts {
        let status = self.turn_handle.session.status();
        // Being called stalled hides what the turn was doing before.
        if status.phase != Some(Phase::Stalled) {
            self.phase = (status.phase, status.reason.clone());
        }
        let (phase, reason) = &self.phase;
        let grant = self.turn.grant.as_ref();
        let usage = grant.map(Grant::usage).unwrap_or_default();
        let left = self
            .deadline
            .saturating_duration_since(tokio::time::Instant::now());
        Facts {
            heard: before(now, self.last_activity_at.elapsed()),
            deadline: after(now, left),
            model: grant.map_or(ModelWait::Idle, |grant| {
                model_wait(grant.wait(), self.context.gateway.idle_timeout())
            }),
            provider: grant.map(Grant::provider).unwrap_or_default(),
            last_error: usage.last_error,
            retries: usage.retries,
            model_name: grant
                .map(|grant| grant.model().to_owned())
                .unwrap_or_default(),
            calls: grant.map(Grant::newest_calls).unwrap_or_default(),
            agent_retries: reason
                .clone()
                .filter(|_| *phase == Some(Phase::ProviderRetry)),
            tool: self.turn.translator.open_tool(),
            tool_counts: self.turn.translator.tool_counts().clone(),
            compacting: *phase == Some(Phase::Compacting),
            asks: status.asks.open.clone(),
            queued: self.turn_handle.session.next_queued(),
            recovery: self
                .recovery
                .is_some()
                .then_some((self.recoveries, self.context.config.recoveries)),
            feed_lost: self.feed_lost,
            stopping: self.stopping.is_some(),
            agent_sessions: self.turn.subscription.session_tree(),
        }
    }

    fn surroundings(&self) -> Surroundings {
        let engine = &self.context.engine;
        Surroundings {
            engine: engine.not_ready(Instant::now()),
            missed_checks: engine.missed_checks(),
            memory: engine.short_of_memory(),
            journal: match &*self.context.registry.health().borrow() {
                Health::Degraded(reason) => Some(reason.clone()),
                Health::Opening | Health::Well => None,
            },
        }
    }
}

/// `idle`: an answer of which nothing more comes for this long is given up.
fn model_wait(wait: Wait, idle: Duration) -> ModelWait {
    match wait {
        Wait::Idle => ModelWait::Idle,
        Wait::Provider { since, deadline } => ModelWait::Asked {
            since: since.into(),
            until: deadline.into(),
        },
        Wait::Answering {
            since,
            bytes,
            last_byte,
        } => ModelWait::Answering {
            since: since.into(),
            bytes,
            last_byte: last_byte.into(),
            until: later(last_byte, idle).into(),
        },
        Wait::Retry { until } => ModelWait::Retry {
            until: until.into(),
        },
    }
}

fn later(from: SystemTime, by: Duration) -> SystemTime {
    from.checked_add(by).unwrap_or(from)
}

fn before(now: Timestamp, by: Duration) -> Timestamp {
    Timestamp::from_millis(now.as_millis().saturating_sub(millis(by)))
}

fn after(now: Timestamp, by: Duration) -> Timestamp {
    Timestamp::from_millis(now.as_millis().saturating_add(millis(by)))
}
