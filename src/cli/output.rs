//! Writing to stdout and stderr.

use std::io::{self, Write as _};

/// Writes to stdout at once.
pub(super) fn write(text: &str) -> io::Result<()> {
    let mut stdout = io::stdout().lock();
    stdout.write_all(text.as_bytes())?;
    stdout.flush()
}

/// One line for a person, on stderr.
pub(super) fn say(line: &str) {
    // Nobody there to read it is no reason to fail.
    io::stderr()
        .lock()
        .write_all(format!("{line}\n").as_bytes())
        .ok();
}
