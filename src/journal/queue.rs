//! What waits for the writer: drafts of sessions, and requests of other threads.
//!
//! Whoever has something new hands it over here, and it stays until it is on disk. A session does so while it holds the
//! lock of its log, so nothing of a session may be called under this lock but its [`Watermark`].
//!
//! While nothing can be written (`degraded`), what is handed over is shown at once, and memory is bounded: what is
//! kept past the limit becomes a hole, the oldest first. Readers are told of holes. Rows cannot become holes; when they
//! take half of the limit, no further session may begin ([`Queue::is_full`]).

use std::sync::Arc;
use std::time::Instant;

use parking_lot::{Condvar, Mutex};
use tokio::sync::watch;

use super::draft::Draft;
use super::order::Order;
use super::pending::{Group, Pending, PendingList};
use super::stats::{Health, Stats};
use super::watermark::{Appended, Watermark};
use crate::locks::Lock;

pub(super) struct Queue {
    state: Mutex<State>,
    /// Wakes the writer.
    news: Condvar,
    /// The most that is kept while nothing can be written.
    limit: usize,
    /// In which order events are shown.
    order: Arc<Order>,
    /// Changes with each group that was written, and when writing begins to fail.
    progress_tx: watch::Sender<()>,
}

#[derive(Default)]
struct State {
    pending: PendingList,
    /// Nothing can be written: events are shown from memory.
    degraded: bool,
    /// A reader met a damaged page, in the database of this generation.
    damaged: Option<u64>,
    end: Option<End>,
    /// Nothing is taken any more.
    closed: bool,
    is_writer_waiting: bool,
    #[cfg(test)]
    probes: Vec<Probe>,
}

/// How the writer is to end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum End {
    /// In good order.
    Close,
    /// As if the process had died.
    Abandon,
}

/// Something that a test does with the writer's connection.
#[cfg(test)]
pub(super) type Probe = Box<dyn FnOnce(&rusqlite::Connection) + Send>;

// === impl Queue ===

impl Queue {
    pub(super) fn new(limit: usize, order: Arc<Order>) -> Self {
        Self {
            state: Mutex::default(),
            news: Condvar::new(),
            limit,
            order,
            progress_tx: watch::Sender::new(()),
        }
    }

    // --- for sessions and readers ---

    /// Takes what a session has, and says to its watermark how far the log is now. Never waits for the disk.
    pub(super) fn append(
        &self,
        number: u64,
        watermark: &Arc<Watermark>,
        appended: Appended,
        draft: Draft,
    ) {
        let mut state = self.state.lock();
        // Under the lock: what `degrade_if` shows is in the list then, and counts as not written.
        watermark.append(appended);
        if state.closed || draft.is_empty() {
            return;
        }
        let degraded = state.degraded;
        let pending = state.pending.add(number, watermark, draft);
        let position = degraded.then(|| place(&self.order, pending)).flatten();
        if degraded {
            // The writer comes again by itself.
            state.pending.shrink(self.limit);
        } else {
            self.wake_writer(&state);
        }
        drop(state);
        if degraded {
            watermark.show_appended();
        }
        if let Some(position) = position {
            self.order.publish(position);
        }
    }

    /// Whether everything that this session handed over is on disk.
    pub(super) fn is_written(&self, number: u64) -> bool {
        !self.state.lock().pending.has(number)
    }

    /// Waits until that is so, or nothing can be written, or nothing is taken any more.
    pub(super) async fn written(&self, number: u64) {
        let mut progress_rx = self.progress_tx.subscribe();
        let is_over = || {
            let state = self.state.lock();
            state.degraded || state.closed || !state.pending.has(number)
        };
        while !is_over() {
            if progress_rx.changed().await.is_err() {
                return;
            }
        }
    }

    pub(super) fn lock(&self) -> &dyn Lock {
        &self.state
    }

    /// Nothing can be written, and what cannot become a hole takes half of the limit.
    pub(super) fn is_full(&self) -> bool {
        let state = self.state.lock();
        state.degraded && state.pending.is_full(self.limit)
    }

    pub(super) fn report_damage(&self, generation: u64) {
        let mut state = self.state.lock();
        state.damaged = Some(generation);
        self.wake_writer(&state);
    }

    pub(super) fn end(&self, end: End) {
        let mut state = self.state.lock();
        // The death of the last handle after a close changes nothing.
        state.end.get_or_insert(end);
        self.wake_writer(&state);
    }

