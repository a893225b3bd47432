//! The thread that writes.
//!
//! ```text
//! open -> wait for news -> gather -> write the group -> committed -> a step of retention -> wait ...
//!                                          |
//!                                          +-- fails --> degraded: tried again with growing delays
//! ```
//!
//! While a group is written the next one gathers by itself: sources that have news wait in the queue.

mod tidy;

use std::collections::BTreeSet;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use super::marker::Marker;
use super::memory::Memory;
use super::queue::{Call, End};
use super::store::Store;
use super::store_error::{StoreError, try_to_write};
use super::{Config, Removed, Shared, Tuning, opening, quarantine};

pub(super) struct Writer {
    shared: Arc<Shared>,
    config: Config,
    boot: String,
    checkpoint_pages: u32,
    database: Database,
    /// Not yet done.
    forget: BTreeSet<u64>,
    /// Removed by retention in an earlier life, of which nobody may have been told.
    untold: Vec<Removed>,
    retry: Retry,
    /// When to look for what is to be removed.
    tidy_at: Instant,
    /// Bytes written since that was last done.
    untidied: u64,
    /// All that was in the queue is in the group that is written next.
    took_all: bool,
}

enum Database {
    /// It was never open.
    New,
    Open(Box<Store>),
    /// It was closed because of a fault; what it knew is for the next one.
    Closed(Memory),
}

/// When to try again.
struct Retry {
    at: Instant,
    delay: Duration,
    least: Duration,
    most: Duration,
}

/// If the writer panics, the watchdog takes over at once: readers are shown events from memory.
struct DeadMan(Arc<Shared>);

/// After so many bytes the size is looked at without waiting for that.
const UNTIDIED: u64 = 256 << 10;

/// How long a close tries again; whoever closes waits longer.
const CLOSE: Duration = Duration::from_secs(1);

// === impl Writer ===

impl Writer {
    pub(super) fn new(shared: Arc<Shared>, config: Config, boot: String, tuning: &Tuning) -> Self {
        let now = Instant::now();
        Self {
            shared,
            config,
            boot,
            checkpoint_pages: tuning.checkpoint_pages,
            database: Database::New,
            forget: BTreeSet::new(),
            untold: Vec::new(),
            retry: Retry {
                at: now,
                delay: tuning.retry.0,
                least: tuning.retry.0,
                most: tuning.retry.1,
            },
            tidy_at: now,
            untidied: 0,
            took_all: false,
        }
    }

    /// Runs until the journal is closed, or nobody has it any more.
    pub(super) fn run(mut self) {
        let guard = DeadMan(Arc::clone(&self.shared));
        let end = self.serve();
        if end == End::Close {
            self.close();
        }
        self.shared.queue.refuse();
        drop(self);
        drop(guard);
    }

    fn serve(&mut self) -> End {
        loop {
            let until = if self.is_troubled() {
                self.retry.at
            } else if self.is_marked() {
                Instant::now()
            } else {
                self.tidy_at
            };
            match self.shared.queue.wait(until) {
                Call::End(end) => return end,
                Call::News | Call::Time => {}
            }
            self.hear();
            if !self.is_troubled() || Instant::now() >= self.retry.at {
                self.work();
            }
        }
    }

    fn is_troubled(&self) -> bool {
        !matches!(self.database, Database::Open(_)) || self.shared.pending.is_degraded()
    }

    /// Everything but writing: so that sources that come while nothing can be written are told.
    fn hear(&mut self) {
        let queue = &self.shared.queue;
        self.forget.extend(queue.take_forgotten());
        #[cfg(test)]
        for probe in queue.take_probes() {
            if let Database::Open(store) = &self.database {
                self.shared.at_disk(|| probe(&store.conn));
            }
        }
        if queue.take_damage() == Some(self.shared.readers.generation()) {
            self.fail(&StoreError::Damaged(
                "a reader met a page that makes no sense".into(),
            ));
        }
        let takes = self.shared.pending.is_degraded() || matches!(self.database, Database::Open(_));
        self.took_all = takes && self.shared.pending.gather(&self.shared.queue);
    }

