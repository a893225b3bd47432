//! Logs: one subscriber, to stderr, JSON or text. Nothing else writes to stderr while we serve.
//!
//! Nobody who logs waits for stderr: whoever reads it may have stopped, and a full pipe would then
//! hold every request and the end of the program. Lines go through a bounded queue to one thread;
//! what does not fit is dropped and counted, and the log says so once it is read again. (The writer of
//! tracing-appender counts what it drops but does not say so, and holds the end of the program for a second.)
//!
//! The lines of the audit log go the same way; to a file of their own, and not to stderr, where one is named.
//!
//! The rules of what is logged where are in `docs/LOGGING.md`.

mod queue;
mod rotating_file;

use std::io::{self, IsTerminal as _};
use std::path::PathBuf;
use std::sync::OnceLock;
use std::sync::atomic::Ordering;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::watch;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tracing::level_filters::LevelFilter;
use tracing_subscriber::filter::{FilterExt as _, Targets, filter_fn};
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;
use tracing_subscriber::{Layer as _, Registry, reload};

use self::queue::Queue;
use self::rotating_file::RotatingFile;
use crate::{audit, setting};

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
    /// The lines on their way to stderr.
    queue: Queue,
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
    /// File for the audit log, whatever `LOG_LEVEL` says; none: it is a part of the log
    #[arg(long)]
    pub(crate) audit_file: Option<PathBuf>,
    /// Size at which that file is renamed and a new one begun
    #[arg(long, default_value = "64Mi", value_parser =
        setting::bytes(4 << 10..=1 << 40, "a size from 4Ki to 1Ti, such as 64Mi or a number of bytes"))]
    pub(crate) audit_file_max_bytes: u64,
    /// How many such files there are at most, the present one included
    #[arg(long, default_value = "5", value_parser = setting::number(1..=1000_u32, "a number from 1 to 1000"))]
    pub(crate) audit_files: u32,
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

/// The target of the spans of requests.
const API: &str = concat!(env!("CARGO_CRATE_NAME"), "::api");

/// Why there is no log.
#[derive(Debug, thiserror::Error)]
pub enum InitError {
    /// One is installed already.
    #[error(transparent)]
    Installed(#[from] tracing_subscriber::util::TryInitError),
    /// The thread that writes could not be started.
    #[error("the log's thread cannot be started: {0}")]
    Thread(#[from] io::Error),
    /// The file of the audit log cannot be had.
    #[error("AUDIT_FILE={path} cannot be written: {error}", path = .0.display(), error = .1)]
    AuditFile(PathBuf, io::Error),
}

/// The lines that were logged, on their way.
#[derive(Clone, Debug)]
pub struct Log {
    stderr: Queue,
    audit: Option<Queue>,
}

// === impl Log ===

impl Log {
    /// Waits until all lines so far are written, but not for long. Whether those of stderr are.
    pub fn flush(&self) -> bool {
        if let Some(audit) = &self.audit {
            audit.flush();
        }
        self.stderr.flush()
    }
}

/// Installs the subscriber for the whole process.
///
/// # Errors
/// When one is installed already, or there is no thread for it.
pub fn init(config: &Config) -> Result<Log, InitError> {
    let Config { filter, format, .. } = config;
    let terminal = io::stderr().is_terminal();
    let json = match format {
        Format::Auto => !terminal,
        Format::Json => true,
        Format::Text => false,
    };
    let log = Log {
        stderr: Queue::start("log", io::stderr())?,
        audit: audit_queue(config)?,
    };
    let layer = tracing_subscriber::fmt::layer().with_writer(log.stderr.clone());
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
    // What has a file of its own is not told twice.
    let has_file = log.audit.is_some();
    let is_told = filter_fn(move |line| !has_file || line.target() != audit::TARGET)
        .with_max_level_hint(LevelFilter::TRACE);
    let audit_layer = log.audit.clone().map(|queue| {
        // With the span of a request, which says whose it is.
        let is_audit = filter_fn(|line| {
            line.target() == audit::TARGET || line.is_span() && line.target().starts_with(API)
        });
        tracing_subscriber::fmt::layer()
            .with_writer(queue)
            .json()
            .flatten_event(true)
            .with_span_list(false)
            .with_filter(is_audit.with_max_level_hint(LevelFilter::INFO))
    });
    tracing_subscriber::registry()
        .with(layer.with_filter(reloaded.and(is_told)))
        .with(audit_layer)
        .try_init()?;
    CONTROL.get_or_init(|| Control {
        handle,
        first: filter.clone(),
        present: Mutex::new(filter.clone()),
        due_tx: watch::Sender::new(None),
        queue: log.stderr.clone(),
    });
    Ok(log)
}

fn audit_queue(config: &Config) -> Result<Option<Queue>, InitError> {
    let Some(path) = &config.audit_file else {
        return Ok(None);
    };
    let (max_bytes, max_files) = (config.audit_file_max_bytes, config.audit_files);
    let file = RotatingFile::open(path.clone(), max_bytes, max_files)
        .map_err(|error| InitError::AuditFile(path.clone(), error))?;
    Ok(Some(Queue::start("audit", file)?))
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
    control.map_or(0, |control| control.queue.dropped.load(Ordering::Relaxed))
}

/// Lines that wait to be written, and how many may.
pub(crate) fn queue() -> (usize, usize) {
    let control = CONTROL.get();
    let waiting = control.map_or(0, |control| control.queue.waiting.load(Ordering::Relaxed));
    (waiting, queue::LENGTH)
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
    use super::*;

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
