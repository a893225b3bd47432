//! What all connections share.

use std::sync::Arc;

use tokio::sync::Semaphore;

use super::sessions::Sessions;
use super::target::Targets;
use crate::egress_policy::InstanceEgress;

#[derive(Debug)]
pub(super) struct Shared {
    pub(super) instance: Arc<InstanceEgress>,
    pub(super) sessions: Arc<Sessions>,
    pub(super) targets: Targets,
    pub(super) tunnels: Arc<Semaphore>,
}
