//! A session's events as a person reads them. Pure: events in, lines out.
//!
//! ```text
//! I list the workspace.
//!
//! ● bash  ls -la
//! │ total 4
//! └ exit 0, 13 ms
//!
//! ✓ completed in 2.1 s · 1 file changed · 310 tokens read, 20 written
//! ```

mod asked;
mod block;
mod ending;
mod look;
mod summary;

use std::collections::HashMap;

use self::block::{Block, Writer};
pub(super) use self::look::Look;
use self::look::SHORT;
pub(super) use self::summary::arguments as tool_arguments;
use super::client::Event;
use super::layout::{duration, plural};
use super::plain_text::one_line;

/// Turns events into lines.
#[derive(Debug)]
pub(super) struct Transcript {
    look: Look,
    writer: Writer,
    calls: HashMap<String, Call>,
    phase: String,
    /// The last turn has ended.
    ended: bool,
    /// The text of the last `complete` event.
    final_message: Option<String>,
}

/// A tool call that has not ended.
#[derive(Debug)]
struct Call {
    title: String,
    lines: usize,
}

// === impl Transcript ===

impl Transcript {
    pub(super) fn new(look: Look) -> Self {
        Self {
            look,
            writer: Writer::new(look.style, look.columns),
            calls: HashMap::new(),
            phase: String::new(),
            ended: false,
            final_message: None,
        }
    }

    /// Lines that are whole.
    pub(super) fn take(&mut self) -> Vec<String> {
        self.writer.take()
    }

    /// The beginning of a line that is still being written.
    pub(super) fn unfinished(&self) -> Option<String> {
        self.writer.unfinished()
    }

    /// Ends the line that is being written, as where nothing more comes.
    pub(super) fn finish(&mut self) {
        self.writer.end_line();
    }

    pub(super) fn final_message(&self) -> Option<&str> {
        self.final_message.as_deref()
    }

    /// The terminal has another width now.
    pub(super) fn resize(&mut self, columns: Option<usize>) {
        self.look.columns = columns;
        self.writer.resize(columns);
    }

    pub(super) fn push(&mut self, event: &Event) {
        self.writer.agent(event.data["agent"]["name"].as_str());
        match event.kind.as_str() {
            "output" => self.output(event),
            "tool_call" => self.tool_call(event),
            "tool_result" => self.tool_result(event),
            "status" => self.status(event),
            "error" => self.error(event),
            "complete" => self.complete(event),
            "todo" => self.todo(event),
            "permission" | "question" => self.ask(event),
            "prompt" => self.prompt(event),
            "gap" => self.gap(event),
            _ => {}
        }
        self.ended = event.is_terminal() || self.ended && !event.is_of_running_turn();
    }

    fn output(&mut self, event: &Event) {
        let text = event.text("text");
        match event.text("source") {
            "tool" => {
                let id = event.text("call_id");
                let title = self.calls.get(id).map(|call| call.title.clone());
                self.writer.begin(Block::Tool(id.to_owned()), title);
                self.writer.text(text);
                self.shorten(id);
            }
            "reasoning" => {
                self.writer.begin(Block::Reasoning, None);
                self.writer.text(text);
            }
            _ => {
                self.writer.begin(Block::Answer, None);
                self.writer.text(text);
            }
        }
    }

    /// On a terminal the output of a tool is cut; what is left out is said at its end.
    fn shorten(&mut self, id: &str) {
        let limit = match self.look.columns {
            Some(_) if !self.look.full => SHORT,
            _ => usize::MAX,
        };
        if let Some(call) = self.calls.get_mut(id) {
            call.lines += self.writer.keep(limit.saturating_sub(call.lines));
        }
    }

    fn tool_call(&mut self, event: &Event) {
        let (id, tool) = (event.text("call_id"), event.text("tool"));
        // The plan has an event of its own, and so has a question.
        if matches!(tool, "todowrite" | "question") {
            return;
        }
        let title = summary::title(self.look.style, tool, &event.data["args"]);
        let call = Call {
            title: title.clone(),
            lines: 0,
        };
        self.calls.insert(id.to_owned(), call);
        self.writer.begin(Block::Tool(id.to_owned()), Some(title));
    }

