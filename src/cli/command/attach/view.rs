//! What is shown of a conversation, and what keys mean in it.

use std::time::{Duration, Instant};

use super::words::HELP;
use crate::cli::answering::{Answer, Answering, Pressed};
use crate::cli::client::Event;
use crate::cli::editor::{Editor, Entered};
use crate::cli::exit::{Exit, Outcome, Problem};
use crate::cli::keys::{Decoder, Key};
use crate::cli::layout::cut;
use crate::cli::plain_text::one_line;
use crate::cli::progress::Progress;
use crate::cli::screen::Screen;
use crate::cli::terminal::Terminal;
use crate::cli::transcript::{Look, Transcript};
use crate::clock::Timestamp;

/// Lines of what was before that are shown at most: a terminal that scrolls for a minute helps nobody.
const EARLIER: usize = 1000;

/// What comes of a call.
pub(super) enum Done {
    Nothing,
    /// A prompt was taken, and what becomes of it.
    Sent(String, String),
    /// The prompts that wait.
    Queue(Vec<String>),
}

/// What a person wants.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Asked {
    Line(String),
    Answer(Answer),
    Stop,
    Leave,
}

/// How far a person is with stopping the turn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stopping {
    No,
    /// Ctrl-C was pressed, and what that is to mean is asked.
    Asking,
    /// The sidecar was told.
    Stopped,
}

/// The terminal of a conversation.
pub(super) struct View {
    terminal: Terminal,
    screen: Screen,
    transcript: Transcript,
    progress: Progress,
    answering: Answering,
    keys: Decoder,
    editor: Editor,
    running: Option<Instant>,
    /// Events up to this number happened before; of them the last turn is shown, or all.
    replayed: u64,
    all: bool,
    turn: u64,
    /// Lines that were made while what happened before was read.
    earlier: Vec<String>,
    stopping: Stopping,
    notes: Vec<String>,
    /// The last line that was written is an empty one.
    after_blank: bool,
}

// === impl View ===

impl View {
    pub(super) fn new(
        terminal: Terminal,
        full: bool,
        all: bool,
        replayed: u64,
        active: bool,
    ) -> Self {
        let look = Look {
            style: terminal.style(),
            columns: terminal.columns(),
            full,
        };
        Self {
            terminal,
            screen: Screen::new(terminal),
            transcript: Transcript::new(look),
            progress: Progress::default(),
            answering: Answering::default(),
            keys: Decoder::default(),
            editor: Editor::default(),
            running: active.then(Instant::now),
            replayed,
            all,
            turn: 0,
            earlier: Vec::new(),
            stopping: Stopping::No,
            notes: Vec::new(),
            after_blank: true,
        }
    }

    pub(super) fn event(&mut self, event: &Event) -> Result<(), Problem> {
        let turn = event.data["turn"].as_u64().unwrap_or(self.turn);
        let replaying = self.replayed > 0;
        // A prompt that waits has the number of a turn that has not begun.
        if event.kind != "prompt" && turn != self.turn {
            self.turn = turn;
            if replaying && !self.all {
                self.transcript.take();
                self.earlier.clear();
            }
        }
        if event.is_of_running_turn() {
            self.running.get_or_insert_with(Instant::now);
        }
        let elapsed = self.running.map_or(Duration::ZERO, |began| began.elapsed());
        self.progress.push(event, elapsed);
        self.answering.push(event, Instant::now());
        self.transcript.push(event);
        if event.is_terminal() {
            self.running = None;
            self.stopping = Stopping::No;
            self.progress = Progress::default();
        }
        if !replaying {
            return self.draw();
        }
        self.earlier.extend(self.transcript.take());
        if event.number().is_some_and(|number| number >= self.replayed) {
            self.replayed = 0;
            return self.draw();
        }
        Ok(())
    }

    const fn runs(&self) -> bool {
        self.running.is_some()
    }

    pub(super) fn lost(&mut self, reason: String) -> Result<(), Problem> {
        self.progress.lost = Some(reason);
        self.draw()
    }

    pub(super) fn typed(&mut self, bytes: &[u8]) -> Vec<Asked> {
        let keys = self.keys.push(bytes);
        keys.into_iter()
            .filter_map(|key| self.pressed(key))
            .collect()
    }

    fn pressed(&mut self, key: Key) -> Option<Asked> {
        if self.stopping == Stopping::Asking {
            self.stopping = Stopping::No;
            return match key {
                Key::Char('s' | 'S') => Some(self.stop()),
                Key::Char('d' | 'D') => Some(Asked::Leave),
                _ => None,
            };
        }
        let now = Instant::now();
        let key = match self.answering.press(key, &mut self.editor, now) {
            Pressed::Answer(answer) => return Some(Asked::Answer(answer)),
            Pressed::Taken => return None,
            Pressed::Other(key) => key,
        };
        match self.editor.press(key) {
            Entered::Nothing => None,
            Entered::Line(line) => Some(
                self.answering
                    .line(&line, now)
                    .map_or(Asked::Line(line), Asked::Answer),
            ),
            Entered::End => Some(Asked::Leave),
        }
    }

