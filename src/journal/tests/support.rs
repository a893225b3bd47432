//! A directory, a source that behaves as the session module's will, and a reader that checks what it gets.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::Weak;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::time::timeout;

use crate::journal::draft::Run;
use crate::journal::shared::Shared;
use crate::journal::*;

/// No test waits longer for anything.
pub(super) const DEADLINE: Duration = Duration::from_secs(20);

pub(super) const BOOT: &str = "boot-1";

/// A journal in a directory of its own.
pub(super) struct Setup {
    pub(super) dir: tempfile::TempDir,
    pub(super) config: Config,
    pub(super) tuning: Tuning,
}

/// One session's log, with all it ever published.
#[derive(Debug)]
pub(super) struct Fake {
    number: u64,
    watermark: Arc<Watermark>,
    inner: Mutex<State>,
    journal: Mutex<Weak<Shared>>,
}

#[derive(Clone, Debug)]
pub(super) struct State {
    pub(super) row: Row,
    /// Every run that was published.
    pub(super) runs: Vec<Run>,
    pub(super) last: u64,
    /// How far readers may read the disk.
    pub(super) committed: u64,
    /// How far readers may read.
    pub(super) shown: u64,
    /// Readers are shown events from memory.
    pub(super) from_memory: bool,
    /// All that was appended is on disk.
    is_written: bool,
    pub(super) trimmed: u64,
}

/// What a reader got.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Got {
    pub(super) text: Text,
    pub(super) lost: BTreeSet<u64>,
    pub(super) gone: u64,
    pub(super) last: u64,
}

/// Frames, of which only the ids are shown.
#[derive(Default, PartialEq, Eq)]
pub(super) struct Text(pub(super) String);

// === impl Setup ===

impl Setup {
    pub(super) fn new() -> Self {
        Self::within(tempfile::tempdir().unwrap())
    }

    /// On a disk that syncs in no time, if there is one: for what opens hundreds of databases.
    pub(super) fn in_memory() -> Self {
        Self::within(
            tempfile::tempdir_in("/dev/shm").unwrap_or_else(|_| tempfile::tempdir().unwrap()),
        )
    }

    fn within(dir: tempfile::TempDir) -> Self {
        let config = Config {
            dir: dir.path().join("journal"),
            max_bytes: 1 << 30,
            retention: Duration::from_hours(1),
        };
        let tuning = Tuning {
            retry: (Duration::from_millis(2), Duration::from_millis(20)),
            ..Tuning::of(&config)
        };
        Self {
            dir,
            config,
            tuning,
        }
    }

    pub(super) fn path(&self) -> PathBuf {
        self.config.dir.join(store::NAME)
    }

    pub(super) async fn open(&self) -> (Journal, Opened) {
        self.open_on(BOOT).await
    }

    pub(super) async fn open_on(&self, boot: &str) -> (Journal, Opened) {
        let journal = Journal::start_tuned(self.config.clone(), boot.into(), &self.tuning).unwrap();
        let opened = timeout(DEADLINE, journal.opened()).await.unwrap();
        (journal, opened)
    }

    /// After a restart on the same machine.
    pub(super) async fn reopen(&self) -> (Journal, Opened) {
        self.open_on(BOOT).await
    }

    /// The directory as it would be found after a crash at this moment. Only while nothing is written.
    pub(super) fn copy(&self) -> Self {
        let beside = tempfile::tempdir_in(self.dir.path().parent().unwrap()).unwrap();
        let copy = Self {
            tuning: self.tuning.clone(),
            ..Self::within(beside)
        };
        std::fs::create_dir(&copy.config.dir).unwrap();
        for entry in std::fs::read_dir(&self.config.dir).unwrap() {
            let entry = entry.unwrap();
            // The WAL's index is memory: it does not survive the machine.
            if !entry.file_name().to_string_lossy().ends_with("-shm") {
                std::fs::copy(entry.path(), copy.config.dir.join(entry.file_name())).unwrap();
            }
        }
        copy
    }
}

// === impl Journal ===

