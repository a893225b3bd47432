//! What handlers share, and the rules that requests are held to.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use super::place::Places;
use super::ws::Sockets;
use crate::config::SharedSecrets;
use crate::driver::Conversations;
use crate::egress_policy::InstanceEgress;
use crate::session::Registry;
use crate::shutdown::Shutdown;
use crate::{egress, engine, socket_owner, workspace};

/// What handlers share. Cheap to clone.
#[derive(Clone, Debug)]
pub(crate) struct State {
    pub(crate) engine: engine::Handle,
    pub(crate) workspace: workspace::Watch,
    pub(crate) workspace_dir: PathBuf,
    pub(crate) secrets: SharedSecrets,
    pub(crate) shutdown: Shutdown,
    pub(crate) registry: Registry,
    pub(crate) conversations: Conversations,
    pub(crate) rules: Rules,
    pub(crate) egress: Egress,
    pub(crate) web: WebRules,
    pub(crate) socket_owners: socket_owner::Finder,
    pub(crate) sockets: Sockets,
    /// Connections of the main port.
    pub(crate) places: Places,
}

/// Of the network.
#[derive(Clone, Debug)]
pub(crate) struct Egress {
    /// What sessions may be given.
    pub(crate) policy: Arc<InstanceEgress>,
    /// What holds their tools to it. `None`: the network is open.
    pub(crate) proxy: Option<egress::Handle>,
}

/// What requests are held to.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Rules {
    pub(crate) max_body_bytes: usize,
    /// In characters.
    pub(crate) max_prompt: usize,
    /// Whether the provider `demo` may be used.
    pub(crate) demo: bool,
    /// Longest a turn may take.
    pub(crate) max_timeout: Duration,
    /// Whether browsers get the console.
    pub(crate) console: bool,
    /// Longest a drain may take.
    pub(crate) drain_timeout: Duration,
}

/// Which pages and which names are accepted beyond the rules.
#[derive(Clone, Debug, Default)]
pub(crate) struct WebRules {
    /// `CORS_ALLOW_ORIGINS`, as browsers write origins.
    pub(crate) allow_origins: Vec<String>,
    /// `ALLOWED_HOSTS`, in lower case.
    pub(crate) allowed_hosts: Vec<String>,
}

/// How a handler takes the state.
pub(super) type Shared = axum::extract::State<Arc<State>>;
