//! A person answers what the agent asks: what is shown of it, and what keys and lines mean. `run`, `resume` and `attach`
//! share it.

use std::time::Duration;

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

/// What waits for a person, and how far the person is with it.
#[derive(Debug, Default)]
pub(super) struct Answering {
    asks: Asks,
    /// The permission that is being refused: a reason may be typed.
    refusing: Option<String>,
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
    pub(super) fn push(&mut self, event: &Event) {
        self.asks.push(event);
        let first = self.asks.first().map(|ask| ask.id.as_str());
        if self.refusing.as_deref() != first {
            self.refusing = None;
        }
    }

    /// Whether a line is being written for it: an answer, or the reason of a refusal.
    pub(super) fn wants_line(&self) -> bool {
        let question = |ask: &Ask| matches!(ask.kind, Kind::Question(_));
        self.refusing.is_some() || self.asks.first().is_some_and(question)
    }

    pub(super) fn press(&mut self, key: Key, editor: &mut Editor) -> Pressed {
        let Some(Ask {
            id,
            kind: Kind::Permission(_),
            ..
        }) = self.asks.first()
        else {
            return Pressed::Other(key);
        };
        if self.refusing.is_some() {
            return match editor.press(key) {
                Entered::Nothing => Pressed::Taken,
                Entered::Line(reason) => {
                    let mut answer = Answer::permission(id, "reject");
                    if !reason.trim().is_empty() {
                        answer.body["message"] = reason.trim().into();
                    }
                    self.refusing = None;
                    Pressed::Answer(answer)
                }
                Entered::End => {
                    self.refusing = None;
                    Pressed::Taken
                }
            };
        }
        match key {
            Key::Char('y' | 'Y') if editor.is_empty() => {
                Pressed::Answer(Answer::permission(id, "once"))
            }
            Key::Char('a' | 'A') if editor.is_empty() => {
                Pressed::Answer(Answer::permission(id, "always"))
            }
            Key::Char('n' | 'N') if editor.is_empty() => {
                self.refusing = Some(id.clone());
                Pressed::Taken
            }
            key => Pressed::Other(key),
        }
    }

    /// The answer that a line is, if a question waits. One with `/` at its beginning is a command, of which
    /// `/skip` is meant for the question.
    pub(super) fn line(&self, line: &str) -> Option<Answer> {
        let Ask {
            id,
            kind: Kind::Question(questions),
            ..
        } = self.asks.first()?
        else {
            return None;
        };
        let body = match line.trim() {
            "/skip" => json!({ "reject": true }),
            command if command.starts_with('/') => return None,
            words => answers(questions, words),
        };
        Some(Answer {
            list: "questions",
            request: id.clone(),
            body,
        })
    }

