//! A person answers what the agent asks: what is shown of it, and what keys and lines mean. `run`, `resume` and `attach`
//! share it.

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::asks::{Ask, Asks, Kind, answers};
use super::client::{Client, Event};
use super::editor::{Editor, Entered};
use super::exit::Problem;
use super::keys::Key;
use super::layout::{cut, duration, width};
use super::style::Style;
use crate::clock::Timestamp;

/// An answer to one request.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Answer {
    /// The list that has the request: `permissions` or `questions`.
    list: &'static str,
    request: String,
    body: Value,
}

/// How long what is asked is shown before it takes a key: who is typing when it comes has not read it.
const KEY_DELAY: Duration = Duration::from_millis(700);

/// What waits for a person, and how far the person is with it.
#[derive(Debug, Default)]
pub(super) struct Answering {
    asks: Asks,
    /// The request that is to be answered now, and since when it is.
    first: Option<(String, Instant)>,
    step: Step,
}

/// How far the person is with the first request.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Step {
    #[default]
    Asked,
    /// A permission is being refused: a reason may be typed.
    Refusing,
    /// `always` was chosen, which wants the key twice: it covers what is not asked yet.
    ChoosingAlways,
    /// The answer is on its way. Nothing more is sent for this request.
    Sent,
}

/// What a key was.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Pressed {
    Answer(Answer),
    /// It belonged to the request.
    Taken,
    /// It has nothing to do with what is asked.
    Other(Key),
}

// === impl Answer ===

impl Answer {
    fn permission(request: &str, reply: &str) -> Self {
        Self {
            list: "permissions",
            request: request.to_owned(),
            body: json!({ "reply": reply }),
        }
    }

    pub(super) async fn send(&self, client: &Client, session: &str) -> Result<(), Problem> {
        let path = ["sessions", session, self.list, &self.request];
        client.post(&path, &self.body).await.map(drop)
    }
}

// === impl Answering ===

impl Answering {
    pub(super) fn push(&mut self, event: &Event, now: Instant) {
        self.asks.push(event);
        let first = self.asks.first().map(|ask| ask.id.as_str());
        if self.first.as_ref().map(|(id, _)| id.as_str()) != first {
            self.first = first.map(|id| (id.to_owned(), now));
            self.step = Step::Asked;
        }
    }

    /// The answer was not taken: it can be given again.
    pub(super) const fn refused(&mut self) {
        self.step = Step::Asked;
    }

    /// Whether a line is being written for it: an answer, or the reason of a refusal.
    pub(super) fn wants_line(&self) -> bool {
        let question = |ask: &Ask| matches!(ask.kind, Kind::Question(_));
        match self.step {
            Step::Refusing => true,
            Step::Sent => false,
            Step::Asked | Step::ChoosingAlways => self.asks.first().is_some_and(question),
        }
    }

    fn takes_keys(&self, now: Instant) -> bool {
        let since = self.first.as_ref().map(|(_, since)| *since);
        since.is_some_and(|since| now.saturating_duration_since(since) >= KEY_DELAY)
    }

    pub(super) fn press(&mut self, key: Key, editor: &mut Editor, now: Instant) -> Pressed {
        let Some(Ask {
            id,
            kind: Kind::Permission { .. },
            ..
        }) = self.asks.first()
        else {
            return Pressed::Other(key);
        };
        let empty = editor.is_empty();
        match (self.step, key) {
            (Step::Refusing, key) => match editor.press(key) {
                Entered::Nothing => Pressed::Taken,
                Entered::Line(reason) => {
                    let mut answer = Answer::permission(id, "reject");
                    if !reason.trim().is_empty() {
                        answer.body["message"] = reason.trim().into();
                    }
                    self.step = Step::Sent;
                    Pressed::Answer(answer)
                }
                Entered::End => {
                    self.step = Step::Asked;
                    Pressed::Taken
                }
            },
            (Step::ChoosingAlways, Key::Char('a' | 'A')) => {
                self.step = Step::Sent;
                Pressed::Answer(Answer::permission(id, "always"))
            }
            (Step::ChoosingAlways, _) => {
                self.step = Step::Asked;
                Pressed::Taken
            }
            // A key that was pressed twice is not meant for what comes next.
            (Step::Sent, Key::Char('y' | 'Y' | 'a' | 'A' | 'n' | 'N')) if empty => Pressed::Taken,
            (Step::Asked, Key::Char(c @ ('y' | 'Y' | 'a' | 'A' | 'n' | 'N')))
                if empty && self.takes_keys(now) =>
            {
                match c {
                    'y' | 'Y' => {
                        self.step = Step::Sent;
                        return Pressed::Answer(Answer::permission(id, "once"));
                    }
                    'a' | 'A' => self.step = Step::ChoosingAlways,
                    _ => self.step = Step::Refusing,
                }
                Pressed::Taken
            }
            (_, key) => Pressed::Other(key),
        }
    }