    pub(super) fn interrupted(&mut self) -> Vec<Asked> {
        if !self.editor.is_empty() {
            self.editor.clear();
            return Vec::new();
        }
        if !self.runs() {
            return vec![Asked::Leave];
        }
        match self.stopping {
            Stopping::No => {
                self.stopping = Stopping::Asking;
                Vec::new()
            }
            Stopping::Asking => vec![self.stop()],
            // Nobody waits for a stop that does not come.
            Stopping::Stopped => vec![Asked::Leave],
        }
    }

    const fn stop(&mut self) -> Asked {
        self.stopping = Stopping::Stopped;
        Asked::Stop
    }

    pub(super) fn leave_terminal(&mut self) -> Result<(), Problem> {
        Ok(self.screen.leave()?)
    }

    pub(super) fn tick(&mut self) {
        self.keys.tick();
    }

    /// What comes of a call. What is refused is said, and the conversation goes on.
    pub(super) fn done(&mut self, done: Result<Done, Problem>) {
        match done {
            Ok(Done::Nothing) => {}
            Ok(Done::Sent(prompt, status)) => self.sent(&prompt, &status),
            Ok(Done::Queue(prompts)) => self.queue(&prompts),
            Err(problem) => self.refused(&problem.sentence),
        }
    }

    /// A prompt was taken. Of one that does not begin at once the stream says what becomes of it.
    fn sent(&mut self, prompt: &str, status: &str) {
        if status != "running" {
            return;
        }
        let style = self.terminal.style();
        self.note(format!(
            "{} {}",
            style.active("›"),
            style.bold(&one_line(prompt))
        ));
    }

    pub(super) fn refused(&mut self, sentence: &str) {
        self.answering.refused();
        self.stopping = Stopping::No;
        let line = self
            .terminal
            .style()
            .warning(&format!("! {}", one_line(sentence)));
        self.note(line);
    }

    pub(super) fn help(&mut self) {
        let style = self.terminal.style();
        self.notes.push(String::new());
        for (words, meaning) in HELP {
            self.notes
                .push(format!("  {words:<16} {}", style.dim(meaning)));
        }
        self.notes.push(String::new());
    }

    /// The prompts that wait, each as its turn and its words.
    fn queue(&mut self, prompts: &[String]) {
        let style = self.terminal.style();
        if prompts.is_empty() {
            return self.note(style.dim("no prompt waits"));
        }
        self.notes.push(String::new());
        for prompt in prompts {
            self.notes
                .push(format!("  {}", style.dim(&one_line(prompt))));
        }
        self.notes.push(String::new());
    }

    fn note(&mut self, line: String) {
        self.notes.push(String::new());
        self.notes.push(line);
        self.notes.push(String::new());
    }

    /// Notes and events each have an empty line around them.
    fn drop_double_blanks(&mut self, lines: &mut Vec<String>) {
        lines.retain(|line| {
            let keep = !(line.is_empty() && self.after_blank);
            self.after_blank = line.is_empty();
            keep
        });
    }

    pub(super) fn draw(&mut self) -> Result<(), Problem> {
        if self.replayed > 0 {
            return Ok(());
        }
        let columns = self.terminal.columns().unwrap_or(80);
        self.transcript.resize(Some(columns));
        let mut lines = std::mem::take(&mut self.earlier);
        let skipped = lines.len().saturating_sub(EARLIER);
        lines.drain(..skipped);
        // In the middle of a line of the agent nothing else can be written.
        lines.extend(self.transcript.take());
        lines.append(&mut self.notes);
        self.drop_double_blanks(&mut lines);
        let mut rows: Vec<String> = self.transcript.unfinished().into_iter().collect();
        rows.push(String::new());
        rows.push(self.state_row(columns));
        let (text, at) = self.editor.row(columns.saturating_sub(3));
        rows.push(format!("{} {text}", self.terminal.style().active("›")));
        Ok(self.screen.show_with_cursor(&lines, rows, at + 2)?)
    }

    fn state_row(&mut self, columns: usize) -> String {
        let style = self.terminal.style();
        let key = |key: &str, meaning: &str| format!("{} {meaning}", style.bold(key));
        if self.stopping == Stopping::Asking {
            let question = style.warning("The turn is running.");
            let keys = [
                key("s", "stop it"),
                key("d", "leave, it goes on"),
                key("c", "continue"),
            ];
            return format!("{question}  {}", keys.join("   "));
        }
        let (now, at) = (Timestamp::now(), Instant::now());
        if let Some(row) = self.answering.row(style, columns, now, at)
            && self.progress.lost.is_none()
        {
            return row;
        }
        match (self.running, &self.progress.lost) {
            (Some(began), _) => self.progress.row(style, began.elapsed(), columns),
            (None, Some(reason)) => {
                style.warning(&cut(&format!("reconnecting: {reason}"), columns))
            }
            (None, None) => style.dim("idle · type a prompt, /help, or Ctrl-D to leave"),
        }
    }

    pub(super) fn leave(mut self, exit: Exit) -> Outcome {
        self.transcript.finish();
        let mut lines = self.transcript.take();
        lines.append(&mut self.notes);
        if self.runs() {
            lines.push(String::new());
            lines.push(self.terminal.style().dim("Left; the turn goes on."));
        }
        self.screen.lines(&lines)?;
        Ok(exit)
    }
}
