//! Blocks of lines with an empty line between them, and the line that is being written.

use crate::cli::layout::{cut, first_row};
use crate::cli::plain_text::Cleaner;
use crate::cli::style::Style;

/// What the lines belong to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Block {
    /// Before the first one.
    None,
    Answer,
    Reasoning,
    /// A tool call, by its id.
    Tool(String),
    Plan,
    Note,
    Ask,
    End,
}

/// Makes lines of pieces of text.
#[derive(Debug)]
pub(super) struct Writer {
    style: Style,
    columns: Option<usize>,
    lines: Vec<String>,
    block: Block,
    /// Nothing more comes in this block: the same kind begins a new one.
    ended: bool,
    /// Whether anything was written at all.
    begun: bool,
    cleaner: Cleaner,
    /// The line that is being written.
    pending: String,
    /// Lines of text that were made since they were last counted, and where they begin.
    fresh: usize,
    /// Nothing was written in this block of the model's words yet.
    at_start: bool,
    agent: Option<String>,
}

// === impl Writer ===

impl Writer {
    pub(super) const fn new(style: Style, columns: Option<usize>) -> Self {
        Self {
            style,
            columns,
            lines: Vec::new(),
            block: Block::None,
            ended: false,
            begun: false,
            cleaner: Cleaner::new(),
            pending: String::new(),
            fresh: 0,
            at_start: false,
            agent: None,
        }
    }

    pub(super) const fn resize(&mut self, columns: Option<usize>) {
        self.columns = columns;
    }

    pub(super) fn take(&mut self) -> Vec<String> {
        self.fresh = 0;
        std::mem::take(&mut self.lines)
    }

    /// Whose events follow: a subagent's, or the session's own.
    pub(super) fn agent(&mut self, name: Option<&str>) {
        if self.agent.as_deref() == name {
            return;
        }
        self.end_line();
        self.block = Block::None;
        self.agent = name.map(crate::cli::plain_text::one_line);
    }

    /// Goes on in the block, or ends the one before and begins it. `title` is its first line.
    pub(super) fn begin(&mut self, block: Block, title: Option<String>) {
        if self.block == block && !self.ended {
            return;
        }
        self.end_line();
        self.fresh = 0;
        // Notes stand together.
        self.at_start = matches!(block, Block::Answer | Block::Reasoning);
        let together = self.block == block && block == Block::Note;
        if self.begun && !together {
            self.lines.push(String::new());
        }
        (self.block, self.ended, self.begun) = (block, false, true);
        self.cleaner = Cleaner::new();
        if let Some(title) = title {
            self.line(title);
        }
    }

    /// Nothing more comes in this block.
    pub(super) fn end(&mut self) {
        self.end_line();
        self.ended = true;
    }

    /// A whole line, as it is. It holds no text that was not cleaned.
    pub(super) fn line(&mut self, line: String) {
        self.lines.push(match &self.agent {
            Some(agent) => format!("{} {line}", self.style.dim(&format!("{agent} ›"))),
            None => line,
        });
        self.fresh = 0;
    }

    /// More text, which may be cut anywhere.
    pub(super) fn text(&mut self, text: &str) {
        let mut clean = String::with_capacity(text.len());
        self.cleaner.push(text, &mut clean);
        for c in clean.chars() {
            match c {
                // A block does not begin with blanks: they are the distance to what was before it.
                '\n' | ' ' if self.at_start => {}
                '\n' => self.end_text_line(),
                // The line is written anew, as progress bars do.
                '\r' => self.pending.clear(),
                c => {
                    self.at_start = false;
                    self.pending.push(c);
                }
            }
        }
        if self.columns.is_some() && !matches!(self.block, Block::Tool(_)) {
            self.wrap();
        }
    }

    /// Keeps at most `limit` of the lines of text that were made since the last call. How many there were.
    pub(super) fn keep(&mut self, limit: usize) -> usize {
        let fresh = std::mem::take(&mut self.fresh);
        let first = self.lines.len() - fresh;
        self.lines.truncate(first + fresh.min(limit));
        fresh
    }

    pub(super) fn end_line(&mut self) {
        if !self.pending.is_empty() {
            self.end_text_line();
        }
    }

    /// The line that is being written, in one row.
    pub(super) fn unfinished(&self) -> Option<String> {
        let shown = !self.pending.trim().is_empty();
        shown.then(|| self.decorated(&self.pending))
    }

    fn end_text_line(&mut self) {
        let line = std::mem::take(&mut self.pending);
        let line = line.trim_end();
        let decorated = self.decorated(line);
        self.lines.push(decorated);
        self.fresh += 1;
    }

    /// Makes lines of what fills a row.
    fn wrap(&mut self) {
        let room = self.room();
        loop {
            let (row, rest) = first_row(&self.pending, room);
            if rest.is_empty() {
                return;
            }
            let (row, rest) = (row.to_owned(), rest.to_owned());
            let decorated = self.decorated(&row);
            self.lines.push(decorated);
            self.fresh += 1;
            self.pending = rest;
        }
    }

    fn decorated(&self, line: &str) -> String {
        let agent = match &self.agent {
            Some(agent) => self.style.dim(&format!("{agent} › ")),
            None => String::new(),
        };
        let line = match self.columns {
            Some(_) => cut(line, self.room()),
            None => line.to_owned(),
        };
        let line = match self.block {
            Block::Tool(_) if line.is_empty() => self.style.dim("│"),
            Block::Tool(_) => format!("{} {line}", self.style.dim("│")),
            Block::Reasoning => self.style.dim(&line),
            _ => line,
        };
        agent + &line
    }

    /// Columns for the text of a line.
    fn room(&self) -> usize {
        let agent = self
            .agent
            .as_deref()
            .map_or(0, |agent| crate::cli::layout::width(agent) + 3);
        let bar = if matches!(self.block, Block::Tool(_)) {
            2
        } else {
            0
        };
        let columns = self.columns.unwrap_or(usize::MAX);
        columns.saturating_sub(agent + bar).max(8)
    }
}
