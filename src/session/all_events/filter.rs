//! Which events a reader of all wants. Pure.

use std::collections::BTreeSet;
use std::sync::Arc;

/// What a reader wants to see.
#[derive(Clone, Debug, Default)]
pub(crate) struct Filter {
    /// The ids of sessions; all, if there are none. They need not exist yet.
    pub(crate) sessions: Arc<BTreeSet<String>>,
    /// The types of events; all, if there are none.
    pub(crate) kinds: BTreeSet<String>,
    /// Also events that carry the model's reasoning.
    pub(crate) reasoning: bool,
}

// === impl Filter ===

impl Filter {
    pub(super) fn wants_session(&self, id: &str) -> bool {
        self.sessions.is_empty() || self.sessions.contains(id)
    }

    pub(super) fn wants_kind(&self, kind: &str) -> bool {
        self.kinds.is_empty() || self.kinds.contains(kind)
    }
}
