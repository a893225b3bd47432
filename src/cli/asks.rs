//! What the agent waits for a person for, and what a person's words mean as an answer. Pure.

use serde_json::{Value, json};

use super::client::Event;
use super::plain_text::{one_line, visible};

/// One thing that is asked.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Ask {
    pub(super) id: String,
    pub(super) kind: Kind,
    pub(super) deadline: Option<String>,
}

#[derive(Clone, Debug, PartialEq)]
pub(super) enum Kind {
    /// Whether it may do something; in a few words. `always` is what that answer would cover.
    Permission { what: String, always: String },
    /// The labels of the options of each question.
    Question(Vec<Vec<String>>),
}

/// Those without an answer, the oldest first.
#[derive(Debug, Default)]
pub(super) struct Asks(Vec<Ask>);

// === impl Asks ===

impl Asks {
    pub(super) fn push(&mut self, event: &Event) {
        let is_question = match event.kind.as_str() {
            "permission" => false,
            "question" => true,
            // The end of a turn is the end of what it asked.
            _ if event.is_terminal() => {
                self.0.clear();
                return;
            }
            _ => return,
        };
        let id = event.text("request_id").to_owned();
        self.0.retain(|ask| ask.id != id);
        if event.text("state") != "asked" {
            return;
        }
        let kind = if is_question {
            Kind::Question(options(&event.data["questions"]))
        } else {
            Kind::Permission {
                what: wanted(event).replace('\n', " ⏎ "),
                always: always(event),
            }
        };
        let deadline = event.data["deadline"].as_str().map(str::to_owned);
        self.0.push(Ask { id, kind, deadline });
    }

    /// The one to answer now.
    pub(super) fn first(&self) -> Option<&Ask> {
        self.0.first()
    }
}

/// What the agent wants to do: `bash ls | head`, `edit src/main.rs`. A command may have several lines.
pub(super) fn wanted(event: &Event) -> String {
    // The patterns of a command are its parts, each by itself.
    let command = event.data["metadata"]["command"].as_str();
    let what = command.map_or_else(|| list(event, "patterns"), visible);
    let permission = one_line(event.text("permission"));
    format!("{permission} {what}").trim_end().to_owned()
}

/// What the answer `always` would cover.
pub(super) fn always(event: &Event) -> String {
    list(event, "always")
}

fn list(event: &Event, field: &str) -> String {
    let texts = event.data[field].as_array().into_iter().flatten();
    let texts = texts.filter_map(Value::as_str).map(visible);
    texts.collect::<Vec<_>>().join(", ").replace('\n', " ⏎ ")
}

fn options(questions: &Value) -> Vec<Vec<String>> {
    let list = |value: &Value| value.as_array().cloned().unwrap_or_default();
    let label = |option: &Value| {
        option["label"]
            .as_str()
            .or(option.as_str())
            .map(str::to_owned)
    };
    list(questions)
        .iter()
        .map(|question| {
            list(&question["options"])
                .iter()
                .filter_map(label)
                .collect()
        })
        .collect()
}

/// The answer to questions: for each of them numbers or words, with `;` between two questions and `,` between two
/// choices.
pub(super) fn answers(questions: &[Vec<String>], words: &str) -> Value {
    let mut parts = words.split(';').map(str::trim);
    let answers: Vec<Vec<String>> = if questions.len() <= 1 {
        vec![answer(questions.first(), words.trim())]
    } else {
        let answer = |options| answer(Some(options), parts.next().unwrap_or_default());
        questions.iter().map(answer).collect()
    };
    json!({ "answers": answers })
}

fn answer(options: Option<&Vec<String>>, words: &str) -> Vec<String> {
    let chosen = |word: &str| {
        let number: usize = word.trim().parse().ok()?;
        options?.get(number.checked_sub(1)?).cloned()
    };
    let all: Option<Vec<String>> = words.split(',').map(chosen).collect();
    match all {
        Some(labels) => labels,
        None if words.is_empty() => Vec::new(),
        None => vec![words.to_owned()],
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event(kind: &str, data: &Value) -> Event {
        Event::new(None, kind.into(), &data.to_string()).unwrap()
    }

    #[test]
    fn what_is_asked_waits_until_it_is_answered_or_the_turn_ends() {
        let mut asks = Asks::default();
        let asked = json!({ "request_id": "p1", "state": "asked", "permission": "bash", "patterns": ["rm\u{1b}[2J x\ny"], "always": ["rm *"] });
        asks.push(&event("permission", &asked));
        assert_eq!(
            asks.first().unwrap().kind,
            Kind::Permission {
                what: "bash rm⟨U+001B⟩[2J x ⏎ y".into(),
                always: "rm *".into()
            }
        );
        let question = json!({ "request_id": "q1", "state": "asked", "questions": [{ "options": [{ "label": "A" }] }] });
        asks.push(&event("question", &question));
        asks.push(&event(
            "permission",
            &json!({ "request_id": "p1", "state": "answered" }),
        ));
        assert_eq!(
            asks.first().unwrap().kind,
            Kind::Question(vec![vec!["A".into()]])
        );
        asks.push(&event("complete", &json!({})));
        assert_eq!(asks.first(), None);
    }

    #[test]
    fn numbers_choose_and_words_are_words() {
        let two = [vec!["A".to_owned(), "B".to_owned()], vec!["C".to_owned()]];
        assert_eq!(answers(&two[..1], "2"), json!({ "answers": [["B"]] }));
        assert_eq!(
            answers(&two[..1], "1, 2"),
            json!({ "answers": [["A", "B"]] })
        );
        assert_eq!(answers(&two[..1], "9"), json!({ "answers": [["9"]] }));
        assert_eq!(
            answers(&two[..1], "neither; both"),
            json!({ "answers": [["neither; both"]] })
        );
        assert_eq!(
            answers(&two, "2; other"),
            json!({ "answers": [["B"], ["other"]] })
        );
        assert_eq!(answers(&two, "1"), json!({ "answers": [["A"], []] }));
    }
}
