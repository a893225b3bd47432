//! What is shown of a session that is followed, and what keys and signals mean meanwhile.

use std::time::Instant;

use super::form::{Form, Owner, Until};
use crate::cli::answering::{Answer, Answering, Pressed};
use crate::cli::client::{Event, Session};
use crate::cli::editor::{Editor, Entered};
use crate::cli::exit::{Exit, Outcome, Problem};
use crate::cli::keys::{Decoder, Key};
use crate::cli::plain_text::{Cleaner, one_line};
use crate::cli::progress::Progress;
use crate::cli::screen::Screen;
use crate::cli::terminal::Terminal;
use crate::cli::transcript::{Look, Transcript};
use crate::clock::Timestamp;

/// Why the turn is being stopped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stopping {
    Asked,
    Timeout,
}

/// What a signal, a key or the clock says.
#[derive(Debug)]
pub(super) enum Said {
    Stop(Stopping),
    Answer(Answer),
    Detach,
    Leave,
}

/// The terminal, or the pipe.
pub(super) struct View {
    form: Form,
    terminal: Terminal,
    session: String,
    owner: Owner,
    screen: Screen,
    transcript: Transcript,
    progress: Progress,
    answering: Answering,
    keys: Decoder,
    editor: Editor,
    /// Lines of ours.
    notes: Vec<String>,
    began: Instant,
    pub(super) live: bool,
    /// Ctrl-C was pressed once.
    asking: bool,
}

// === impl View ===

impl View {
    pub(super) fn new(
        terminal: Terminal,
        form: Form,
        full: bool,
        session: &str,
        until: Until,
        owner: Owner,
    ) -> Self {
        let columns = terminal.columns().filter(|_| form == Form::Text);
        let look = Look {
            style: terminal.style(),
            columns,
            full,
        };
        Self {
            form,
            terminal,
            session: session.to_owned(),
            owner,
            screen: Screen::new(terminal),
            transcript: Transcript::new(look),
            progress: Progress::default(),
            answering: Answering::default(),
            keys: Decoder::default(),
            editor: Editor::default(),
            notes: Vec::new(),
            began: Instant::now(),
            live: terminal.output
                && matches!(form, Form::Text | Form::Answer)
                && !matches!(until, Until::Number(_)),
            asking: false,
        }
    }

    /// Whether a person can be asked something.
    pub(super) const fn asks(&self) -> bool {
        self.owner.may_stop() && self.live && self.terminal.is_interactive()
    }

    /// SIGTERM: nobody can be asked.
    pub(super) const fn terminated(&self) -> Said {
        if self.owner.may_stop() {
            Said::Stop(Stopping::Asked)
        } else {
            Said::Leave
        }
    }

    /// Ctrl-C.
    pub(super) fn interrupted(&mut self) -> Option<Said> {
        if !self.owner.may_stop() {
            return Some(Said::Leave);
        }
        if !self.asks() || std::mem::replace(&mut self.asking, true) {
            return Some(Said::Stop(Stopping::Asked));
        }
        None
    }

    pub(super) fn typed(&mut self, bytes: &[u8]) -> Vec<Said> {
        let keys = self.keys.push(bytes);
        keys.into_iter()
            .filter_map(|key| self.pressed(key))
            .collect()
    }

    fn pressed(&mut self, key: Key) -> Option<Said> {
        if std::mem::take(&mut self.asking) {
            return match key {
                Key::Char('s' | 'S') => Some(Said::Stop(Stopping::Asked)),
                Key::Char('d' | 'D') if self.owner.may_detach() => Some(Said::Detach),
                // c, and whatever else was typed without thinking of this.
                _ => None,
            };
        }
        let now = Instant::now();
        match self.answering.press(key, &mut self.editor, now) {
            Pressed::Answer(answer) => Some(Said::Answer(answer)),
            Pressed::Taken => None,
            // Where no line is wanted keys have no meaning.
            Pressed::Other(_) if !self.answering.wants_line() => None,
            Pressed::Other(key) => match self.editor.press(key) {
                Entered::Line(line) => self.answering.line(&line, now).map(Said::Answer),
                Entered::Nothing | Entered::End => None,
            },
        }
    }

    /// An answer was taken, or not.
    pub(super) fn answered(&mut self, answered: Result<(), Problem>) {
        let Err(problem) = answered else { return };
        self.answering.refused();
        let line = format!("! {}", one_line(&problem.sentence));
        let line = self.terminal.style().warning(&line);
        self.notes.extend([line, String::new()]);
    }

    pub(super) fn leave_terminal(&mut self) -> Result<(), Problem> {
        Ok(self.screen.leave()?)
    }

    pub(super) fn tick(&mut self, session: Option<Session>) {
        self.progress.session = session;
        self.keys.tick();
    }

