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
    /// The writer takes nothing any more.
    refuses: bool,
    writer_is: Writer,
    watchdog_is: Watchdog,
    #[cfg(test)]
    probes: Vec<Probe>,
}

/// Where the writer is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Writer {
    #[default]
    Awake,
    /// It wants to be called.
    Waiting,
    AtDisk(Instant),
    /// It panicked.
    Dead(Instant),
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Watchdog {
    #[default]
    Awake,
    /// Until the writer goes to the disk.
    Waiting,
    /// The writer does not answer, and the watchdog takes its sources.
    StandingIn,
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
        if !state.refuses && state.numbers.insert(source.number()) {
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
        if state.writer_is == Writer::Waiting {
            self.writer.notify_one();
        }
        if state.watchdog_is == Watchdog::StandingIn {
            self.watchdog.notify_one();
        }
    }

    /// What comes now is written by nobody. What came is let go: sources have handles on the journal.
    pub(super) fn refuse(&self) {
        let mut state = self.state.lock();
        state.refuses = true;
        let sources = std::mem::take(&mut state.sources);
        state.numbers.clear();
        // The last handle may be among them.
        drop(state);
        drop(sources);
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
            state.writer_is = Writer::Waiting;
            self.writer.wait_until(&mut state, until);
            state.writer_is = Writer::Awake;
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
    pub(super) fn set_at_disk(&self, at_disk: bool) {
        self.set_writer(if at_disk {
            Writer::AtDisk(Instant::now())
        } else {
            Writer::Awake
        });
    }

    /// The writer will never be back.
    pub(super) fn set_dead(&self) {
        self.set_writer(Writer::Dead(Instant::now()));
    }

    fn set_writer(&self, writer: Writer) {
        let mut state = self.state.lock();
        state.writer_is = writer;
        if state.watchdog_is != Watchdog::Awake {
            self.watchdog.notify_one();
        }
    }

    // --- the watchdog ---

    /// Waits until the writer has been at the disk for so long, and says since when; nothing when the
    /// journal ends.
    pub(super) fn hang(&self, limit: Duration) -> Option<Instant> {
        let mut state = self.state.lock();
        state.watchdog_is = Watchdog::Awake;
        loop {
            match state.writer_is {
                Writer::Awake | Writer::Waiting | Writer::Dead(_) if state.end.is_some() => {
                    return None;
                }
                Writer::Awake | Writer::Waiting => {
                    state.watchdog_is = Watchdog::Waiting;
                    self.watchdog.wait(&mut state);
                    state.watchdog_is = Watchdog::Awake;
                }
                Writer::AtDisk(since) if Instant::now() < since + limit => {
                    self.watchdog.wait_until(&mut state, since + limit);
                }
                Writer::AtDisk(since) | Writer::Dead(since) => {
                    state.watchdog_is = Watchdog::StandingIn;
                    return Some(since);
                }
            }
        }
    }

    pub(super) fn is_dead(&self) -> bool {
        matches!(self.state.lock().writer_is, Writer::Dead(_))
    }

    /// Whether the writer is still where it was then.
    pub(super) fn is_away_since(&self, since: Instant) -> bool {
        self.state.lock().is_away_since(since)
    }

    /// Waits for a source, or until the writer is back; then no.
    pub(super) fn wait_standing_in(&self, since: Instant) -> bool {
        let mut state = self.state.lock();
        loop {
            let is_over = matches!(state.writer_is, Writer::Dead(_)) && state.end.is_some();
            if is_over || !state.is_away_since(since) {
                state.watchdog_is = Watchdog::Awake;
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
    fn is_away_since(&self, since: Instant) -> bool {
        [Writer::AtDisk(since), Writer::Dead(since)].contains(&self.writer_is)
    }

    fn has_news(&self) -> bool {
        #[cfg(test)]
        if !self.probes.is_empty() {
            return true;
        }
        !self.sources.is_empty() || !self.forget.is_empty() || self.damaged.is_some()
    }
}
