//! What the scripted model answers, as a pure function of the call and its number; and what a call tells of the
//! prompts that the agent was given.

use std::time::Duration;

use serde_json::json;

use crate::answerer::CHOSEN;
use crate::llm::{Recorded, Turn};

/// Words of every answer of the model, and lines of every command.
pub(crate) const WORDS: u32 = 30;
pub(crate) const THOUGHTS: u32 = 6;
pub(crate) const LINES: u32 = 8;

/// Calls that the agent makes when it is told to go on, by words of the sidecar's own.
const GO_ON: u32 = 2;

/// What the agent had been told when it made a call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Call {
    /// That of its answer.
    pub(crate) number: u32,
    /// The prompts whose words the conversation has, in order.
    pub(crate) prompts: Vec<u32>,
    /// The prompt that is answered. Nothing if it is not a client's.
    pub(crate) newest: Option<u32>,
}

/// The words of prompt `name`, which is done in so many calls.
pub(crate) fn prompt(name: u32, steps: u32) -> String {
    format!("(prompt {name}) Please do it in {steps} steps.")
}

/// What stands behind `mark` up to the character `end`, wherever it appears.
fn numbers(text: &str, mark: &str, end: char) -> Vec<u32> {
    let pieces = text.split(mark).skip(1);
    pieces
        .filter_map(|piece| piece.split_once(end)?.0.parse().ok())
        .collect()
}

// === impl Call ===

impl Call {
    pub(crate) fn of(number: u32, call: &Recorded) -> Self {
        let said = call.conversation();
        let users = said.iter().filter(|(role, _)| *role == "user");
        let told: Vec<Vec<u32>> = users
            .map(|(_, text)| numbers(text, "(prompt ", ')'))
            .collect();
        Self {
            number,
            newest: told.last().and_then(|last| last.last().copied()),
            prompts: told.concat(),
        }
    }
}

/// Each prompt takes some calls: text and a command, text and a file or a question, and so on, and at last a text. The first prompt of
/// a session, and one that goes on after a fault, take some seconds, and the others less than one.
pub(crate) fn answer(call: &Recorded, number: u32, file: &str) -> Turn {
    let said = call.conversation();
    let from = said.iter().rposition(|(role, _)| *role == "user");
    let (_, asked) = &said[from.unwrap_or(0)];
    let newest = numbers(asked, "(prompt ", ')').last().copied();
    let steps = numbers(asked, " in ", ' ').last().copied();
    let steps = newest.and(steps).unwrap_or(GO_ON);
    let since = said[from.unwrap_or(0)..].iter();
    let step = since.filter(|(role, _)| *role == "assistant").count();
    let is_slow = newest.is_none_or(|name| name == 0);

    let mut turn = Turn::new();
    if step == 0 {
        turn = turn.reasoning(&words(number, THOUGHTS));
    }
    let (chunks, pause) = if is_slow { (25, 30) } else { (8, 20) };
    let turn = turn
        .stream(chunks, Duration::from_millis(pause))
        .text(&words(number, WORDS));
    let left = usize::try_from(steps).unwrap().saturating_sub(step + 1);
    match (left, step % 2) {
        (0, _) => turn,
        (_, 0) => turn.tool("bash", command(number, if is_slow { 100 } else { 30 })),
        _ if !number.is_multiple_of(3) && call.tools().iter().any(|tool| tool == "question") => {
            turn.tool("question", question(number))
        }
        _ => turn.tool(
            "write",
            json!({ "filePath": file, "content": format!("of-answer-{number}\n") }),
        ),
    }
}

/// `[3.1] [3.2] …`: the words of answer 3.
fn words(answer: u32, count: u32) -> String {
    let words: Vec<String> = (1..=count).map(|n| format!("[{answer}.{n}]")).collect();
    words.join(" ")
}

/// Prints for a while, with a process beside it that a crash leaves behind.
fn command(answer: u32, pause_ms: u32) -> serde_json::Value {
    let pause = f64::from(pause_ms) / 1000.0;
    let command = format!(
        "setsid sleep 1013 & beside=$!; for n in $(seq {LINES}); do echo \"[{answer}.$n]\"; sleep {pause}; done; \
         kill $beside # of-answer-{answer} "
    );
    json!({ "command": command, "description": format!("of-answer-{answer} ") })
}

fn question(answer: u32) -> serde_json::Value {
    let option = |label: &str| json!({ "label": label, "description": "it" });
    let options = [option(CHOSEN), option("B")];
    json!({ "questions": [{ "question": format!("of-answer-{answer} ?"), "header": "Which", "options": options }] })
}

#[test]
fn the_prompts_of_a_text_are_found() {
    let text = format!("He says: {} and {}", prompt(3, 2), prompt(12, 1));
    assert_eq!(numbers(&text, "(prompt ", ')'), [3, 12]);
    assert_eq!(numbers(&text, " in ", ' '), [2, 1]);
    assert_eq!(
        numbers("Go on in this task (prompt x)", "(prompt ", ')'),
        [0; 0]
    );
}