    pub(super) fn lost(&mut self, reason: String) -> Result<(), Problem> {
        self.progress.lost = Some(reason);
        self.draw()
    }

    pub(super) fn event(&mut self, event: &Event) -> Result<(), Problem> {
        match self.form {
            Form::Json | Form::Raw if event.kind == "heartbeat" => return Ok(()),
            Form::Json => return Ok(self.screen.lines(&[event.json_line()])?),
            Form::Raw => return Ok(self.screen.lines(&[event.frame()])?),
            Form::Text | Form::Answer => {}
        }
        self.progress.push(event, self.began.elapsed());
        self.answering.push(event, Instant::now());
        if !self.answering.wants_line() {
            self.editor.clear();
        }
        self.transcript.push(event);
        self.draw()
    }

    /// Writes what is whole, and the changing rows below it.
    pub(super) fn draw(&mut self) -> Result<(), Problem> {
        if !matches!(self.form, Form::Text | Form::Answer) {
            return Ok(());
        }
        self.transcript.resize(self.terminal.columns());
        let mut lines = self.transcript.take();
        if self.form == Form::Answer {
            lines.clear();
        }
        lines.append(&mut self.notes);
        let mut rows = Vec::new();
        if !self.live {
            return Ok(self.screen.show(&lines, rows)?);
        }
        rows.extend(
            self.transcript
                .unfinished()
                .filter(|_| self.form == Form::Text),
        );
        rows.push(String::new());
        let columns = self.terminal.columns().unwrap_or(80);
        rows.push(self.last_row(columns));
        if !self.answering.wants_line() || self.asking {
            return Ok(self.screen.show(&lines, rows)?);
        }
        let (text, at) = self.editor.row(columns.saturating_sub(3));
        rows.push(format!("{} {text}", self.terminal.style().active("›")));
        Ok(self.screen.show_with_cursor(&lines, rows, at + 2)?)
    }

    fn last_row(&mut self, columns: usize) -> String {
        let style = self.terminal.style();
        if self.asking {
            let key = |key: &str, meaning: &str| format!("{} {meaning}", style.bold(key));
            let (stop, go_on) = (key("s", "stop it"), key("c", "continue"));
            if self.owner.may_detach() {
                let question = style.warning("The turn is running.");
                let detach = key("d", "detach, it goes on");
                return format!("{question}  {stop}   {detach}   {go_on}");
            }
            let question = style.warning("The turn ends with this command.");
            return format!("{question}  {stop}   {go_on}");
        }
        let (now, at) = (Timestamp::now(), Instant::now());
        match self.answering.row(style, columns, now, at) {
            Some(row) if self.progress.lost.is_none() => row,
            _ => self.progress.row(style, self.began.elapsed(), columns),
        }
    }

    pub(super) fn ended(mut self, event: &Event, stopping: Option<Stopping>) -> Outcome {
        let rejected = event.text("finish_reason") == "rejected";
        let exit = match (event.kind.as_str(), event.text("code")) {
            // What was to be done was not allowed, so it is not done.
            ("complete", _) if rejected => Exit::Failed,
            ("complete", _) => Exit::Done,
            ("error", "timeout") => Exit::Timeout,
            ("error", _) => Exit::Failed,
            _ => stopped(stopping),
        };
        if self.form != Form::Answer {
            return self.finish(exit);
        }
        self.screen.lines(&[])?;
        let mut answer = String::new();
        Cleaner::new().push(
            self.transcript.final_message().unwrap_or_default(),
            &mut answer,
        );
        match exit {
            Exit::Done => {
                self.screen.lines(&[answer.replace('\r', "\n")])?;
                Ok(exit)
            }
            Exit::Failed if rejected => Err(Problem::failed(
                "the turn ended, because something was not allowed",
            )),
            Exit::Failed => Err(Problem::new(exit, one_line(event.text("error")))),
            exit => Ok(exit),
        }
    }

    pub(super) fn finish(mut self, exit: Exit) -> Outcome {
        self.transcript.finish();
        let lines = self.transcript.take();
        let lines = if self.form == Form::Text {
            lines
        } else {
            Vec::new()
        };
        self.screen.lines(&lines)?;
        Ok(exit)
    }

    pub(super) fn detach(mut self) -> Outcome {
        self.transcript.finish();
        let mut lines = self.transcript.take();
        let hint = format!(
            "Detached; the turn goes on. `opencode-sidecar attach {}` takes part in it again.",
            self.session
        );
        lines.push(String::new());
        lines.push(self.terminal.style().dim(&hint));
        self.screen.lines(&lines)?;
        Ok(Exit::Done)
    }
}

pub(super) fn stopped(stopping: Option<Stopping>) -> Exit {
    match stopping {
        Some(Stopping::Timeout) => Exit::Timeout,
        Some(Stopping::Asked) => Exit::Interrupted,
        None => Exit::Cancelled,
    }
}
