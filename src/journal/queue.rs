//! Who waits for the writer, and whether the writer is at the disk.
//!
//! One small lock that is never held while anything else is done: a session wakes the writer while it
//! holds its own lock, so nothing of a session may be called under this one.

use std::collections::{BTreeSet, HashSet, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::{Condvar, Mutex};

use super::Source;

#[derive(Default)]
pub(super) struct Queue {
    state: Mutex<State>,
    writer: Condvar,
    watchdog: Condvar,
}

#[derive(Default)]
struct State {
    /// Each source once, however often it was woken.
    sources: VecDeque<Arc<dyn Source>>,
    numbers: HashSet<u64>,
    forget: BTreeSet<u64>,
    /// A reader met a page that makes no sense, in the database of this generation.
    damaged: Option<u64>,
    end: Option<End>,
    /// The writer is at the disk, since then.
    busy: Option<Instant>,
    /// The writer panicked: it stays busy for ever.
    dead: bool,
    /// The writer does not answer, and the watchdog takes its sources.
    standing_in: bool,
    // Who waits, so that nobody is woken in vain.
    writer_waits: bool,
    watchdog_waits: bool,
    #[cfg(test)]
    probes: Vec<Probe>,
}

/// How the writer is to leave.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum End {
    /// In good order.
    Close,
    /// As if the process died.
    Abandon,
}

/// Why the writer woke.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Call {
    News,
    Time,
    End(End),
}

/// Something a test does on the writer's connection.
#[cfg(test)]
pub(super) type Probe = Box<dyn FnOnce(&rusqlite::Connection) + Send>;

// === impl Queue ===

impl Queue {
    pub(super) fn wake(&self, source: Arc<dyn Source>) {
        let mut state = self.state.lock();
        if state.end.is_none() && state.numbers.insert(source.number()) {
            state.sources.push_back(source);
            self.call(&state);
        }
    }

    pub(super) fn forget(&self, number: u64) {
        let mut state = self.state.lock();
        state.forget.insert(number);
        self.call(&state);
    }

    pub(super) fn report_damage(&self, generation: u64) {
        let mut state = self.state.lock();
        state.damaged = Some(generation);
        self.call(&state);
    }

    pub(super) fn end(&self, end: End) {
        let mut state = self.state.lock();
        // The death of the last handle after a close changes nothing.
        state.end.get_or_insert(end);
        self.writer.notify_one();
        self.watchdog.notify_one();
    }

    #[cfg(test)]
    pub(super) fn probe(&self, probe: Probe) {
        let mut state = self.state.lock();
        state.probes.push(probe);
        self.call(&state);
    }

    fn call(&self, state: &State) {
        if state.writer_waits {
            self.writer.notify_one();
        }
        if state.standing_in {
            self.watchdog.notify_one();
        }
    }

    // --- the writer ---

    /// Waits for something to do, at most until then.
    pub(super) fn wait(&self, until: Instant) -> Call {
        let mut state = self.state.lock();
        loop {
            if let Some(end) = state.end {
                return Call::End(end);
            }
            if state.has_news() {
                return Call::News;
            }
            if Instant::now() >= until {
                return Call::Time;
            }
            state.writer_waits = true;
            self.writer.wait_until(&mut state, until);
            state.writer_waits = false;
        }
    }

    pub(super) fn next_source(&self) -> Option<Arc<dyn Source>> {
        let mut state = self.state.lock();
        let source = state.sources.pop_front()?;
        state.numbers.remove(&source.number());
        Some(source)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.state.lock().sources.is_empty()
    }

    pub(super) fn is_waiting(&self, number: u64) -> bool {
        self.state.lock().numbers.contains(&number)
    }

    pub(super) fn take_forgotten(&self) -> BTreeSet<u64> {
        std::mem::take(&mut self.state.lock().forget)
    }

    pub(super) fn take_damage(&self) -> Option<u64> {
        self.state.lock().damaged.take()
    }

    #[cfg(test)]
    pub(super) fn take_probes(&self) -> Vec<Probe> {
        std::mem::take(&mut self.state.lock().probes)
    }

    /// The writer goes to the disk, or is back.
    pub(super) fn set_busy(&self, busy: bool) {
        let mut state = self.state.lock();
        state.busy = busy.then(Instant::now);
        if state.watchdog_waits || state.standing_in {
            self.watchdog.notify_one();
        }
    }

    /// The writer will never be back.
    pub(super) fn set_dead(&self) {
        let mut state = self.state.lock();
        state.dead = true;
        state.busy.get_or_insert_with(Instant::now);
        self.watchdog.notify_one();
    }

    // --- the watchdog ---

    /// Waits until the writer has been at the disk for so long; nothing when the journal ends.
    pub(super) fn hang(&self, limit: Duration) -> Option<Instant> {
        let mut state = self.state.lock();
        loop {
            match (state.end, state.busy) {
                (Some(_), None) => return None,
                (Some(_), Some(_)) if state.dead => return None,
                (_, Some(since)) => {
                    let due = since + limit;
                    if state.dead || Instant::now() >= due {
                        state.standing_in = true;
                        return Some(since);
                    }
                    self.watchdog.wait_until(&mut state, due);
                }
                (None, None) => {
                    state.watchdog_waits = true;
                    self.watchdog.wait(&mut state);
                    state.watchdog_waits = false;
                }
            }
        }
    }

    pub(super) fn is_dead(&self) -> bool {
        self.state.lock().dead
    }

    /// Whether the writer is still where it was then.
    pub(super) fn is_busy_since(&self, since: Instant) -> bool {
        self.state.lock().busy == Some(since)
    }

    /// Waits for a source, or until the writer is back (then no).
    pub(super) fn wait_standing_in(&self, since: Instant) -> bool {
        let mut state = self.state.lock();
        loop {
            if state.busy != Some(since) || (state.dead && state.end.is_some()) {
                state.standing_in = false;
                return false;
            }
            if !state.sources.is_empty() {
                return true;
            }
            self.watchdog.wait(&mut state);
        }
    }
}

// === impl State ===

impl State {
    fn has_news(&self) -> bool {
        #[cfg(test)]
        if !self.probes.is_empty() {
            return true;
        }
        !self.sources.is_empty() || !self.forget.is_empty() || self.damaged.is_some()
    }
}
