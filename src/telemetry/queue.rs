//! Lines on their way to a thread that writes them, so that nobody who logs waits for a file or a reader.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::time::Duration;

use tracing_subscriber::fmt::MakeWriter;

/// Lines that may wait to be written.
pub(super) const LENGTH: usize = 4096;

/// How long the end of the program waits for the last lines.
const LAST_LINES: Duration = Duration::from_millis(500);

/// The way to the thread that writes.
#[derive(Clone, Debug)]
pub(super) struct Queue {
    items_tx: SyncSender<Item>,
    pub(super) dropped: Arc<AtomicU64>,
    /// Lines that wait to be written.
    pub(super) waiting: Arc<AtomicUsize>,
}

#[derive(Debug)]
enum Item {
    Line(Vec<u8>),
    /// Everything before it is written.
    Mark(SyncSender<()>),
}

// === impl Queue ===

impl Queue {
    /// `name` is the thread's.
    pub(super) fn start(name: &str, sink: impl io::Write + Send + 'static) -> io::Result<Self> {
        let (items_tx, items_rx) = sync_channel(LENGTH);
        let dropped = Arc::new(AtomicU64::new(0));
        let waiting = Arc::new(AtomicUsize::new(0));
        let (count, length) = (dropped.clone(), waiting.clone());
        std::thread::Builder::new()
            .name(name.into())
            .spawn(move || write(sink, &items_rx, &count, &length))?;
        Ok(Self {
            items_tx,
            dropped,
            waiting,
        })
    }

    /// Waits until all lines so far are written, but not for long. Whether they are.
    pub(super) fn flush(&self) -> bool {
        let (done_tx, done_rx) = sync_channel(1);
        self.items_tx.try_send(Item::Mark(done_tx)).is_ok()
            && done_rx.recv_timeout(LAST_LINES).is_ok()
    }
}

impl<'a> MakeWriter<'a> for Queue {
    type Writer = &'a Self;

    fn make_writer(&'a self) -> Self::Writer {
        self
    }
}

/// The subscriber hands over a line at a time.
impl io::Write for &Queue {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        // First, so that the thread never takes a line that was not counted.
        self.waiting.fetch_add(1, Ordering::Relaxed);
        if self.items_tx.try_send(Item::Line(line.to_vec())).is_err() {
            self.waiting.fetch_sub(1, Ordering::Relaxed);
            self.dropped.fetch_add(1, Ordering::Relaxed);
        }
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// The thread. It ends with the last [`Queue`].
fn write(
    mut sink: impl io::Write,
    items: &Receiver<Item>,
    dropped: &AtomicU64,
    waiting: &AtomicUsize,
) {
    let mut said = 0;
    for item in items {
        match item {
            // A stderr that is closed is no reason not to serve; a file says itself what is wrong with it.
            Item::Line(line) => {
                drop(sink.write_all(&line));
                waiting.fetch_sub(1, Ordering::Relaxed);
            }
            Item::Mark(done) => drop(done.send(())),
        }
        let total = dropped.load(Ordering::Relaxed);
        if total != said {
            // This is a line like any other. If it is dropped too, the next round says it.
            said = total;
            tracing::warn!(
                total,
                "log lines were dropped because nobody read them in time"
            );
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use super::*;

    /// Takes nothing until it is told to, as a pipe that is full.
    struct Stuck(Receiver<()>);

    impl io::Write for Stuck {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.recv().ok();
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn nobody_waits_for_a_reader_that_does_not_read_and_the_loss_is_counted() {
        let (go, stuck) = std::sync::mpsc::channel();
        let queue = Queue::start("test", Stuck(stuck)).unwrap();
        for _ in 0..2 * LENGTH {
            (&queue).write_all(b"line\n").unwrap();
        }
        // One may be on its way, in the hands of the thread.
        let dropped = queue.dropped.load(Ordering::Relaxed);
        assert!((LENGTH as u64 - 1..=LENGTH as u64).contains(&dropped));
        assert!(!queue.flush(), "and the end does not wait either");
        drop(go);
        let deadline = std::time::Instant::now() + Duration::from_secs(20);
        while !queue.flush() {
            assert!(std::time::Instant::now() < deadline);
        }
    }
}
