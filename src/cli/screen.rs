//! Lines that stay, and below them a few rows that change: what is being written, and what is going on.
//!
//! Everything is written in one call, so that nothing flickers. In a pipe there are only lines that stay.

use std::io;

use super::output::write;
use super::terminal::Terminal;

/// Where a command writes.
#[derive(Debug)]
pub(super) struct Screen {
    terminal: Terminal,
    /// The rows that change, as they are shown now.
    shown: Vec<String>,
    /// Where the cursor is, where it is shown.
    column: usize,
    whole: bool,
}

const HIDE_CURSOR: &str = "\u{1b}[?25l";
const SHOW_CURSOR: &str = "\u{1b}[?25h";
const CLEAR_BELOW: &str = "\u{1b}[J";
const OTHER_SCREEN: &str = "\u{1b}[?1049h";
const FIRST_SCREEN: &str = "\u{1b}[?1049l";
const HOME: &str = "\u{1b}[H";

// === impl Screen ===

impl Screen {
    pub(super) const fn new(terminal: Terminal) -> Self {
        Self {
            terminal,
            shown: Vec::new(),
            column: 0,
            whole: false,
        }
    }

    /// Writes lines that stay, and below them `rows` in the place of those before.
    ///
    /// # Errors
    /// When stdout takes no more.
    pub(super) fn show(&mut self, lines: &[String], rows: Vec<String>) -> io::Result<()> {
        let rows = if self.terminal.output {
            rows
        } else {
            Vec::new()
        };
        if lines.is_empty() && rows == self.shown {
            return Ok(());
        }
        let mut text = self.erased();
        for line in lines {
            text.push_str(line);
            text.push('\n');
        }
        if !rows.is_empty() {
            text.push_str(HIDE_CURSOR);
            text.push_str(&rows.join("\n"));
        }
        self.shown = rows;
        write(&text)
    }

    /// The same, with the cursor in this column of the last row.
    ///
    /// # Errors
    /// When stdout takes no more.
    pub(super) fn show_with_cursor(
        &mut self,
        lines: &[String],
        rows: Vec<String>,
        column: usize,
    ) -> io::Result<()> {
        let same = lines.is_empty() && rows == self.shown && column == self.column;
        if same {
            return Ok(());
        }
        self.column = column;
        self.show(lines, rows)?;
        write(&format!("\r\u{1b}[{column}C{SHOW_CURSOR}"))
    }

    /// Only lines that stay.
    pub(super) fn lines(&mut self, lines: &[String]) -> io::Result<()> {
        self.show(lines, Vec::new())
    }

    /// The whole terminal, on a screen of its own, so that what was there before comes back.
    pub(super) fn whole(&mut self, rows: &[String]) -> io::Result<()> {
        let mut text = String::new();
        if !std::mem::replace(&mut self.whole, true) {
            text.push_str(OTHER_SCREEN);
            text.push_str(HIDE_CURSOR);
        }
        text.push_str(HOME);
        for (at, row) in rows.iter().enumerate() {
            text.push_str(if at == 0 { "" } else { "\n" });
            text.push_str(row);
            // What is left of the row that was here before.
            text.push_str("\u{1b}[K");
        }
        text.push_str(CLEAR_BELOW);
        write(&text)
    }

    /// Leaves the terminal to somebody else. What is shown next is shown anew.
    ///
    /// # Errors
    /// When stdout takes no more.
    pub(super) fn leave(&mut self) -> io::Result<()> {
        let mut text = self.erased();
        self.shown.clear();
        if std::mem::take(&mut self.whole) {
            text.push_str(SHOW_CURSOR);
            text.push_str(FIRST_SCREEN);
        }
        if text.is_empty() {
            Ok(())
        } else {
            write(&text)
        }
    }

    /// The control sequences that take the changing rows away.
    fn erased(&self) -> String {
        if self.shown.is_empty() {
            return String::new();
        }
        let up = self.shown.len() - 1;
        let mut text = if up > 0 {
            format!("\u{1b}[{up}A")
        } else {
            String::new()
        };
        text.push('\r');
        text.push_str(CLEAR_BELOW);
        text.push_str(SHOW_CURSOR);
        text
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        // A terminal that is gone needs no cursor.
        self.leave().ok();
    }
}