    fn tool_result(&mut self, event: &Event) {
        let id = event.text("call_id");
        let Some(call) = self.calls.remove(id) else {
            return;
        };
        self.writer
            .begin(Block::Tool(id.to_owned()), Some(call.title));
        self.writer.end_line();
        self.shorten_last(call.lines);
        let style = self.look.style;
        let took = event.data["duration_ms"]
            .as_u64()
            .map(std::time::Duration::from_millis);
        let (words, failed) =
            summary::result(&event.data["result"], event.data["is_error"] == true);
        let words: Vec<String> = words.into_iter().chain(took.map(duration)).collect();
        let line = format!("└ {}", words.join(", "));
        self.writer.line(if failed {
            style.bad(&line)
        } else {
            style.dim(&line)
        });
        self.writer.end();
    }

    /// Says how many lines are not shown.
    fn shorten_last(&mut self, lines: usize) {
        if self.look.columns.is_some() && !self.look.full && lines > SHORT {
            let more = plural(lines - SHORT, "more line");
            self.writer.line(
                self.look
                    .style
                    .dim(&format!("│ … {more} (--full shows all)")),
            );
        }
    }

    fn status(&mut self, event: &Event) {
        let reason = one_line(event.text("reason"));
        if event.text("status") == "cancelled" && !self.ended {
            self.writer.begin(Block::End, None);
            self.writer.line(self.look.style.warning("■ cancelled"));
            self.writer.end();
            return;
        }
        if !event.is_of_running_turn() {
            if !reason.is_empty() {
                self.note("·", &reason);
            }
            return;
        }
        let phase = event.text("phase");
        // A retry has an event of its own, and the progress line shows the rest.
        if phase != self.phase && !phase.is_empty() && phase != "provider_retry" {
            let words = if reason.is_empty() {
                phase.replace('_', " ")
            } else {
                reason
            };
            self.note("…", &words);
        }
        phase.clone_into(&mut self.phase);
    }

    fn error(&mut self, event: &Event) {
        let sentence = one_line(event.text("error"));
        if event.data["fatal"] != true {
            let wait = event.data["retry_after"]
                .as_f64()
                .filter(|wait| *wait > 0.0);
            let again = wait.map_or(String::new(), |wait| format!("; again in {wait:.0} s"));
            self.note("!", &format!("{sentence}{again}"));
            return;
        }
        self.writer.begin(Block::End, None);
        for line in ending::failed(&self.look, event, &sentence) {
            self.writer.line(line);
        }
        self.writer.end();
    }

    fn complete(&mut self, event: &Event) {
        self.final_message = Some(event.text("final_message").to_owned());
        self.writer.begin(Block::End, None);
        self.writer.line(ending::completed(&self.look, event));
        self.writer.end();
    }

    fn todo(&mut self, event: &Event) {
        let style = self.look.style;
        self.writer.begin(
            Block::Plan,
            Some(format!("{} {}", style.active("●"), style.bold("plan"))),
        );
        for item in event.data["items"].as_array().into_iter().flatten() {
            let text = one_line(item["content"].as_str().unwrap_or_default());
            let line = match item["status"].as_str().unwrap_or_default() {
                "completed" => style.dim(&format!("  ✓ {text}")),
                "in_progress" => style.bold(&format!("  ▸ {text}")),
                "cancelled" => style.dim(&format!("  ✗ {text}")),
                _ => format!("  ○ {text}"),
            };
            self.writer.line(line);
        }
        self.writer.end();
    }

    /// What is asked of a person, or was answered.
    fn ask(&mut self, event: &Event) {
        if event.text("state") != "asked" {
            self.note("›", &asked::answered(event));
            return;
        }
        self.writer.begin(Block::Ask, None);
        let lines = match event.kind.as_str() {
            "permission" => asked::permission(&self.look, event),
            _ => asked::question(&self.look, event),
        };
        for line in lines {
            self.writer.line(line);
        }
        self.writer.end();
    }

    fn prompt(&mut self, event: &Event) {
        let state = one_line(event.text("state"));
        let text = one_line(event.text("text"));
        self.note("›", format!("{state}: {text}").trim_end_matches(": "));
    }

    fn gap(&mut self, event: &Event) {
        let reason = one_line(event.text("reason")).replace('_', " ");
        let missed = event.data["missed"].as_u64().unwrap_or(0);
        let missed = if missed == 0 {
            "events may be missing here".to_owned()
        } else {
            let number = usize::try_from(missed).unwrap_or(usize::MAX);
            format!("{} missing here", plural(number, "event"))
        };
        self.note("!", &format!("{missed} ({reason})"));
    }

    fn note(&mut self, mark: &str, text: &str) {
        let style = self.look.style;
        self.writer.begin(Block::Note, None);
        let line = format!("{mark} {text}");
        self.writer.line(if mark == "!" {
            style.warning(&line)
        } else {
            style.dim(&line)
        });
        self.writer.end();
    }
}

#[cfg(test)]
mod tests;
