//! The thread that writes.
//!
//! ```text
//! open -> wait for drafts -> write them as one group -> readers see it -> a step of retention -> wait ...
//!                                |
//!                                +-- fails --> degraded: tried again with growing delays
//! ```
//!
//! While a group is written, drafts gather in the queue and become the next group.

mod maintenance;

use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use super::config::{Config, Tuning};
use super::marker::Marker;
use super::queue::End;
use super::row::Removed;
use super::shared::Shared;
use super::stats::Health;
use super::store::Store;
use super::store_error::{StoreError, probe_write};
use super::writer_cache::WriterCache;
use super::writer_state::Activity;
use super::{opening, quarantine};
use crate::metrics;

pub(super) struct Writer {
    shared: Arc<Shared>,
    config: Config,
    boot: String,
    checkpoint_pages: u32,
    database: Database,
    /// Removed by retention in an earlier process, which perhaps did not announce them.
    unannounced: Vec<Removed>,
    retry: Retry,
    maintain_at: Instant,
    bytes_since_maintenance: u64,
}

enum Database {
    /// It was never open.
    New,
    Open(Box<Store>),
    /// It was closed because of a fault; what was known of it is for the next one.
    Closed(WriterCache),
}

/// When to try again.
struct Retry {
    at: Instant,
    delay: Duration,
    least: Duration,
    most: Duration,
}

/// A group that is on disk.
struct Written {
    /// Nothing else was waiting when it was taken.
    is_all: bool,
    /// It reached the disk itself.
    synced: bool,
}

/// Tells the others how the thread ended.
struct OnExit(Arc<Shared>);

/// Maintenance also runs after this many bytes were written, so that a burst cannot outgrow the limit between two timer
/// ticks.
const MAINTENANCE_BYTES: u64 = 256 << 10;

/// How long a close tries again; whoever closes waits longer.
const CLOSE: Duration = Duration::from_secs(1);

// === impl Writer ===

impl Writer {
    pub(super) fn new(shared: Arc<Shared>, config: Config, boot: String, tuning: &Tuning) -> Self {
        let now = Instant::now();
        let (least, most) = tuning.retry;
        Self {
            shared,
            config,
            boot,
            checkpoint_pages: tuning.checkpoint_pages,
            database: Database::New,
            unannounced: Vec::new(),
            retry: Retry {
                at: now,
                delay: least,
                least,
                most,
            },
            maintain_at: now,
            bytes_since_maintenance: 0,
        }
    }

    /// Runs until the journal is closed, or its last handle is dropped.
    pub(super) fn run(mut self) {
        let on_exit = OnExit(Arc::clone(&self.shared));
        if self.serve() == End::Close {
            self.close();
        }
        self.shared.queue.close();
        // The files are closed before anybody is told of the end.
        drop(self);
        drop(on_exit);
    }

    fn serve(&mut self) -> End {
        loop {
            let until = if self.is_troubled() {
                self.retry.at
            } else if self.is_marked() {
                Instant::now()
            } else {
                self.maintain_at
            };
            if let Some(end) = self.shared.queue.wait(until) {
                return end;
            }
            self.on_requests();
            if (!self.is_troubled() || Instant::now() >= self.retry.at)
                && let Err(error) = self.work()
            {
                self.on_error(&error);
            }
        }
    }

    fn is_troubled(&self) -> bool {
        !matches!(self.database, Database::Open(_)) || self.shared.queue.is_degraded()
    }

    /// What other threads ask for besides writing.
    fn on_requests(&mut self) {
        #[cfg(test)]
        for probe in self.shared.queue.take_probes() {
            if let Database::Open(store) = &self.database {
                self.shared.writer_state.at_disk(|| probe(&store.conn));
            }
        }
        if self.shared.queue.take_damage() == Some(self.shared.readers.generation()) {
            self.on_error(&StoreError::Damaged(
                "a reader met a page that makes no sense".into(),
            ));
        }
    }

