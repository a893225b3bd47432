//! What every call of the gateway needs.

use std::sync::Arc;

use parking_lot::Mutex;

use super::config::Config;
use super::merge_window::MergeWindow;
use super::request_body::BodyReader;
use super::routes::Routes;
use super::upstream::Providers;
use crate::secret::Secret;

#[derive(Debug)]
pub(super) struct Shared {
    pub(super) config: Config,
    /// The present child's bearer; there is none before the first child.
    pub(super) token: Mutex<Option<Secret>>,
    pub(super) routes: Arc<Routes>,
    pub(super) merge_window: MergeWindow,
    pub(super) request_body: BodyReader,
    pub(super) providers: Providers,
}

// === impl Shared ===

impl Shared {
    pub(super) fn token(&self) -> Option<Secret> {
        self.token.lock().clone()
    }
}
