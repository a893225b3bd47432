//! What the writer does between groups to keep the files small.

use std::time::{Duration, Instant};

use super::super::retention::{self, Policy, Stepped};
use super::super::store::Store;
use super::super::store_error::StoreError;
use super::{Database, Writer};
use crate::clock::Timestamp;

/// How often it is checked whether sessions are too old.
const INTERVAL: Duration = Duration::from_secs(1);

/// How long space is made before a group is tried again.
const MAKE_SPACE: Duration = Duration::from_millis(100);

/// A WAL that is so many times as long as it should be is truncated: a large group made it so, or readers kept it from
/// beginning anew.
const LONG_WAL: u64 = 4;

// === impl Writer ===

impl Writer {
    /// Retention while nothing can be written, because the disk may be full of what can be removed. It takes a moment
    /// only, then the group is tried again.
    pub(super) fn make_space(&mut self) -> Result<(), StoreError> {
        let end = Instant::now() + MAKE_SPACE;
        loop {
            self.maintain()?;
            let now = Instant::now();
            if self.maintain_at > now || now >= end {
                return Ok(());
            }
        }
    }

    /// One step of retention, and the figures.
    pub(super) fn maintain(&mut self) -> Result<(), StoreError> {
        self.bytes_since_maintenance = 0;
        self.maintain_at = Instant::now() + INTERVAL;
        let Database::Open(store) = &mut self.database else {
            return Ok(());
        };
        let shared = &self.shared;
        let stepped = shared.writer_state.at_disk(|| {
            shorten_wal(store)?;
            let policy = Policy {
                max_bytes: self.config.max_bytes,
                retention: self.config.retention,
            };
            let now = Timestamp::now().as_millis();
            let is_busy = |number| !shared.queue.is_written(number);
            retention::step(store, policy, now, &is_busy, &shared.stats.removals)
        });
        let stepped = match stepped.map_err(StoreError::from) {
            Ok(stepped) => stepped,
            Err(error @ StoreError::Damaged(_)) => return Err(error),
            Err(error) => {
                // What cannot be removed now is removed later.
                tracing::debug!(reason = %error, "retention could not work");
                Stepped::default()
            }
        };
        if let Some(oldest) = stepped.order_oldest {
            shared.order.forget_before(oldest);
        }
        if stepped.more {
            self.maintain_at = Instant::now();
        }
        let size = shared.writer_state.at_disk(|| store.size())?;
        let lost = shared.queue.take_lost();
        shared.stats.count(|figures| {
            figures.bytes = size.used + size.wal;
            figures.removed += stepped.removed;
            figures.lost += lost;
        });
        self.announce_removed();
        Ok(())
    }

    /// Announces sessions that an earlier process removed, as far as the queue has room.
    fn announce_removed(&mut self) {
        let removals = &self.shared.stats.removals;
        while !self.unannounced.is_empty() {
            let Ok(permit) = removals.try_reserve() else {
                if removals.is_closed() {
                    self.unannounced.clear();
                }
                return;
            };
            if let Some(removed) = self.unannounced.pop() {
                permit.send(removed);
            }
        }
    }
}

/// Before retention: what the WAL takes must not cost a session its place.
fn shorten_wal(store: &Store) -> rusqlite::Result<()> {
    if store.size()?.wal > LONG_WAL * store.wal_limit {
        store.truncate_wal()?;
    }
    Ok(())
}
