//! The models, and with them the keys, that further turns of sessions may use. In memory only.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use crate::model::ModelSpec;

/// By the session's number. The lock of the sessions is round it.
#[derive(Debug, Default)]
pub(super) struct Credentials {
    kept: HashMap<u64, KeptModel>,
}

#[derive(Clone, Debug)]
pub(super) struct KeptModel {
    model: ModelSpec,
    /// Nothing while a turn runs or is to begin.
    until: Option<Instant>,
}

/// What was kept of a session's model before a turn.
#[derive(Clone, Debug)]
pub(super) enum KeptBefore {
    /// The turn calls no model and brought none, so it changed nothing.
    Unchanged,
    Nothing,
    Model(Box<KeptModel>),
}

/// Idle sessions whose model is kept. Beyond that the one that would go first goes early.
const MAX_IDLE: usize = 4096;

// === impl Credentials ===

impl Credentials {
    pub(super) fn get(&self, session: u64) -> Option<&ModelSpec> {
        self.kept.get(&session).map(|kept| &kept.model)
    }

    /// A turn with this model is to begin. Returns what was kept before it.
    pub(super) fn keep_while_running(
        &mut self,
        session: u64,
        model: ModelSpec,
    ) -> Option<KeptModel> {
        self.kept.insert(session, KeptModel { model, until: None })
    }

    /// The turn did not begin: what was kept before it is kept again.
    pub(super) fn restore(&mut self, session: u64, before: KeptModel) {
        self.kept.insert(session, before);
    }

    /// No turn runs or is about to begin: the model is kept for this long.
    pub(super) fn keep_for(&mut self, session: u64, retention: Duration, now: Instant) {
        if retention.is_zero() {
            self.remove(session);
        } else if let Some(kept) = self.kept.get_mut(&session) {
            kept.until = Some(now + retention);
            self.bound();
        }
    }

    pub(super) fn remove(&mut self, session: u64) {
        self.kept.remove(&session);
    }

    pub(super) fn expire(&mut self, now: Instant) {
        self.kept
            .retain(|_, kept| kept.until.is_none_or(|until| now < until));
    }

    fn bound(&mut self) {
        let idle = self
            .kept
            .iter()
            .filter_map(|(session, kept)| Some((kept.until?, *session)));
        if idle.clone().count() > MAX_IDLE
            && let Some((_, first)) = idle.min()
        {
            self.remove(first);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::session::tests::model;

    #[test]
    fn a_model_is_kept_for_its_time_after_the_end_of_a_turn() {
        let (mut credentials, now) = (Credentials::default(), Instant::now());
        let hour = Duration::from_hours(1);
        assert!(credentials.keep_while_running(1, model()).is_none());
        credentials.expire(now + hour * 9);
        assert!(credentials.get(1).is_some(), "its turn runs");
        credentials.keep_for(1, hour, now);
        credentials.expire(now + hour.checked_sub(Duration::from_millis(1)).unwrap());
        assert!(credentials.get(1).is_some());
        credentials.expire(now + hour);
        assert!(credentials.get(1).is_none());
        credentials.keep_while_running(2, model());
        credentials.keep_for(2, Duration::ZERO, now);
        assert!(credentials.get(2).is_none(), "nothing is to be kept");
    }

    #[test]
    fn a_turn_that_did_not_begin_changes_nothing() {
        let mut credentials = Credentials::default();
        credentials.keep_while_running(
            1,
            ModelSpec {
                name: "old".into(),
                ..model()
            },
        );
        let before = credentials.keep_while_running(1, model()).unwrap();
        credentials.restore(1, before);
        assert_eq!(credentials.get(1).unwrap().name, "old");
    }

    #[test]
    fn so_many_are_kept_and_the_one_that_would_go_first_goes_early() {
        let (mut credentials, now) = (Credentials::default(), Instant::now());
        for session in 0..=MAX_IDLE as u64 {
            credentials.keep_while_running(session, model());
            let later = now + Duration::from_millis(session);
            credentials.keep_for(session, Duration::from_mins(1), later);
        }
        assert!(credentials.get(0).is_none() && credentials.get(1).is_some());
    }
}
