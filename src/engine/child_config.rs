//! What `app` gives the engine to tell each child.

use std::fmt;
use std::sync::Arc;

use crate::secret::Secret;

/// What a child is told that nobody else may know. Made anew for every start.
#[derive(Debug)]
pub(crate) struct ChildConfig {
    /// OpenCode's configuration, whole.
    pub(crate) configuration: Secret,
    /// What stands in it that must not show in the child's output.
    pub(crate) token: Secret,
    /// The port of the egress proxy, and the key of its credentials.
    pub(crate) egress: Option<(u16, Secret)>,
}

/// Makes the configuration of each child. What it says is not the engine's business.
#[derive(Clone)]
pub(crate) struct ChildConfigs(Arc<dyn Fn() -> ChildConfig + Send + Sync>);

// === impl ChildConfigs ===

impl ChildConfigs {
    pub(crate) fn new(make: impl Fn() -> ChildConfig + Send + Sync + 'static) -> Self {
        Self(Arc::new(make))
    }

    pub(super) fn next(&self) -> ChildConfig {
        (self.0)()
    }
}

impl fmt::Debug for ChildConfigs {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ChildConfigs")
    }
}