    /// Opens the database if necessary and writes one group.
    fn work(&mut self) -> Result<(), StoreError> {
        self.ensure_open()?;
        let is_degraded = self.shared.queue.is_degraded();
        if is_degraded {
            self.make_space()?;
        }
        let written = self.write_group(is_degraded || self.is_marked())?;
        // The watchdog may have degraded it meanwhile.
        if self.shared.queue.is_degraded() {
            return self.recover(&written);
        }
        if written.is_all && self.is_marked() {
            self.ensure_synced(&written)?;
            self.unmark()?;
        }
        let is_due = self.bytes_since_maintenance >= MAINTENANCE_BYTES;
        if is_due || Instant::now() >= self.maintain_at {
            self.maintain()?;
        }
        Ok(())
    }

    fn ensure_open(&mut self) -> Result<(), StoreError> {
        let (config, pages, shared) = (&self.config, self.checkpoint_pages, &self.shared);
        match &mut self.database {
            Database::Open(_) => {}
            Database::New => {
                let (marker, found) = shared.writer_state.at_disk(|| {
                    opening::make_dir(&config.dir)?;
                    let marker = Arc::new(Marker::open(&config.dir)?);
                    let found = opening::open(config, pages, &self.boot, &marker)?;
                    Ok::<_, StoreError>((marker, found))
                })?;
                self.unannounced = found.unannounced;
                self.database = Database::Open(Box::new(found.store));
                shared.marker.set(marker).ok();
                shared.order.open(found.order);
                shared.stats.set_opened(found.opened);
                shared
                    .queue
                    .unless_degraded(|| shared.stats.set_health(Health::Well));
            }
            Database::Closed(memory) => {
                let store = shared.writer_state.at_disk(|| {
                    let mut store = Store::open(&config.dir, pages)?;
                    store.restore_state(memory, &self.boot, &shared.order)?;
                    Ok::<_, StoreError>(store)
                })?;
                self.database = Database::Open(Box::new(store));
            }
        }
        Ok(())
    }

    /// Writes what waits, and lets readers see it.
    fn write_group(&mut self, synced: bool) -> Result<Written, StoreError> {
        let shared = &self.shared;
        let Database::Open(store) = &mut self.database else {
            return Err(StoreError::NeedsReopen("it is not open".into()));
        };
        let group = shared.queue.take_group();
        let mut written = Written {
            is_all: group.is_all,
            synced: false,
        };
        if group.drafts.is_empty() {
            return Ok(written);
        }
        written.synced = synced || group.drafts.iter().any(|pending| store.must_sync(pending));
        let write = || store.write(&group, written.synced);
        let begun = Instant::now();
        if let Err(error) = shared.writer_state.at_disk(write) {
            shared.queue.put_back(group.drafts);
            return Err(error.into());
        }
        metrics::journal::COMMIT.observe(begun.elapsed());
        shared.queue.commit();
        let (mut events, mut bytes) = (0, 0);
        for pending in &group.drafts {
            events += pending.draft.events();
            bytes += pending.frame_bytes() as u64;
        }
        self.bytes_since_maintenance += bytes;
        shared.stats.count(|figures| {
            figures.commits += 1;
            figures.synced += u64::from(written.synced);
            figures.events += events;
        });
        Ok(written)
    }

    /// A group was written while the journal was degraded: the disk takes writes again.
    fn recover(&mut self, written: &Written) -> Result<(), StoreError> {
        self.ensure_synced(written)?;
        // What still waits is written at once.
        self.retry.at = Instant::now();
        if written.is_all {
            self.retry.reset();
            if self.shared.queue.recover(&self.shared.stats) {
                self.unmark()?;
            }
        }
        Ok(())
    }

    fn is_marked(&self) -> bool {
        let marker = self.shared.marker.get();
        marker.is_some_and(|marker| marker.is_set())
    }

    /// Events will be shown that may never reach the disk.
    fn mark(&self) {
        let Some(marker) = self.shared.marker.get() else {
            return;
        };
        if let Err(error) = self.shared.writer_state.at_disk(|| marker.set(true)) {
            tracing::warn!(%error, "the journal's marker cannot be written");
        }
    }