    fn work(&mut self) {
        if let Err(store_error) = self.try_work() {
            self.fail(&store_error);
        }
    }

    fn try_work(&mut self) -> Result<(), StoreError> {
        self.ensure_open()?;
        self.forget()?;
        let troubled = self.shared.pending.is_degraded();
        if troubled {
            // The disk may be full of what may go.
            self.make_room()?;
        }
        let synced = self.write_group(troubled || self.is_marked())?;
        if self.shared.pending.is_degraded() {
            return self.recover(synced);
        }
        if self.is_marked() && self.took_all {
            self.ensure_synced(synced)?;
            self.unmark()?;
        }
        if self.untidied >= UNTIDIED || Instant::now() >= self.tidy_at {
            self.tidy()?;
        }
        Ok(())
    }

    fn ensure_open(&mut self) -> Result<(), StoreError> {
        let (dir, pages) = (&self.config.dir, self.checkpoint_pages);
        match &mut self.database {
            Database::Open(_) => {}
            Database::New => {
                let (marker, store, opened) = self.shared.at_disk(|| {
                    opening::make_dir(dir)?;
                    let marker = match self.shared.marker.get() {
                        Some(marker) => Arc::clone(marker),
                        None => Arc::new(Marker::open(dir)?),
                    };
                    let found = opening::open(&self.config, pages, &self.boot, &marker)?;
                    Ok::<_, StoreError>((marker, found.store, found.opened))
                })?;
                self.untold = opening::untold(&store.conn)?;
                self.database = Database::Open(Box::new(store));
                self.shared.marker.set(marker).ok();
                self.shared.stats.set_opened(opened);
                self.shared.pending.start(&self.shared.stats);
            }
            Database::Closed(memory) => {
                let store = self.shared.at_disk(|| {
                    let mut store = Store::open(dir, pages)?;
                    store.inherit(memory, &self.boot)?;
                    Ok::<_, StoreError>(store)
                })?;
                self.database = Database::Open(Box::new(store));
            }
        }
        Ok(())
    }

    fn forget(&mut self) -> Result<(), StoreError> {
        let Database::Open(store) = &mut self.database else {
            return Ok(());
        };
        if !self.forget.is_empty() {
            self.shared.at_disk(|| store.forget(&self.forget))?;
            self.forget.clear();
            self.tidy_at = Instant::now();
        }
        Ok(())
    }

    /// Writes what was gathered, and says whether it was synced.
    fn write_group(&mut self, synced: bool) -> Result<bool, StoreError> {
        let Database::Open(store) = &mut self.database else {
            return Ok(false);
        };
        let group = self.shared.pending.depart();
        if group.is_empty() {
            return Ok(false);
        }
        let synced = synced || group.iter().any(|pending| store.must_sync(pending));
        let start = Instant::now();
        if let Err(error) = self.shared.at_disk(|| store.write(&group, synced)) {
            self.shared.pending.came_back(group);
            return Err(error.into());
        }
        let time = start.elapsed();
        let events = group.iter().map(|pending| pending.draft.events()).sum();
        self.untidied += group
            .iter()
            .map(|pending| pending.frame_bytes() as u64)
            .sum::<u64>();
        self.shared.stats.count(|figures| {
            figures.commits += 1;
            figures.synced += u64::from(synced);
            figures.events += events;
            figures.group_events = events;
            figures.group_time = time;
        });
        self.shared.pending.arrived();
        Ok(synced)
    }

    /// The disk takes writes again.
    fn recover(&mut self, synced: bool) -> Result<(), StoreError> {
        self.ensure_synced(synced)?;
        // If more came in: at once again.
        self.retry.at = Instant::now();
        if self.shared.pending.recover(&self.shared.stats) {
            // What is shown from memory and not on disk is in the queue by now.
            if self.shared.queue.is_empty() {
                self.unmark()?;
            }
            self.retry.succeeded();
        }
        Ok(())
    }

    fn is_marked(&self) -> bool {
        let marker = self.shared.marker.get();
        marker.is_some_and(|marker| marker.is_set())
    }

