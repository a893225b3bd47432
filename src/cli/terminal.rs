//! What the command is connected to: a terminal or a pipe, its width, and its keys.

use std::io::{IsTerminal as _, Read as _};

use rustix::process::{Signal, getpid, kill_process};
use rustix::termios::{
    LocalModes, OptionalActions, SpecialCodeIndex, Termios, tcgetattr, tcgetwinsize, tcsetattr,
};
use tokio::signal::unix as tokio_signal;
use tokio::sync::mpsc;

use super::output::{say, write};
use super::style::Style;
use crate::config::ClientEnvironment;

/// Columns of a terminal that does not say how many it has.
const COLUMNS: usize = 80;
const ROWS: usize = 24;

/// Keys that may wait: a pasted prompt comes at once.
const KEYS: usize = 64;

/// The three standard streams.
#[derive(Clone, Copy, Debug)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "each is one fact about a stream"
)]
pub(super) struct Terminal {
    /// Whether a person reads stdout.
    pub(super) output: bool,
    /// Whether a person writes to stdin.
    pub(super) input: bool,
    wants_colour: bool,
    errors: bool,
}

/// Keys come one by one and are not shown, until this is dropped.
#[derive(Debug)]
pub(super) struct KeyMode {
    before: Termios,
}

// === impl Terminal ===

impl Terminal {
    pub(super) fn new(environment: &ClientEnvironment) -> Self {
        Self {
            output: std::io::stdout().is_terminal(),
            input: std::io::stdin().is_terminal(),
            errors: std::io::stderr().is_terminal(),
            wants_colour: environment.wants_colour(),
        }
    }

    /// How stdout is coloured.
    pub(super) const fn style(self) -> Style {
        Style::new(self.output && self.wants_colour)
    }

    /// How stderr is coloured.
    pub(super) const fn error_style(self) -> Style {
        Style::new(self.errors && self.wants_colour)
    }

    /// Columns of the terminal; nothing for a pipe, whose lines have any length.
    pub(super) fn columns(self) -> Option<usize> {
        self.output.then(|| size().0)
    }

    pub(super) fn rows(self) -> Option<usize> {
        self.output.then(|| size().1)
    }

    /// A line for a person that is none of the output: in a pipe it goes to stderr.
    ///
    /// # Errors
    /// When stdout takes no more.
    pub(super) fn hint(self, text: &str) -> std::io::Result<()> {
        if self.output {
            return write(&format!("{}\n", self.style().dim(text)));
        }
        say(&self.error_style().dim(text));
        Ok(())
    }

    /// Whether a person can be asked.
    pub(super) const fn is_interactive(self) -> bool {
        self.output && self.input
    }
}

fn size() -> (usize, usize) {
    let size = tcgetwinsize(std::io::stdout()).ok();
    let or = |number: u16, default| {
        if number == 0 {
            default
        } else {
            usize::from(number)
        }
    };
    size.map_or((COLUMNS, ROWS), |size| {
        (or(size.ws_col, COLUMNS), or(size.ws_row, ROWS))
    })
}

// === impl KeyMode ===

impl KeyMode {
    /// Nothing where stdin is no terminal. Ctrl-C stays a signal.
    pub(super) fn enter() -> Option<Self> {
        let before = tcgetattr(std::io::stdin()).ok()?;
        let mut mode = before.clone();
        mode.local_modes
            .remove(LocalModes::ICANON | LocalModes::ECHO);
        mode.special_codes[SpecialCodeIndex::VMIN] = 1;
        mode.special_codes[SpecialCodeIndex::VTIME] = 0;
        tcsetattr(std::io::stdin(), OptionalActions::Drain, &mode).ok()?;
        // What is pasted comes marked, so that its line breaks are no Enter. A terminal that cannot do it ignores it.
        write("\u{1b}[?2004h").ok();
        Some(Self { before })
    }
}

/// SIGTSTP, Ctrl-Z, where keys are taken. Elsewhere the kernel stops this process by itself.
pub(super) fn suspensions(mode: Option<&KeyMode>) -> std::io::Result<Option<tokio_signal::Signal>> {
    let kind = tokio_signal::SignalKind::from_raw(Signal::TSTP.as_raw());
    mode.map(|_| tokio_signal::signal(kind)).transpose()
}

/// Waits for Ctrl-Z.
pub(super) async fn suspended(signals: &mut Option<tokio_signal::Signal>) {
    if let Some(signals) = signals
        && signals.recv().await.is_some()
    {
        return;
    }
    std::future::pending::<()>().await;
}

/// Gives the terminal back to the shell, and takes it again when this process goes on.
pub(super) fn suspend(mode: &mut Option<KeyMode>) {
    drop(mode.take());
    // Whoever may not stop itself goes on at once.
    kill_process(getpid(), Signal::STOP).ok();
    *mode = KeyMode::enter();
}

impl Drop for KeyMode {
    fn drop(&mut self) {
        // A terminal that is gone needs no mode.
        write("\u{1b}[?2004l").ok();
        tcsetattr(std::io::stdin(), OptionalActions::Flush, &self.before).ok();
    }
}

/// What is typed, in the pieces that the terminal hands over. The thread that reads ends with the process: a
/// read of a terminal cannot be taken back.
pub(super) fn typed() -> mpsc::Receiver<Vec<u8>> {
    let (typed_tx, typed_rx) = mpsc::channel(KEYS);
    let reader = std::thread::Builder::new().name("keys".into());
    let read = move || {
        let mut buffer = [0; 1024];
        let mut stdin = std::io::stdin();
        while let Ok(length @ 1..) = stdin.read(&mut buffer) {
            if typed_tx.blocking_send(buffer[..length].to_vec()).is_err() {
                return;
            }
        }
    };
    // Without the thread there are no keys, and all else works.
    reader.spawn(read).ok();
    typed_rx
}
