//! What a caller calls a session, for its own use.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

/// The agent knows nothing of it, and it means nothing here.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct Labels {
    pub(crate) title: Option<String>,
    pub(crate) metadata: Option<Map<String, Value>>,
}

/// What is to change of them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct LabelChange {
    pub(crate) title: Change<String>,
    pub(crate) metadata: Change<Map<String, Value>>,
}

/// What is to become of one label.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) enum Change<T> {
    #[default]
    Keep,
    Remove,
    Set(T),
}

// === impl Labels ===

impl Labels {
    pub(super) fn change(&mut self, change: LabelChange) {
        change.title.apply(&mut self.title);
        change.metadata.apply(&mut self.metadata);
    }
}

// === impl Change ===

impl<T> Change<T> {
    fn apply(self, label: &mut Option<T>) {
        match self {
            Self::Keep => {}
            Self::Remove => *label = None,
            Self::Set(value) => *label = Some(value),
        }
    }
}
