//! How far readers may read one session: the one value that they wait on.
//!
//! The log says what was appended and where the turn ended; the journal says what is durable. An event is published
//! when it is durable, or at once where there is no journal or its disk fails.

use std::sync::atomic::{AtomicU64, Ordering};

use tokio::sync::watch;

/// Shared by the log of a session and the journal.
#[derive(Debug)]
pub(crate) struct Watermark {
    head: watch::Sender<Head>,
    /// The oldest event that retention has left on disk.
    oldest: AtomicU64,
}

/// The published end of a log.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Head {
    /// The last event that readers may see. It never goes back: what was shown from memory while the disk failed
    /// stays shown while the disk catches up.
    pub(crate) seq: u64,
    /// No turn runs: nothing will come until one begins.
    pub(crate) idle: bool,
    /// Readers are to end. Nothing undoes this.
    pub(crate) closed: bool,
    /// The last event on disk.
    pub(crate) durable: u64,
    /// The last event there is.
    appended: u64,
    /// The terminal event of the last turn; nothing while a turn runs.
    ended: Option<u64>,
}

/// What a log has become.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Appended {
    /// Its last event.
    pub(crate) last: u64,
    /// Whether that is the last one of the turn.
    pub(crate) ends: bool,
}

// === impl Watermark ===

impl Watermark {
    /// Of a session whose events `oldest..=last` are on disk.
    pub(crate) fn new(oldest: u64, last: u64, idle: bool) -> Self {
        let head = Head {
            seq: last,
            idle,
            closed: false,
            durable: last,
            appended: last,
            ended: idle.then_some(last),
        };
        Self {
            head: watch::Sender::new(head),
            oldest: AtomicU64::new(oldest),
        }
    }

    pub(crate) fn head(&self) -> Head {
        *self.head.borrow()
    }

    pub(crate) fn subscribe(&self) -> watch::Receiver<Head> {
        self.head.subscribe()
    }

    /// Whether anybody waits on it.
    pub(crate) fn has_readers(&self) -> bool {
        self.head.receiver_count() > 0
    }

    pub(crate) fn oldest(&self) -> u64 {
        self.oldest.load(Ordering::Relaxed)
    }

    // --- for the log ---

    pub(crate) fn append(&self, Appended { last, ends }: Appended) {
        self.update(|head| {
            head.appended = last;
            if ends {
                head.ended = Some(last);
            }
        });
    }

    pub(crate) fn begin_turn(&self) {
        self.update(|head| head.ended = None);
    }

    pub(crate) fn close(&self) {
        self.update(|head| head.closed = true);
    }

    // --- for whoever decides what is published ---

    /// Everything up to `last` is on disk.
    pub(crate) fn commit(&self, last: u64) {
        self.update(|head| {
            head.durable = head.durable.max(last);
            head.seq = head.seq.max(last);
        });
    }

    /// Nothing waits for the disk: all that was appended is shown.
    pub(crate) fn show_appended(&self) {
        self.update(|head| head.seq = head.seq.max(head.appended));
    }

    /// Events before `oldest` are gone from the disk.
    pub(crate) fn trim(&self, oldest: u64) {
        self.oldest.fetch_max(oldest, Ordering::Relaxed);
    }

    /// Wakes readers only if they see something new.
    fn update(&self, change: impl FnOnce(&mut Head)) {
        self.head.send_if_modified(|head| {
            let before = *head;
            change(head);
            head.idle = head.ended.is_some_and(|ended| ended <= head.seq);
            (before.seq, before.idle, before.closed) != (head.seq, head.idle, head.closed)
        });
    }
}
