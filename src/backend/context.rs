//! What the two tasks of the module share.

use std::collections::HashSet;
use std::sync::Arc;

use parking_lot::Mutex;

use super::circuit_breaker::CircuitBreaker;
use super::client::Client;
use super::config::Timing;
use crate::session::Registry;

/// A cheap clone.
#[derive(Clone)]
pub(super) struct Context {
    pub(super) client: Client,
    pub(super) breaker: CircuitBreaker,
    pub(super) registry: Registry,
    pub(super) timing: Timing,
    pub(super) recent: RecentReports,
}

/// The sessions whose ends were reported since the backend's list was asked for: the list may be older than that.
/// `None` while no list is being read. A cheap clone.
#[derive(Clone, Debug, Default)]
pub(super) struct RecentReports(Arc<Mutex<Option<HashSet<String>>>>);

// === impl RecentReports ===

impl RecentReports {
    /// A list is asked for.
    pub(super) fn begin(&self) {
        *self.0.lock() = Some(HashSet::new());
    }

    /// The list is dealt with.
    pub(super) fn end(&self) {
        *self.0.lock() = None;
    }

    pub(super) fn insert(&self, id: &str) {
        if let Some(ids) = &mut *self.0.lock() {
            ids.insert(id.to_owned());
        }
    }

    pub(super) fn contains(&self, id: &str) -> bool {
        self.0.lock().as_ref().is_some_and(|ids| ids.contains(id))
    }
}
