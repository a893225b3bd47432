//! Logs: one subscriber, to stderr, JSON or text. Nothing else writes to stderr while we serve.
//!
//! The rules of what is logged where are in `docs/LOGGING.md`.

use std::io::IsTerminal as _;

use tracing::level_filters::LevelFilter;
use tracing_subscriber::Layer as _;
use tracing_subscriber::filter::Targets;
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;

/// How a log line looks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Format {
    /// Text on a terminal, else JSON.
    Auto,
    Json,
    Text,
}

/// What is logged, and how.
#[derive(Clone, Debug)]
pub(crate) struct Config {
    pub(crate) filter: Targets,
    pub(crate) format: Format,
}

/// `info`, or `info,opencode_sidecar::engine=debug`. A word that is no level is refused, not taken
/// for the name of a module.
pub(crate) fn parse_filter(text: &str) -> Option<Targets> {
    text.split(',')
        .try_fold(Targets::new(), |targets, part| match part.split_once('=') {
            None => Some(targets.with_default(level(part)?)),
            Some((target, part)) if !target.is_empty() => {
                Some(targets.with_target(target, level(part)?))
            }
            Some(_) => None,
        })
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

/// Installs the subscriber for the whole process.
///
/// # Errors
/// When one is installed already.
pub fn init(config: &crate::Config) -> Result<(), tracing_subscriber::util::TryInitError> {
    let Config { filter, format } = &config.log;
    let terminal = std::io::stderr().is_terminal();
    let json = match format {
        Format::Auto => !terminal,
        Format::Json => true,
        Format::Text => false,
    };
    let layer = tracing_subscriber::fmt::layer().with_writer(std::io::stderr);
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
    tracing_subscriber::registry()
        .with(layer.with_filter(filter.clone()))
        .try_init()
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
            assert!(parse_filter(good).is_some(), "{good}");
        }
        for bad in ["", "verbose", "info,", "x=verbose", "=info", "5"] {
            assert!(parse_filter(bad).is_none(), "{bad}");
        }
    }
}
