//! What all turns share.

use super::child_connection;
use super::config::Config;
use super::demux::Demux;
use super::overlap::RunningTurns;
use crate::session::Registry;
use crate::shutdown::Shutdown;
use crate::{egress, engine, gateway, workspace};

/// Cheap to clone.
#[derive(Clone, Debug)]
pub(super) struct Context {
    pub(super) config: Config,
    pub(super) connections: child_connection::Watch,
    pub(super) engine: engine::Handle,
    pub(super) workspace: workspace::Watch,
    pub(super) gateway: gateway::Handle,
    /// `None`: the network is open.
    pub(super) egress: Option<egress::Handle>,
    pub(super) demux: Demux,
    pub(super) running_turns: RunningTurns,
    pub(super) registry: Registry,
    pub(super) shutdown: Shutdown,
}

/// Waits until `problem` finds something wrong with the agent's directory, and returns what. Cancel-safe.
pub(super) async fn workspace_problem(
    workspace: &mut workspace::Watch,
    problem: fn(&workspace::Checked) -> Option<String>,
) -> String {
    let found = workspace.wait_for(|checked| problem(checked).is_some());
    match found.await.ok().and_then(|checked| problem(&checked)) {
        Some(problem) => problem,
        // The checks have ended, because the sidecar has all but ended.
        None => std::future::pending().await,
    }
}
