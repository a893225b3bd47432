//! What changes the status of the turn.

use super::failure::clean;
use super::translator::Translator;
use crate::clock::Timestamp;
use crate::event::{Body, Failure, FailureCode, Phase, Todo, TodoItem};
use crate::opencode::types as oc;

// === impl Translator ===

impl Translator {
    /// Publishes why events are not kept at present, or with `None` that they are again.
    pub(crate) fn set_degraded(&mut self, reason: Option<String>, now: Timestamp) {
        self.now = now;
        self.turn.progress.degraded = reason;
        if self.turn.running() {
            self.publish_status();
        }
    }

    /// Publishes why the turn is silent, or with `None` that it is not any more.
    pub(crate) fn set_stalled(&mut self, reason: Option<String>, now: Timestamp) {
        self.now = now;
        let stalled = self.turn.progress.phase() == Some(Phase::Stalled);
        if self.turn.running() && (reason.is_some() || stalled) {
            self.set_phase(reason.is_some().then_some(Phase::Stalled), reason);
        }
    }

    pub(super) fn set_phase(&mut self, phase: Option<Phase>, reason: Option<String>) {
        self.turn.progress.set_phase(phase, reason);
        self.publish_status();
    }

    pub(super) fn compacting(&mut self, session: &str, begins: bool) {
        let compacting = self.turn.progress.phase() == Some(Phase::Compacting);
        if self.is_root(session) && compacting != begins {
            self.set_phase(begins.then_some(Phase::Compacting), None);
        }
    }

    pub(super) fn session_status(&mut self, id: &str, status: oc::SessionStatus) {
        let retrying = self.turn.progress.phase() == Some(Phase::ProviderRetry);
        match status {
            oc::SessionStatus::Retry {
                attempt,
                message,
                next,
            } => self.retry(id, attempt, next, &message),
            oc::SessionStatus::Busy | oc::SessionStatus::Other if self.is_root(id) && retrying => {
                self.set_phase(None, None);
            }
            // `session.idle` follows at once and says the same.
            oc::SessionStatus::Idle | oc::SessionStatus::Busy | oc::SessionStatus::Other => {}
        }
    }

    /// The provider failed, and is asked again at `next`. Published once.
    fn retry(&mut self, id: &str, attempt: u64, next: u64, message: &str) {
        let Some(session) = self.sessions.get_mut(id) else {
            return;
        };
        if session.retry.replace((attempt, next)) == Some((attempt, next)) {
            return;
        }
        let wait = Timestamp::from_millis(next).since(self.now);
        let error = clean(message);
        let failure = Failure {
            code: FailureCode::ProviderRetry,
            error: error.clone(),
            fatal: false,
            retry_after: u64::try_from(wait.as_millis().div_ceil(1000)).ok(),
            resumable: None,
        };
        self.publish(id, Body::Error(failure));
        if self.is_root(id) {
            let reason = format!("attempt {attempt} failed: {error}");
            self.set_phase(Some(Phase::ProviderRetry), Some(reason));
        }
    }

    pub(super) fn todos(&mut self, session: &str, todos: Vec<oc::Todo>) {
        let root = self.is_root(session);
        if root {
            self.turn.progress.todos(&todos);
        }
        let items = todos.into_iter().map(|todo| TodoItem {
            content: todo.content,
            status: todo.status,
            priority: todo.priority,
        });
        let items = items.collect();
        self.publish(session, Body::Todo(Todo { items }));
        if root {
            self.publish_status();
        }
    }
}
