//! What the writer does between groups: it keeps the files small.

use std::time::{Duration, Instant};

use super::super::retention::{self, Policy, Stepped};
use super::super::store::Store;
use super::super::store_error::StoreError;
use super::{Database, Writer};
use crate::clock::Timestamp;

/// How often it is looked for sessions that are too old.
const TIDY: Duration = Duration::from_secs(1);

/// How long room is made before a group is tried again.
const ROOM: Duration = Duration::from_millis(100);

/// A WAL that is so many times as long as it should be is cut off: a large group made it so, or readers
/// kept it from beginning anew.
const LONG_WAL: u64 = 4;

// === impl Writer ===

impl Writer {
    /// Retention while nothing can be written. For a moment only, then the group is tried again.
    pub(super) fn make_room(&mut self) -> Result<(), StoreError> {
        let end = Instant::now() + ROOM;
        loop {
            self.tidy()?;
            let now = Instant::now();
            if self.tidy_at > now || now >= end {
                return Ok(());
            }
        }
    }

    /// A step of retention, and the figures.
    pub(super) fn tidy(&mut self) -> Result<(), StoreError> {
        self.untidied = 0;
        self.tidy_at = Instant::now() + TIDY;
        let Database::Open(store) = &mut self.database else {
            return Ok(());
        };
        let shared = &self.shared;
        let stepped = shared.at_disk(|| {
            shorten_wal(store)?;
            let policy = Policy {
                max_bytes: self.config.max_bytes,
                retention: self.config.retention,
            };
            let now = Timestamp::now().as_millis();
            let busy = |number| shared.queue.is_waiting(number) || shared.pending.has(number);
            retention::step(store, policy, now, &busy, &shared.stats.removals)
        });
        let stepped = match stepped.map_err(StoreError::from) {
            Ok(stepped) => stepped,
            Err(store_error @ StoreError::Damaged(_)) => return Err(store_error),
            Err(store_error) => {
                // No harm done: what cannot be removed now goes later.
                tracing::debug!(reason = %store_error, "retention could not work");
                Stepped::default()
            }
        };
        if stepped.more {
            self.tidy_at = Instant::now();
        }
        let size = store.size()?;
        // Before the figures' lock: who has the pending list may want to count.
        let lost = shared.pending.take_lost();
        shared.stats.count(|figures| {
            figures.bytes = size.used + size.wal;
            figures.removed += stepped.removed;
            figures.lost += lost;
        });
        self.tell_untold();
        Ok(())
    }

    fn tell_untold(&mut self) {
        let removals = &self.shared.stats.removals;
        while !self.untold.is_empty() {
            let Ok(permit) = removals.try_reserve() else {
                if removals.is_closed() {
                    self.untold.clear();
                }
                return;
            };
            if let Some(removed) = self.untold.pop() {
                permit.send(removed);
            }
        }
    }
}

/// Before anything else: what the WAL takes must not cost a session its place.
fn shorten_wal(store: &Store) -> rusqlite::Result<()> {
    if store.size()?.wal > LONG_WAL * store.wal_limit() {
        store.truncate_wal()?;
    }
    Ok(())
}