    #[cfg(test)]
    pub(super) fn probe(&self, probe: Probe) {
        let mut state = self.state.lock();
        state.probes.push(probe);
        self.wake_writer(&state);
    }

    fn wake_writer(&self, state: &State) {
        if state.is_writer_waiting {
            self.news.notify_one();
        }
    }

    // --- for the writer ---

    /// Waits for something to do, at most until then. Returns how to end, if that is what is to be done.
    pub(super) fn wait(&self, until: Instant) -> Option<End> {
        let mut state = self.state.lock();
        while state.end.is_none() && !state.has_work() && Instant::now() < until {
            state.is_writer_waiting = true;
            self.news.wait_until(&mut state, until);
            state.is_writer_waiting = false;
        }
        state.end
    }

    pub(super) fn take_damage(&self) -> Option<u64> {
        self.state.lock().damaged.take()
    }

    #[cfg(test)]
    pub(super) fn take_probes(&self) -> Vec<Probe> {
        std::mem::take(&mut self.state.lock().probes)
    }

    pub(super) fn take_group(&self) -> Group {
        let mut state = self.state.lock();
        let mut group = state.pending.take_group();
        group.entries = self.order.take(&mut group.drafts);
        group
    }

    /// The group is on disk: readers see it.
    pub(super) fn commit(&self) {
        let committed = self.state.lock().pending.commit();
        // Without the lock: waking readers takes a while.
        committed.for_each(|(watermark, last)| watermark.commit(last));
        self.order.commit();
        self.progress_tx.send_replace(());
    }

    /// The group is not on disk.
    pub(super) fn put_back(&self, group: Vec<Pending>) {
        let mut state = self.state.lock();
        state.pending.put_back(group);
        self.order.put_back();
    }

    pub(super) fn is_empty(&self) -> bool {
        self.state.lock().pending.is_empty()
    }

    pub(super) fn take_lost(&self) -> u64 {
        self.state.lock().pending.take_lost()
    }

    /// From now on nothing is taken, and what waits is dropped.
    pub(super) fn close(&self) {
        let mut state = self.state.lock();
        state.closed = true;
        state.pending = PendingList::default();
        drop(state);
        self.progress_tx.send_replace(());
    }

    // --- degraded or not ---

    pub(super) fn is_degraded(&self) -> bool {
        self.state.lock().degraded
    }

    /// Does something that nobody can degrade the journal in the middle of.
    pub(super) fn unless_degraded(&self, then: impl FnOnce()) {
        let state = self.state.lock();
        if !state.degraded {
            then();
        }
    }

    /// Nothing can be written, if that is still so: readers are shown everything from memory.
    ///
    /// The health changes under the lock, so that it is never older than what is shown.
    pub(super) fn degrade_if(
        &self,
        journal_stats: &Stats,
        reason: &str,
        holds: impl FnOnce() -> bool,
    ) {
        let mut state = self.state.lock();
        if !holds() {
            return;
        }
        state.degraded = true;
        journal_stats.set_health(Health::Degraded(reason.to_owned()));
        state
            .pending
            .watermarks()
            .for_each(Watermark::show_appended);
        // After those that are being written, which have their positions.
        let order = &self.order;
        state.pending.each_waiting(|pending| {
            place(order, pending);
        });
        order.publish_all();
        state.pending.shrink(self.limit);
        drop(state);
        self.progress_tx.send_replace(());
    }

    /// The disk takes writes again: what comes from now on is shown when it is on disk. Returns whether all that was
    /// shown from memory is written.
    pub(super) fn recover(&self, journal_stats: &Stats) -> bool {
        let mut state = self.state.lock();
        state.degraded = false;
        journal_stats.set_health(Health::Well);
        state.pending.is_empty()
    }
}

/// Gives positions to what is shown now. Returns the last one, if any was given.
fn place(order: &Order, pending: &mut Pending) -> Option<u64> {
    let (first, last) = pending.unplaced()?;
    let position = order.place(pending.number, first, last)?;
    pending.set_placed();
    Some(position)
}

// === impl State ===

impl State {
    fn has_work(&self) -> bool {
        #[cfg(test)]
        if !self.probes.is_empty() {
            return true;
        }
        self.damaged.is_some() || (!self.degraded && !self.pending.is_empty())
    }
}