    /// The answer that a line is, if a question waits. One with `/` at its beginning is a command, of which
    /// `/skip` is meant for the question.
    pub(super) fn line(&mut self, line: &str, now: Instant) -> Option<Answer> {
        let takes_keys = self.takes_keys(now) && self.step != Step::Sent;
        let Ask {
            id,
            kind: Kind::Question(questions),
            ..
        } = self.asks.first().filter(|_| takes_keys)?
        else {
            return None;
        };
        let body = match line.trim() {
            "/skip" => json!({ "reject": true }),
            command if command.starts_with('/') => return None,
            words => answers(questions, words),
        };
        self.step = Step::Sent;
        Some(Answer {
            list: "questions",
            request: id.clone(),
            body,
        })
    }

    /// What is asked, with the keys once they are taken, and the time that is left.
    pub(super) fn row(
        &self,
        style: Style,
        columns: usize,
        now: Timestamp,
        at: Instant,
    ) -> Option<String> {
        let ask = self.asks.first()?;
        if self.step == Step::Sent {
            return Some(style.dim("the answer is on its way"));
        }
        let left = ask.deadline.as_deref().and_then(Timestamp::parse);
        let left = left.map_or(String::new(), |deadline| {
            format!("   {} left", countdown(deadline.since(now)))
        });
        let (mark, what, keys) = self.words(ask);
        let keys = if self.takes_keys(at) { keys } else { "" };
        let room = columns.saturating_sub(width(&left));
        let what = cut(what, room.saturating_sub(mark.len() + keys.len() + 1));
        let what = if what.is_empty() {
            what
        } else {
            format!(" {what}")
        };
        let plain = format!("{mark}{what}{keys}{left}");
        if width(&plain) > columns {
            return Some(style.warning(&cut(&format!("{mark}{keys}"), columns)));
        }
        let (mark, what) = (style.warning(mark), style.bold(&what));
        Some(format!("{mark}{what}{keys}{}", style.dim(&left)))
    }

    fn words<'a>(&self, ask: &'a Ask) -> (&'static str, &'a str, &'static str) {
        match (&ask.kind, self.step) {
            (Kind::Permission { .. }, Step::Refusing) => (
                "? no; say what to do instead",
                "",
                "   Enter alone ends the turn   Ctrl-D back",
            ),
            (Kind::Permission { always, .. }, Step::ChoosingAlways) => (
                "? always allow",
                always,
                "   a again: yes   another key: back",
            ),
            (Kind::Permission { what, .. }, _) => ("? allow", what, "   y once   a always   n no"),
            (Kind::Question(questions), _) if questions.len() > 1 => (
                "? answer with numbers or words, ; between two questions",
                "",
                "   /skip: no answer",
            ),
            (Kind::Question(_), _) => {
                ("? answer with a number or words", "", "   /skip: no answer")
            }
        }
    }
}

/// As a clock that counts down shows it.
fn countdown(left: Duration) -> String {
    match left.as_secs() {
        0 => "0 s".to_owned(),
        seconds => duration(Duration::from_secs(seconds)).replace(".0 s", " s"),
    }
}

#[cfg(test)]
mod tests;