    /// What is asked, with the keys and the time that is left.
    pub(super) fn row(&self, style: Style, columns: usize, now: Timestamp) -> Option<String> {
        let ask = self.asks.first()?;
        let left = ask.deadline.as_deref().and_then(Timestamp::parse);
        let left = left.map_or(String::new(), |deadline| {
            format!("   {} left", countdown(deadline.since(now)))
        });
        let room = columns.saturating_sub(width(&left));
        let (mark, what, keys) = match &ask.kind {
            Kind::Permission(_) if self.refusing.is_some() => (
                "? no: what should it do instead",
                String::new(),
                "   Enter alone ends the turn",
            ),
            Kind::Permission(what) => {
                let (mark, keys) = ("? may it run", "   y once   a always   n no");
                let what = cut(what, room.saturating_sub(mark.len() + keys.len() + 1));
                (mark, format!(" {what}"), keys)
            }
            Kind::Question(questions) if questions.len() > 1 => (
                "? answers, with ; between them",
                String::new(),
                "   /skip none",
            ),
            Kind::Question(_) => (
                "? answer with numbers or words",
                String::new(),
                "   /skip none",
            ),
        };
        let plain = format!("{mark}{what}{keys}{left}");
        if width(&plain) > columns {
            return Some(style.warning(&cut(&format!("{mark}{keys}"), columns)));
        }
        let (mark, what) = (style.warning(mark), style.bold(&what));
        Some(format!("{mark}{what}{keys}{}", style.dim(&left)))
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
mod tests {
    use super::*;

    fn asked(kind: &str, more: &Value) -> Answering {
        let mut data =
            json!({ "request_id": "r1", "state": "asked", "deadline": "2026-01-01T00:05:00Z" });
        for (name, value) in more.as_object().unwrap() {
            data[name] = value.clone();
        }
        let mut answering = Answering::default();
        answering.push(&Event::new(None, kind.into(), &data.to_string()).unwrap());
        answering
    }

    fn permission() -> Answering {
        asked(
            "permission",
            &json!({ "permission": "bash", "patterns": ["make"] }),
        )
    }

    fn body(pressed: Pressed) -> Value {
        match pressed {
            Pressed::Answer(answer) => answer.body,
            other => panic!("no answer: {other:?}"),
        }
    }

    #[test]
    fn one_key_allows_and_a_refusal_may_have_a_reason() {
        let mut editor = Editor::default();
        let mut answering = permission();
        assert_eq!(
            body(answering.press(Key::Char('y'), &mut editor)),
            json!({ "reply": "once" })
        );
        assert_eq!(
            body(answering.press(Key::Char('a'), &mut editor)),
            json!({ "reply": "always" })
        );
        assert_eq!(answering.press(Key::Char('n'), &mut editor), Pressed::Taken);
        assert!(answering.wants_line());
        for c in "use ninja".chars() {
            assert_eq!(answering.press(Key::Char(c), &mut editor), Pressed::Taken);
        }
        assert_eq!(
            body(answering.press(Key::Enter, &mut editor)),
            json!({ "reply": "reject", "message": "use ninja" })
        );
        answering.press(Key::Char('n'), &mut editor);
        assert_eq!(
            body(answering.press(Key::Enter, &mut editor)),
            json!({ "reply": "reject" })
        );
        answering.press(Key::Char('n'), &mut editor);
        answering.press(Key::EndOfInput, &mut editor);
        assert!(!answering.wants_line(), "Ctrl-D takes the no back");
    }

    #[test]
    fn keys_of_a_line_that_is_being_written_are_no_answers() {
        let mut editor = Editor::default();
        let mut answering = permission();
        editor.press(Key::Char('h'));
        let key = Key::Char('y');
        assert_eq!(
            answering.press(key.clone(), &mut editor),
            Pressed::Other(key)
        );
    }

    #[test]
    fn a_refusal_ends_with_its_request() {
        let mut answering = permission();
        answering.press(Key::Char('n'), &mut Editor::default());
        let answered = json!({ "request_id": "r1", "state": "answered" });
        answering.push(&Event::new(None, "permission".into(), &answered.to_string()).unwrap());
        assert!(!answering.wants_line() && answering.asks.first().is_none());
    }

    #[test]
    fn a_question_is_answered_skipped_or_left_for_a_command() {
        let answering = asked(
            "question",
            &json!({ "questions": [{ "options": [{ "label": "A" }] }] }),
        );
        assert_eq!(
            answering.line("1").unwrap().body,
            json!({ "answers": [["A"]] })
        );
        assert_eq!(
            answering.line("/skip").unwrap().body,
            json!({ "reject": true })
        );
        assert_eq!(answering.line("/stop"), None);
        assert_eq!(permission().line("1"), None);
    }

    #[test]
    fn the_row_counts_down() {
        let now = Timestamp::parse("2026-01-01T00:00:18.500Z").unwrap();
        assert_eq!(
            permission().row(Style::new(false), 80, now).unwrap(),
            "? may it run bash make   y once   a always   n no   4 min 41 s left"
        );
        let narrow = permission().row(Style::new(false), 40, now).unwrap();
        assert_eq!(narrow, "? may it run   y once   a always   n no");
    }
}
