//! The one row that says what goes on while a turn runs. Pure.

use std::time::Duration;

use super::client::{Event, Session};
use super::layout::{age, cost, count, cut};
use super::plain_text::one_line;
use super::style::Style;
use super::transcript::tool_arguments;

const FRAMES: [&str; 10] = ["⠋", "⠙", "⠹", "⠸", "⠼", "⠴", "⠦", "⠧", "⠇", "⠏"];

/// What is known of the turn.
#[derive(Debug, Default)]
pub(super) struct Progress {
    frame: usize,
    /// What the agent does, and when that began.
    activity: Option<(String, Duration)>,
    percent: u64,
    phase: String,
    /// Why there is no connection, if so.
    pub(super) lost: Option<String>,
    pub(super) session: Option<Session>,
}

// === impl Progress ===

impl Progress {
    /// Takes an event that came `at` after the beginning.
    pub(super) fn push(&mut self, event: &Event, at: Duration) {
        self.lost = None;
        match event.kind.as_str() {
            "tool_call" => {
                let tool = one_line(event.text("tool"));
                let what = tool_arguments(event.text("tool"), &event.data["args"]);
                self.activity = Some((format!("{tool} {what}").trim_end().to_owned(), at));
            }
            "tool_result" => self.activity = None,
            "status" => {
                self.percent = event.data["progress"].as_u64().unwrap_or(0);
                self.phase = one_line(event.text("phase"));
            }
            _ => {}
        }
    }

    /// The next picture of the row, `elapsed` after the beginning.
    pub(super) fn row(&mut self, style: Style, elapsed: Duration, columns: usize) -> String {
        self.frame = (self.frame + 1) % FRAMES.len();
        let activity = match (&self.lost, &self.activity) {
            (Some(reason), _) => format!("reconnecting: {reason}"),
            (None, _) if !self.phase.is_empty() => self.phase.replace('_', " "),
            (None, Some((what, since))) if elapsed.saturating_sub(*since).as_secs() >= 3 => {
                format!(
                    "{} for {}",
                    cut(what, 40),
                    age(elapsed.saturating_sub(*since))
                )
            }
            (None, Some((what, _))) => cut(what, 40),
            (None, None) => "thinking".to_owned(),
        };
        let mut facts = vec![activity, age(elapsed)];
        if elapsed.as_secs() == 0 {
            facts.truncate(1);
        }
        if let Some(session) = &self.session {
            let tokens = session.turn_model_calls.total_tokens;
            facts.extend((tokens > 0).then(|| format!("{} tokens", count(tokens))));
            facts.extend(cost(session.turn_usage.cost));
        }
        facts.extend((self.percent > 0).then(|| format!("{} %", self.percent)));
        let text = cut(&facts.join(" · "), columns.saturating_sub(3));
        format!("{} {}", style.active(FRAMES[self.frame]), style.dim(&text))
    }
}