impl Journal {
    /// Does something with the writer's connection, between two groups.
    pub(super) async fn probe<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Connection) -> T + Send + 'static,
    ) -> T {
        let (done_tx, done_rx) = tokio::sync::oneshot::channel();
        self.shared
            .queue
            .probe(Box::new(move |conn| drop(done_tx.send(work(conn)))));
        timeout(DEADLINE, done_rx).await.unwrap().unwrap()
    }

    /// Notes of a session's last turn.
    pub(super) async fn notes(&self, number: u64) -> Result<Vec<(String, u64)>, JournalError> {
        self.query(move |conn| queries::notes(conn, number)).await
    }

    pub(super) async fn until_health(&self, wanted: impl Fn(&Health) -> bool) -> Health {
        let mut health = self.health();
        let reached = timeout(DEADLINE, health.wait_for(|now| wanted(now))).await;
        reached.unwrap().unwrap().clone()
    }

    pub(super) async fn until_figures(&self, wanted: impl Fn(&Figures) -> bool) -> Figures {
        poll("figures", || Some(self.figures()).filter(&wanted)).await
    }

    /// Reads as a reader does, page by page, and checks that the pieces have no hole between them.
    pub(super) async fn read(&self, number: u64, after: u64, upto: u64, hidden: bool) -> Got {
        let mut got = Got {
            last: after,
            ..Got::default()
        };
        while got.last < upto {
            let pieces = self.page(number, got.last, upto, hidden).await.unwrap();
            assert!(!pieces.is_empty(), "a page moves on");
            for piece in pieces {
                let before = got.last;
                match piece {
                    Piece::Frames { bytes, last } => {
                        got.text.0.push_str(str::from_utf8(&bytes).unwrap());
                        got.last = last;
                    }
                    Piece::Skipped { last } => got.last = last,
                    Piece::Lost { last } => {
                        got.lost.extend(before + 1..=last);
                        got.last = last;
                    }
                    Piece::Removed { oldest } => {
                        got.gone = oldest;
                        got.last = oldest - 1;
                    }
                }
                assert!(got.last > before, "a piece moves on");
            }
        }
        got
    }
}

/// Looks again and again: for what nothing tells of.
pub(super) async fn poll<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let looking = async {
        loop {
            if let Some(found) = look() {
                return found;
            }
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    };
    timeout(DEADLINE, looking)
        .await
        .unwrap_or_else(|_| panic!("waited for {what}"))
}

/// The database may grow to so many pages, as on a disk that ends there.
pub(super) fn set_most_pages(conn: &Connection, pages: u64) {
    let question = format!("PRAGMA max_page_count = {pages}");
    conn.query_row(&question, [], |_| Ok(())).unwrap();
}

// === impl Fake ===

impl Fake {
    pub(super) fn new(number: u64) -> Arc<Self> {
        Self::continued(row(number), 0)
    }

    /// A session that was there before.
    pub(super) fn continued(row: Row, last: u64) -> Arc<Self> {
        Arc::new(Self {
            number: row.number,
            watermark: Arc::new(Watermark::new(0, last, false)),
            inner: Mutex::new(State {
                row,
                runs: Vec::new(),
                last,
                committed: last,
                shown: last,
                from_memory: false,
                is_written: true,
                trimmed: 0,
            }),
            journal: Mutex::default(),
        })
    }

    /// A session whose turn runs, on disk.
    pub(super) async fn begun(journal: &Journal, number: u64) -> Arc<Self> {
        let fake = Self::new(number);
        fake.begin(journal);
        fake.until_written().await;
        fake
    }

    pub(super) fn begin(self: &Arc<Self>, journal: &Journal) {
        self.change(journal, |state, draft| {
            state.row.turn += 1;
            state.row.ended = None;
            state.row.state = "running".into();
            draft.row = Some(state.row.clone());
            draft.begins = true;
        });
    }

    /// One run of so many events.
    pub(super) fn say(self: &Arc<Self>, journal: &Journal, count: u64, hidden: bool) {
        self.change(journal, |state, draft| state.publish(draft, count, hidden));
    }

    /// Events that memory could not keep.
    pub(super) fn lose(self: &Arc<Self>, journal: &Journal, count: u64) {
        self.change(journal, |state, draft| {
            state.publish(&mut Draft::default(), count, false);
            let run = state.runs.last_mut().unwrap();
            run.frames = Vec::new();
            draft.runs.push(run.clone());
        });
    }

    pub(super) fn note(self: &Arc<Self>, journal: &Journal, part: &str, value: u64) {
        self.change(journal, |_, draft| {
            draft.notes.insert(part.into(), value);
        });
    }

    /// The turn's last event, at that time.
    pub(super) fn end(self: &Arc<Self>, journal: &Journal, ended: u64) {
        self.change(journal, |state, draft| {
            state.publish(draft, 1, false);
            state.row.ended = Some(ended);
            state.row.state = "completed".into();
            draft.row = Some(state.row.clone());
        });
    }

