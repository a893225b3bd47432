//! Logs: one subscriber, to stderr, JSON or text. Nothing else writes to stderr while we serve.
//!
//! Nobody who logs waits for stderr: whoever reads it may have stopped, and a full pipe would then
//! hold every request and the end of the program. Lines go through a bounded queue to one thread;
//! what does not fit is dropped and counted, and the log says so once it is read again. (The writer of
//! tracing-appender counts what it drops but does not say so, and holds the end of the program for a second.)
//!
//! The rules of what is logged where are in `docs/LOGGING.md`.

use std::io::{self, IsTerminal as _};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::watch;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tracing::level_filters::LevelFilter;
use tracing_subscriber::filter::Targets;
use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;
use tracing_subscriber::{Layer as _, Registry, reload};

use crate::setting;

/// The filter that holds, once there is a log.
static CONTROL: OnceLock<Control> = OnceLock::new();

/// What can be changed while we run.
struct Control {
    handle: reload::Handle<Targets, Registry>,
    /// That of the start.
    first: Targets,
    present: Mutex<Targets>,
    /// When that of the start holds again.
    due_tx: watch::Sender<Option<Instant>>,
    dropped: Arc<AtomicU64>,
}

/// How a log line looks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Format {
    /// Text on a terminal, else JSON.
    Auto,
    Json,
    Text,
}

/// The settings of the log. Their comments are the words of `--help`.
#[derive(Clone, Debug, clap::Args)]
#[command(next_help_heading = "Logs")]
#[group(skip)]
pub struct Config {
    /// What is logged, to stderr
    #[arg(long = "log-level", default_value = "info", value_parser = parse_filter)]
    pub(crate) filter: Targets,
    /// Form of a log line; auto: text on a terminal, else JSON
    #[arg(long = "log-format", default_value = "auto", value_parser = setting::word(
        [("auto", Format::Auto), ("json", Format::Json), ("text", Format::Text)], "auto, json or text"))]
    pub(crate) format: Format,
}

/// `info`, or `info,opencode_sidecar::engine=debug`. A word that is no level is refused, not taken
/// for the name of a module.
fn parse_filter(text: &str) -> Result<Targets, &'static str> {
    let targets =
        text.split(',')
            .try_fold(Targets::new(), |targets, part| match part.split_once('=') {
                None => Some(targets.with_default(level(part)?)),
                Some((target, part)) if !target.is_empty() => {
                    Some(targets.with_target(target, level(part)?))
                }
                Some(_) => None,
            });
    targets.ok_or(
        "error, warn, info, debug, trace, or a list such as info,opencode_sidecar::engine=debug",
    )
}

fn level(word: &str) -> Option<LevelFilter> {
    match word.to_ascii_lowercase().as_str() {
        "error" => Some(LevelFilter::ERROR),
        "warn" | "warning" => Some(LevelFilter::WARN),
        "info" => Some(LevelFilter::INFO),
        "debug" => Some(LevelFilter::DEBUG),
        "trace" => Some(LevelFilter::TRACE),
        _ => None,
    }
}

/// Lines that may wait to be written.
const QUEUE: usize = 4096;

/// How long the end of the program waits for the last lines.
const LAST_LINES: Duration = Duration::from_millis(500);

