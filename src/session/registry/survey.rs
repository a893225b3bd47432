//! The sessions as somebody finds them who may not wait for a lock, and the locks that would make him wait.

use std::sync::Arc;
use std::time::Instant;

use serde::Serialize;
use utoipa::ToSchema;

use super::Registry;
use crate::journal::Journal;
use crate::locks::{self, Named};
use crate::session::record::Session;

/// A lock that was not free in time.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
pub(crate) struct HeldLock {
    pub(crate) name: &'static str,
    /// Whose it is; null: the whole process's.
    pub(crate) session_id: Option<String>,
}

/// What was found.
#[derive(Debug, Default)]
pub(crate) struct Survey {
    /// `None`: the lock of the map is held.
    pub(crate) sessions: Option<Vec<Arc<Session>>>,
    pub(crate) held: Vec<HeldLock>,
}

/// The lock of the map of sessions.
const MAP: &str = "sessions";

// === impl Registry ===

impl Registry {
    /// Tries the locks of the sessions, of their logs and of the journal until `deadline`. Blocks until then if one is held.
    pub(crate) fn survey(&self, deadline: Instant) -> Survey {
        let mut held = Vec::new();
        let mut add = |locks: &[Named<'_>], session: Option<&Session>| {
            let found = locks::held(locks, deadline).into_iter();
            held.extend(found.map(|(name, _)| HeldLock {
                name,
                session_id: session.map(|session| session.id.clone()),
            }));
        };
        add(&[("log_memory", self.shared.budget.lock())], None);
        add(&[("journal_order", self.shared.order.lock())], None);
        if let Some(journal) = &self.shared.journal {
            add(&Journal::locks(journal), None);
        }
        let sessions = self.shared.sessions.all_by(deadline);
        for session in sessions.iter().flatten() {
            add(&session.locks(), Some(session));
        }
        if sessions.is_none() {
            held.push(HeldLock {
                name: MAP,
                session_id: None,
            });
        }
        Survey { sessions, held }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio_util::sync::CancellationToken;

    use super::*;
    use crate::session::config::Config;

    fn survey(registry: &Registry) -> Survey {
        registry.survey(Instant::now() + Duration::from_millis(30))
    }

    fn lock(name: &'static str, session: Option<&str>) -> HeldLock {
        HeldLock {
            name,
            session_id: session.map(str::to_owned),
        }
    }

    #[tokio::test]
    async fn locks_that_are_held_are_named_and_not_waited_for() {
        let config = Config {
            most: 4,
            retention: Duration::from_mins(1),
            keep_prompts: true,
            credential_retention: Duration::from_hours(1),
            tells_ends: true,
        };
        let (registry, _receivers) = Registry::new(config, None, CancellationToken::new());
        for id in ["one", "two"] {
            registry
                .admit(crate::session::tests::request(id))
                .map(drop)
                .unwrap();
        }
        let found = survey(&registry);
        assert_eq!((found.sessions.unwrap().len(), found.held), (2, vec![]));

        let two = registry.in_memory();
        let two = two.into_iter().find(|session| session.id == "two").unwrap();
        let queue = two.queue.lock();
        let found = survey(&registry);
        assert_eq!(found.sessions.unwrap().len(), 2);
        assert_eq!(found.held, [lock("queue", Some("two"))]);
        drop(queue);

        let map = registry.shared.sessions.lock();
        let found = survey(&registry);
        assert!(found.sessions.is_none());
        assert_eq!(found.held, [lock("sessions", None)]);
        drop(map);
        assert_eq!(survey(&registry).held, []);
    }
}
