//! What the handles on the journal and its two threads share.

use std::sync::{Arc, OnceLock};

use super::config::{Config, Tuning};
use super::marker::Marker;
use super::order::Order;
use super::queue::Queue;
use super::readers::Readers;
use super::stats::Stats;
use super::writer_state::WriterState;

pub(super) struct Shared {
    pub(super) queue: Arc<Queue>,
    pub(super) order: Arc<Order>,
    pub(super) stats: Arc<Stats>,
    pub(super) readers: Arc<Readers>,
    pub(super) writer_state: WriterState,
    /// There once the directory of the database is.
    pub(super) marker: OnceLock<Arc<Marker>>,
}

// === impl Shared ===

impl Shared {
    pub(super) fn new(config: &Config, tuning: &Tuning) -> Self {
        let order = Arc::new(Order::for_journal());
        let queue = Arc::new(Queue::new(tuning.kept_bytes, Arc::clone(&order)));
        let stats = Arc::new(Stats::new());
        Self {
            readers: Arc::new(Readers::new(
                &config.dir,
                Arc::clone(&queue),
                Arc::clone(&stats),
            )),
            queue,
            order,
            stats,
            writer_state: WriterState::default(),
            marker: OnceLock::new(),
        }
    }
}
