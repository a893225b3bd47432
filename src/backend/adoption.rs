//! The sessions that the backend has as active when we start: each gets an end.
//!
//! The list may hold the sessions of every pod. One that ended here is told of again. One that our journal
//! does not know is adopted if the agent here made a conversation for it, one after the other, so that new
//! sessions find their places. All others are another pod's business, or nobody's.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;

use super::client::{List, Listed, NoList};
use super::{Context, Conversations};
use crate::backoff::{Budget, jitter};
use crate::session::{Adoption, Found, OrphanSession, Session};

/// What asks. It lives in one task, which ends when nothing is left to adopt.
pub(super) struct Adopter {
    context: Context,
    conversations: Conversations,
    /// The last nonsense, which is said once.
    complaint: Option<String>,
}

/// Whose ends were told since the list was asked for: it may be older than that. A cheap clone.
#[derive(Clone, Debug, Default)]
pub(super) struct Lately(Arc<Mutex<Option<HashSet<String>>>>);

/// What is left after a look at the list.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Left {
    Nothing,
    Some,
}

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
        let mut budget = Budget::new(self.context.pace.retry);
        loop {
            let wait = match self.look().await {
                Ok(Left::Nothing) => return,
                Ok(Left::Some) => {
                    budget.reset();
                    self.context.pace.later
                }
                Err(asked_for) => {
                    let now = std::time::Instant::now();
                    let delay = budget.failed(now, jitter()).delay();
                    delay.max(asked_for.unwrap_or_default())
                }
            };
            tokio::time::sleep(wait).await;
        }
    }

    /// Asks once. After a failure it says how long the backend wants to be left alone.
    async fn look(&mut self) -> Result<Left, Option<Duration>> {
        self.context.lately.begin();
        let looked = match self.context.client.list().await {
            Ok(list) => {
                self.context.breaker.answered();
                self.complaint = None;
                self.take(list).await
            }
            Err(NoList::Failed(failure)) => {
                self.context.breaker.failed(&failure.reason);
                Err(failure.wait)
            }
            Err(NoList::Nonsense(reason)) => {
                self.context.breaker.answered();
                self.complain(reason);
                Err(None)
            }
        };
        self.context.lately.end();
        looked
    }

    fn complain(&mut self, reason: String) {
        if self.complaint.as_ref() != Some(&reason) {
            tracing::warn!(
                reason,
                "the backend does not say which sessions are active; asking again"
            );
            self.complaint = Some(reason);
        }
    }

    async fn take(&mut self, list: List) -> Result<Left, Option<Duration>> {
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
                Found::Here(session) => self.compare(&session),
                Found::Gone => tracing::info!(
                    session.id = listed.id,
                    "the backend has a session as active that was let go here"
                ),
                Found::Unknown => unknown.push(listed),
            }
        }
        // Only now: asking the agent waits for it, and what is known here need not.
        Ok(self.adopt_ours(unknown).await)
    }

    /// Adopts those of `unknown` that the agent has, and leaves the others alone.
    async fn adopt_ours(&self, unknown: Vec<Listed>) -> Left {
        let (mut left, mut foreign) = (Left::Nothing, 0_usize);
        for listed in unknown {
            // Without a conversation there is nothing by which it could be told from another pod's.
            let made_here = match &listed.remote_id {
                Some(remote_id) => self.conversations.made_for(remote_id, &listed.id).await,
                None => Some(false),
            };
            match (made_here, listed.remote_id) {
                (Some(true), Some(remote_id)) => {
                    let stray = OrphanSession {
                        id: listed.id,
                        created_at: listed.created_at,
                        remote_id,
                    };
                    match self.context.registry.adopt(stray) {
                        Adoption::Taken(session) => self.see_off(&session).await,
                        Adoption::Known(session) => self.compare(&session),
                        Adoption::Full => left = Left::Some,
                        Adoption::Closed => return Left::Nothing,
                    }
                }
                (None, _) => left = Left::Some,
                (Some(_), _) => foreign += 1,
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

    /// Waits for the end of an adopted session, so that the next one finds its place free.
    async fn see_off(&self, session: &Session) {
        tracing::info!(
            session.id = session.id,
            session.remote_id = session.status().remote_id,
            "adopted a session that the backend has as active"
        );
        let mut changes_rx = self.context.registry.changes();
        let ended = async {
            while !session.status().state.is_final() && changes_rx.changed().await.is_ok() {}
        };
        // It ends when it ends; others need not wait for that.
        drop(tokio::time::timeout(self.context.pace.recovery, ended).await);
    }

    /// A session that is here: if it has ended, the backend missed that.
    fn compare(&self, session: &Session) {
        if session.status().state.is_final() && !self.context.lately.knows(&session.id) {
            self.context.registry.report_again(session);
        }
    }
}

// === impl Lately ===

impl Lately {
    /// A list is asked for.
    fn begin(&self) {
        *self.0.lock() = Some(HashSet::new());
    }

    /// It is dealt with.
    fn end(&self) {
        *self.0.lock() = None;
    }

    pub(super) fn told(&self, id: &str) {
        if let Some(ids) = &mut *self.0.lock() {
            ids.insert(id.to_owned());
        }
    }

    fn knows(&self, id: &str) -> bool {
        self.0.lock().as_ref().is_some_and(|ids| ids.contains(id))
    }
}