/// Why there is no log.
#[derive(Debug, thiserror::Error)]
pub enum InitError {
    /// One is installed already.
    #[error(transparent)]
    Installed(#[from] tracing_subscriber::util::TryInitError),
    /// The thread that writes could not be started.
    #[error("the log's thread cannot be started: {0}")]
    Thread(#[from] io::Error),
}

/// The way to the thread that writes.
#[derive(Clone, Debug)]
pub struct Log {
    queue: SyncSender<Item>,
    dropped: Arc<AtomicU64>,
}

#[derive(Debug)]
enum Item {
    Line(Vec<u8>),
    /// Everything before it is written.
    Mark(SyncSender<()>),
}

// === impl Log ===

impl Log {
    fn start(sink: impl io::Write + Send + 'static) -> io::Result<Self> {
        let (queue, items) = sync_channel(QUEUE);
        let dropped = Arc::new(AtomicU64::new(0));
        let count = dropped.clone();
        std::thread::Builder::new()
            .name("log".into())
            .spawn(move || write(sink, &items, &count))?;
        Ok(Self { queue, dropped })
    }

    /// Waits until all lines so far are written, but not for long. Whether they are.
    pub fn flush(&self) -> bool {
        let (done_tx, done_rx) = sync_channel(1);
        self.queue.try_send(Item::Mark(done_tx)).is_ok() && done_rx.recv_timeout(LAST_LINES).is_ok()
    }
}

impl<'a> MakeWriter<'a> for Log {
    type Writer = &'a Self;

    fn make_writer(&'a self) -> Self::Writer {
        self
    }
}

/// The subscriber hands over a line at a time.
impl io::Write for &Log {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        if self.queue.try_send(Item::Line(line.to_vec())).is_err() {
            self.dropped.fetch_add(1, Ordering::Relaxed);
        }
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// The thread. It ends with the last [`Log`].
fn write(mut sink: impl io::Write, items: &Receiver<Item>, dropped: &AtomicU64) {
    let mut said = 0;
    for item in items {
        match item {
            // A stderr that is closed is no reason not to serve.
            Item::Line(line) => drop(sink.write_all(&line)),
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

/// Installs the subscriber for the whole process.
///
/// # Errors
/// When one is installed already, or there is no thread for it.
pub fn init(config: &Config) -> Result<Log, InitError> {
    let Config { filter, format } = config;
    let terminal = io::stderr().is_terminal();
    let json = match format {
        Format::Auto => !terminal,
        Format::Json => true,
        Format::Text => false,
    };
    let log = Log::start(io::stderr())?;
    let layer = tracing_subscriber::fmt::layer().with_writer(log.clone());
    let layer = if json {
        layer
            .json()
            .flatten_event(true)
            .with_span_list(false)
            .boxed()
    } else {
        layer.with_ansi(terminal).with_target(false).boxed()
    };
    // A panic is a log line like any other, not loose text between JSON.
    std::panic::set_hook(Box::new(|panic| {
        tracing::error!(
            place = panic.location().map(tracing::field::display),
            "panicked: {panic}"
        );
    }));
    let (reloaded, handle) = reload::Layer::new(filter.clone());
    tracing_subscriber::registry()
        .with(layer.with_filter(reloaded))
        .try_init()?;
    CONTROL.get_or_init(|| Control {
        handle,
        first: filter.clone(),
        present: Mutex::new(filter.clone()),
        due_tx: watch::Sender::new(None),
        dropped: log.dropped.clone(),
    });
    Ok(log)
}

/// Logs what `text` says from now on, or for a while. An error says what is accepted.
pub(crate) fn set_filter(text: &str, lasts: Option<Duration>) -> Result<(), &'static str> {
    let filter = parse_filter(text)?;
    if let Some(control) = CONTROL.get() {
        control.install(filter);
        control
            .due_tx
            .send_replace(lasts.map(|lasts| Instant::now() + lasts));
    }
    Ok(())
}

/// Puts the filter of the start back when a change was for a while, until `stop`.
pub(crate) async fn restore_filters(stop: CancellationToken) {
    let Some(control) = CONTROL.get() else { return };
    let mut due_rx = control.due_tx.subscribe();
    let restoring = async {
        loop {
            let due = *due_rx.borrow_and_update();
            let is_due = async {
                match due {
                    Some(due) => tokio::time::sleep_until(due).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                biased;
                // The sender is a static, so there is always another change.
                _ = due_rx.changed() => {}
                () = is_due => {
                    control.due_tx.send_replace(None);
                    control.install(control.first.clone());
                    tracing::info!("the filter of the start holds again");
                }
            }
        }
    };
    stop.run_until_cancelled(restoring).await;
}

/// What is logged now.
pub(crate) fn filter() -> String {
    let control = CONTROL.get();
    control.map_or_else(String::new, |control| control.present.lock().to_string())
}

/// Lines that nobody read in time.
pub(crate) fn dropped_lines() -> u64 {
    let control = CONTROL.get();
    control.map_or(0, |control| control.dropped.load(Ordering::Relaxed))
}

// === impl Control ===

impl Control {
    fn install(&self, filter: Targets) {
        let mut present = self.present.lock();
        // It fails only once the subscriber is gone, and that lives as long as the process.
        self.handle.reload(filter.clone()).ok();
        *present = filter;
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
        let log = Log::start(Stuck(stuck)).unwrap();
        for _ in 0..2 * QUEUE {
            (&log).write_all(b"line\n").unwrap();
        }
        // One may be on its way, in the hands of the thread.
        let dropped = log.dropped.load(Ordering::Relaxed);
        assert!((QUEUE as u64 - 1..=QUEUE as u64).contains(&dropped));
        assert!(!log.flush(), "and the end does not wait either");
        drop(go);
        let deadline = std::time::Instant::now() + Duration::from_secs(20);
        while !log.flush() {
            assert!(std::time::Instant::now() < deadline);
        }
    }

    #[test]
    fn a_filter_is_levels_and_nothing_else() {
        for good in [
            "info",
            "DEBUG",
            "warn,opencode_sidecar::engine=trace",
            "opencode_sidecar=debug",
        ] {
            assert!(parse_filter(good).is_ok(), "{good}");
        }
        for bad in ["", "verbose", "info,", "x=verbose", "=info", "5"] {
            assert!(parse_filter(bad).is_err(), "{bad}");
        }
    }
}