    /// Everything that was shown from memory is on the disk itself. What was shown while the last group of the trouble
    /// was written came after that group was taken: so the marker is unset after a group that took all there was.
    fn unmark(&self) -> Result<(), StoreError> {
        let Some(marker) = self.shared.marker.get() else {
            return Ok(());
        };
        // The disk may have hung meanwhile, and then the watchdog set it again.
        self.shared.queue.unless_degraded(|| marker.want(false));
        Ok(self.shared.writer_state.at_disk(|| marker.write())?)
    }

    fn ensure_synced(&mut self, written: &Written) -> Result<(), StoreError> {
        if !written.synced
            && let Database::Open(store) = &mut self.database
        {
            self.shared.writer_state.at_disk(|| store.sync())?;
            self.shared.stats.count(|figures| figures.synced += 1);
        }
        Ok(())
    }

    fn on_error(&mut self, error: &StoreError) {
        let (shared, config) = (&self.shared, &self.config);
        let probe = || shared.writer_state.at_disk(|| probe_write(&config.dir));
        let diagnosed = error.diagnose(probe);
        let error = diagnosed.as_ref().unwrap_or(error);
        shared.stats.count(|figures| figures.failures += 1);
        // Before anything is shown that is not on disk.
        self.mark();
        let reason = error.to_string();
        shared.queue.degrade_if(&shared.stats, &reason, || true);
        let is_unusable = !matches!(error, StoreError::Full(_) | StoreError::Temporary(_));
        if is_unusable && let Database::Open(store) = &mut self.database {
            self.database = Database::Closed(std::mem::take(&mut store.memory));
        }
        let cleared = shared.writer_state.at_disk(|| match error {
            StoreError::Damaged(_) | StoreError::Newer(_) => {
                quarantine::move_aside(&config.dir, error, config.max_bytes)
            }
            StoreError::Full(_) => quarantine::remove_oldest(&config.dir),
            StoreError::NeedsReopen(_) | StoreError::Temporary(_) => Ok(()),
        });
        if let Err(error) = cleared {
            tracing::error!(%error, "the journal's damaged databases cannot be moved aside or removed");
        }
        if is_unusable {
            // Only now, because a reader that opened the database before it was moved has to open it again.
            shared.readers.reset();
        }
        self.retry.delay();
    }

    /// Writes what there is and marks the database as closed in good order, if it is.
    fn close(&mut self) {
        let give_up = Instant::now() + CLOSE;
        // However long it waited between the last tries.
        self.retry.reset();
        loop {
            self.on_requests();
            if matches!(self.database, Database::New) {
                return;
            }
            if let Err(error) = self.work() {
                self.on_error(&error);
                if self.retry.at > give_up {
                    return;
                }
                // There may be space by then, or it goes into a new database.
                thread::sleep(self.retry.at.saturating_duration_since(Instant::now()));
            } else if self.shared.queue.is_empty() && !self.is_troubled() && !self.is_marked() {
                break;
            }
        }
        // What comes from here on is not shown.
        self.shared.queue.close();
        self.shared.readers.close();
        // Not as a call that the watchdog watches: nothing can be shown from memory any more.
        if let Database::Open(store) = &mut self.database
            && let Err(error) = store.close()
        {
            tracing::warn!(%error, "the journal could not be closed in good order");
        }
    }
}

// === impl Retry ===

impl Retry {
    fn delay(&mut self) {
        self.at = Instant::now() + self.delay;
        self.delay = (self.delay * 2).min(self.most);
    }

    fn reset(&mut self) {
        self.delay = self.least;
    }
}

// === impl OnExit ===

impl Drop for OnExit {
    fn drop(&mut self) {
        if thread::panicking() {
            self.0.writer_state.set(Activity::Panicked);
        } else {
            self.0.readers.close();
            self.0.writer_state.set(Activity::Ended);
            self.0.stats.set_ended();
        }
    }
}
