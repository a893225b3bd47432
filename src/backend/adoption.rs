//! The sessions that the backend has as active when we start: each gets an end.
//!
//! The list may hold the sessions of every pod. One that ended here is reported again. One that our journal
//! does not know is adopted if the agent here made a conversation for it, one after the other, so that new
//! sessions are not refused meanwhile. All others belong to another pod, or to none.

use std::time::{Duration, Instant};

use super::client::{List, ListError, Listed};
use super::config::Conversations;
use super::context::Context;
use crate::backoff::{Budget, jitter};
use crate::session::{Adoption, Found, OrphanSession, Session};

/// Reads the backend's list in one task, which ends when nothing is left to adopt.
pub(super) struct Adopter {
    context: Context,
    conversations: Conversations,
    /// What was wrong with the last list. Logged once.
    complaint: Option<String>,
}

/// Whether the list has to be read again, and if the backend failed, after how long it asks for that.
type Outcome = Result<bool, Option<Duration>>;

// === impl Adopter ===

impl Adopter {
    pub(super) const fn new(context: Context, conversations: Conversations) -> Self {
        Self {
            context,
            conversations,
            complaint: None,
        }
    }

    pub(super) async fn run(mut self) {
        let mut budget = Budget::new(self.context.timing.retry);
        loop {
            let wait = match self.read_list().await {
                Ok(false) => return,
                Ok(true) => {
                    budget.reset();
                    self.context.timing.list_again
                }
                Err(asked_for) => {
                    let delay = budget.failed(Instant::now(), jitter()).delay();
                    delay.max(asked_for.unwrap_or_default())
                }
            };
            tokio::time::sleep(wait).await;
        }
    }

    async fn read_list(&mut self) -> Outcome {
        self.context.recent.begin();
        let outcome = match self.context.client.list().await {
            Ok(list) => {
                self.context.breaker.answered();
                self.complaint = None;
                self.take(list).await
            }
            Err(ListError::Failed(failure)) => {
                self.context.breaker.failed(&failure.reason);
                Err(failure.wait)
            }
            Err(ListError::Invalid(reason)) => {
                self.context.breaker.answered();
                if self.complaint.as_ref() != Some(&reason) {
                    tracing::warn!(
                        reason,
                        "the backend does not say which sessions are active; asking again"
                    );
                    self.complaint = Some(reason);
                }
                Err(None)
            }
        };
        self.context.recent.end();
        outcome
    }

    async fn take(&self, list: List) -> Outcome {
        if list.left_out > 0 {
            tracing::warn!(
                entries = list.left_out,
                "some of the backend's active sessions are no sessions or too many"
            );
        }
        let mut unknown = Vec::new();
        for listed in list.sessions {
            let found = self.context.registry.find(&listed.id).await;
            let found = found.map_err(|error| {
                tracing::debug!(%error, "what the backend has as active cannot be looked up now");
                None
            })?;
            match found {
                Found::Here(session) => self.report_if_ended(&session),
                Found::Gone => tracing::info!(
                    session.id = listed.id,
                    "the backend has a session as active that was removed here"
                ),
                Found::Unknown => unknown.push(listed),
            }
        }
        // Only now: asking the agent waits for it, and what is known here need not.
        Ok(self.adopt_ours(unknown).await)
    }

    /// Adopts those of `unknown` that the agent has, and leaves the others alone. Returns whether some could not
    /// be adopted now.
    async fn adopt_ours(&self, unknown: Vec<Listed>) -> bool {
        let (mut left, mut foreign) = (false, 0_usize);
        for listed in unknown {
            // Without a conversation it cannot be told from another pod's.
            let Some(remote_id) = listed.remote_id else {
                foreign += 1;
                continue;
            };
            match (self.conversations)(remote_id.clone(), listed.id.clone()).await {
                Some(true) => {
                    let orphan = OrphanSession {
                        id: listed.id,
                        created_at: listed.created_at,
                        remote_id,
                    };
                    match self.context.registry.adopt(orphan) {
                        Adoption::Taken(session) => self.wait_for_end(&session).await,
                        Adoption::Known(session) => self.report_if_ended(&session),
                        Adoption::Full => left = true,
                        Adoption::Closed => return false,
                    }
                }
                Some(false) => foreign += 1,
                None => left = true,
            }
        }
        if foreign > 0 {
            tracing::info!(
                sessions = foreign,
                "the backend's active sessions that are not known here are left alone"
            );
        }
        left
    }

    /// Waits for the end of an adopted session, so that the next one is not refused for too many.
    async fn wait_for_end(&self, session: &Session) {
        tracing::info!(
            session.id = session.id,
            session.remote_id = session.status().remote_id,
            "adopted a session that the backend has as active"
        );
        let mut changes_rx = self.context.registry.changes();
        let ended = async {
            while !session.status().state.is_final() && changes_rx.changed().await.is_ok() {}
        };
        // One that takes longer does not hold up the others.
        drop(tokio::time::timeout(self.context.timing.adoption, ended).await);
    }

    /// If a session that is known here has ended, the backend missed that.
    fn report_if_ended(&self, session: &Session) {
        if session.status().state.is_final() && !self.context.recent.contains(&session.id) {
            self.context.registry.report_again(session);
        }
    }
}