    /// The marker goes when everything that was shown from memory is on the disk itself. What sources had
    /// while the last group of the trouble was written was shown too, and was in the queue when that was
    /// over: so it goes after a group that began with all of the queue.
    fn unmark(&self) -> Result<(), StoreError> {
        let Some(marker) = self.shared.marker.get() else {
            return Ok(());
        };
        // The disk may have hung in the middle of that, and the watchdog set it again.
        self.shared.pending.unless_degraded(|| marker.want(false));
        Ok(self.shared.at_disk(|| marker.settle())?)
    }

    fn ensure_synced(&mut self, synced: bool) -> Result<(), StoreError> {
        if !synced && let Database::Open(store) = &mut self.database {
            self.shared.at_disk(|| store.sync())?;
            self.shared.stats.count(|figures| figures.synced += 1);
        }
        Ok(())
    }

    fn fail(&mut self, store_error: &StoreError) {
        let dir = &self.config.dir;
        let looked = store_error.looked_at(|| self.shared.at_disk(|| try_to_write(dir)));
        let store_error = looked.as_ref().unwrap_or(store_error);
        self.shared.stats.count(|figures| figures.failures += 1);
        // Before anything is shown that is not on disk.
        self.mark();
        self.shared
            .pending
            .degrade(&self.shared.stats, &store_error.to_string());
        let is_unfit = !matches!(store_error, StoreError::Full(_) | StoreError::Trouble(_));
        if is_unfit && let Database::Open(store) = &mut self.database {
            self.database = Database::Closed(std::mem::take(&mut store.memory));
        }
        self.make_way(store_error);
        if is_unfit {
            // Only now: who opens it until it is out of the way is one of the old readers.
            self.shared.readers.turn_over();
        }
        self.retry.failed();
    }

    /// Moves a database that cannot be used out of the way, or gives up an earlier one for its room.
    fn make_way(&self, store_error: &StoreError) {
        let Config { dir, max_bytes, .. } = &self.config;
        let done = self.shared.at_disk(|| match store_error {
            StoreError::Damaged(_) | StoreError::Newer(_) => {
                quarantine::put(dir, store_error, *max_bytes)
            }
            StoreError::Full(_) => quarantine::give_up_oldest(dir),
            StoreError::NeedsReopen(_) | StoreError::Trouble(_) => Ok(()),
        });
        if let Err(error) = done {
            tracing::error!(%error, "the journal's damaged databases cannot be moved aside or removed");
        }
    }

    fn mark(&self) {
        let Some(marker) = self.shared.marker.get() else {
            return;
        };
        if let Err(error) = self.shared.at_disk(|| marker.set(true)) {
            tracing::warn!(%error, "the journal's marker cannot be written");
        }
    }

    /// Writes what there is and marks the database as closed in good order, if it is.
    fn close(&mut self) {
        let give_up = Instant::now() + CLOSE;
        // However long it waited between the last ones.
        self.retry.succeeded();
        loop {
            self.hear();
            if matches!(self.database, Database::New) {
                return;
            }
            if let Err(store_error) = self.try_work() {
                self.fail(&store_error);
                if self.retry.at > give_up {
                    return;
                }
                // There may be room by then, or it goes into a new database.
                thread::sleep(self.retry.at.saturating_duration_since(Instant::now()));
                continue;
            }
            let is_all_written = self.took_all && self.shared.pending.is_empty();
            if is_all_written && !self.is_troubled() && !self.is_marked() {
                break;
            }
        }
        // What comes to a source from here on is not shown.
        self.shared.queue.refuse();
        self.shared.readers.close();
        if let Database::Open(store) = &mut self.database
            && let Err(error) = self.shared.at_disk(|| store.close())
        {
            tracing::warn!(%error, "the journal could not be closed in good order");
        }
    }
}

// === impl Retry ===

impl Retry {
    fn failed(&mut self) {
        self.at = Instant::now() + self.delay;
        self.delay = (self.delay * 2).min(self.most);
    }

    fn succeeded(&mut self) {
        self.delay = self.least;
    }
}

// === impl DeadMan ===

impl Drop for DeadMan {
    fn drop(&mut self) {
        if thread::panicking() {
            self.0.queue.set_dead();
        } else {
            self.0.readers.close();
            self.0.stats.set_ended();
        }
    }
}