    pub(super) fn change_row(self: &Arc<Self>, journal: &Journal, change: impl FnOnce(&mut Row)) {
        self.change(journal, |state, draft| {
            change(&mut state.row);
            draft.row = Some(state.row.clone());
        });
    }

    fn change(&self, journal: &Journal, change: impl FnOnce(&mut State, &mut Draft)) {
        *self.journal.lock() = Arc::downgrade(&journal.shared);
        let mut state = self.inner.lock();
        let mut draft = Draft::after(state.last);
        change(&mut state, &mut draft);
        let appended = Appended {
            last: state.last,
            ends: false,
        };
        // With its own lock held, as the log does it.
        journal.append(self.number, &self.watermark, appended, draft);
    }

    pub(super) fn number(&self) -> u64 {
        self.number
    }

    pub(super) fn look<T>(&self, look: impl FnOnce(&State) -> T) -> T {
        let mut state = self.inner.lock();
        let head = self.watermark.head();
        (state.committed, state.shown) = (head.durable, head.seq);
        state.trimmed = self.watermark.oldest();
        let shared = self.journal.lock().upgrade();
        if let Some(shared) = shared {
            state.is_written = shared.queue.is_written(self.number);
            state.from_memory = shared.queue.is_degraded() && !state.is_written;
        }
        look(&state)
    }

    pub(super) async fn until(&self, wanted: impl Fn(&State) -> bool) {
        poll("a state of a session", || self.look(&wanted).then_some(())).await;
    }

    pub(super) fn is_written_now(&self) -> bool {
        self.look(State::is_written)
    }

    /// All that was published is on disk.
    pub(super) async fn until_written(&self) {
        self.until(State::is_written).await;
    }

    /// What a reader should get, as [`Journal::read`] gives it.
    pub(super) fn expected(&self, after: u64, upto: u64, hidden: bool) -> Got {
        let state = self.inner.lock();
        let mut got = Got {
            last: upto.max(after),
            ..Got::default()
        };
        for run in &state.runs {
            for seq in run.first.max(after + 1)..=run.last.min(upto) {
                match (run.hidden && !hidden, run.frames.is_empty()) {
                    (true, _) => {}
                    (false, true) => {
                        got.lost.insert(seq);
                    }
                    (false, false) => got.text.0.push_str(&frame(&state.row.epoch, seq)),
                }
            }
        }
        got
    }
}

// === impl State ===

impl State {
    fn publish(&mut self, draft: &mut Draft, count: u64, hidden: bool) {
        let first = self.last + 1;
        self.last += count;
        let mut frames = Vec::new();
        for seq in first..=self.last {
            let frame = frame(&self.row.epoch, seq);
            draft.add_event(seq, hidden, frame.as_bytes());
            frames.extend_from_slice(frame.as_bytes());
        }
        self.runs.push(Run {
            first,
            last: self.last,
            hidden,
            frames,
        });
    }

    pub(super) fn is_written(&self) -> bool {
        self.is_written && self.committed == self.last && !self.from_memory
    }
}

impl std::fmt::Debug for Text {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let ids = self.0.lines().filter_map(|line| line.strip_prefix("id: "));
        f.debug_list().entries(ids).finish()
    }
}

/// Milliseconds since 1970.
pub(super) fn now() -> u64 {
    crate::clock::Timestamp::now().as_millis()
}

pub(super) fn row(number: u64) -> Row {
    Row {
        number,
        id: format!("id-{number}"),
        epoch: "epoch12345".into(),
        remote_id: Some(format!("ses_{number}")),
        state: "pending".into(),
        ended: None,
        key: number.is_multiple_of(2).then(|| format!("key-{number}")),
        reported: 0,
        turn: 0,
        details: format!("{{\"number\":{number}}}"),
    }
}

/// Of about 200 bytes, and another length for each.
pub(super) fn frame(epoch: &str, seq: u64) -> String {
    let text = "x".repeat(100 + usize::try_from(seq * 37 % 97).unwrap());
    format!("event: output\nid: {epoch}-{seq}\ndata: {{\"text\":\"{text}\\nid: y\"}}\n\n")
}

pub(super) fn files(dir: &Path) -> BTreeSet<String> {
    std::fs::read_dir(dir)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect()
}
