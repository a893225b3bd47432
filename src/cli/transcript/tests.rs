use serde_json::Value;

use super::*;
use crate::cli::style::Style;

fn look(columns: Option<usize>) -> Look {
    Look {
        style: Style::new(false),
        columns,
        full: false,
    }
}

fn lines(look: Look, events: &[(&str, Value)]) -> Vec<String> {
    let mut transcript = Transcript::new(look);
    for (kind, data) in events {
        let event = Event::new(None, (*kind).to_owned(), &data.to_string()).unwrap();
        transcript.push(&event);
    }
    transcript.finish();
    transcript.take()
}

fn text(text: &str) -> (&'static str, Value) {
    (
        "output",
        serde_json::json!({ "text": text, "source": "assistant" }),
    )
}

fn tool_text(id: &str, text: &str) -> (&'static str, Value) {
    (
        "output",
        serde_json::json!({ "text": text, "source": "tool", "call_id": id }),
    )
}

fn call(id: &str, tool: &str, args: &Value) -> (&'static str, Value) {
    (
        "tool_call",
        serde_json::json!({ "tool": tool, "call_id": id, "args": args }),
    )
}

fn result(id: &str, result: &Value) -> (&'static str, Value) {
    let data = serde_json::json!({ "call_id": id, "result": result, "duration_ms": 13 });
    ("tool_result", data)
}

#[test]
fn a_turn_reads_as_a_conversation() {
    let usage = serde_json::json!({ "input_tokens": 310, "output_tokens": 20, "cost": 0.002 });
    let complete =
        serde_json::json!({ "duration_ms": 2100, "files_modified": ["/w/a"], "usage": usage });
    let seen = lines(
        look(None),
        &[
            text("I list "),
            text("it.\nNow."),
            call("1", "bash", &serde_json::json!({ "command": "ls -la" })),
            tool_text("1", "total 4\nfi"),
            tool_text("1", "le\n"),
            result(
                "1",
                &serde_json::json!({ "exit_code": 0, "stdout": "", "stderr": "" }),
            ),
            call("2", "write", &serde_json::json!({ "filePath": "demo.md" })),
            result("2", &serde_json::json!({ "output": "done" })),
            text("Done."),
            ("complete", complete),
        ],
    );
    let expected = "\
I list it.
Now.

● bash  ls -la
│ total 4
│ file
└ exit 0, 13 ms

● write  demo.md
└ 13 ms

Done.

✓ completed in 2.1 s · 1 file changed · 310 tokens read, 20 written · $0.0020";
    assert_eq!(seen.join("\n"), expected);
}

#[test]
fn tools_that_run_at_once_are_told_apart() {
    let seen = lines(
        look(None),
        &[
            call("1", "bash", &serde_json::json!({ "command": "a" })),
            call("2", "bash", &serde_json::json!({ "command": "b" })),
            tool_text("1", "of a\n"),
            tool_text("2", "of b\n"),
            result(
                "2",
                &serde_json::json!({ "exit_code": 3, "stdout": "", "stderr": "" }),
            ),
        ],
    );
    let expected = "\
● bash  a

● bash  b

● bash  a
│ of a

● bash  b
│ of b
└ exit 3, 13 ms";
    assert_eq!(seen.join("\n"), expected);
}

#[test]
fn a_terminal_is_shown_the_beginning_of_long_output_and_how_much_there_is() {
    let output: Vec<String> = (0..30).map(|line| format!("line {line}")).collect();
    let output = output.join("\n") + "\n";
    // In the middle of a line.
    let (first, second) = output.split_at(100);
    let events = [
        call("1", "bash", &serde_json::json!({ "command": "seq" })),
        tool_text("1", first),
        tool_text("1", second),
        result(
            "1",
            &serde_json::json!({ "exit_code": 0, "stdout": "", "stderr": "" }),
        ),
    ];
    let seen = lines(look(Some(40)), &events);
    assert_eq!(seen.len(), 1 + SHORT + 2, "{seen:#?}");
    assert_eq!(seen[SHORT + 1], "│ … 18 more lines (--full shows all)");
    let piped = lines(look(None), &events);
    assert_eq!(piped.len(), 32, "a pipe gets all of it");
}

#[test]
fn an_answer_is_wrapped_at_the_width_of_the_terminal_and_not_in_a_pipe() {
    let words = [text("one two three four five six seven")];
    let seen = lines(look(Some(16)), &words);
    assert_eq!(seen, ["one two three", "four five six", "seven"]);
    assert_eq!(lines(look(None), &words).len(), 1);
}

#[test]
fn what_the_model_writes_cannot_reach_the_terminal() {
    let evil = "\u{1b}]0;owned\u{7}\u{1b}[2J\u{9b}31m\u{202e}evil";
    let mut events = vec![
        text(evil),
        call("1", "bash", &serde_json::json!({ "command": evil })),
        tool_text("1", evil),
        result("1", &serde_json::json!({ "error": evil })),
        (
            "error",
            serde_json::json!({ "error": evil, "code": evil, "fatal": false }),
        ),
        (
            "todo",
            serde_json::json!({ "items": [{ "content": evil, "status": evil }] }),
        ),
        (
            "permission",
            serde_json::json!({ "state": "asked", "permission": evil, "patterns": [evil], "request_id": evil }),
        ),
        (
            "question",
            serde_json::json!({ "state": "asked", "questions": [{ "question": evil, "options": [{ "label": evil }] }] }),
        ),
        ("prompt", serde_json::json!({ "state": evil, "text": evil })),
        ("gap", serde_json::json!({ "reason": evil })),
        (
            "status",
            serde_json::json!({ "status": "running", "phase": evil, "reason": evil }),
        ),
    ];
    events.push((
        "output",
        serde_json::json!({ "text": evil, "source": "assistant", "agent": { "name": evil } }),
    ));
    events.push((
        "error",
        serde_json::json!({ "error": evil, "code": evil, "fatal": true }),
    ));
    for columns in [None, Some(30)] {
        let seen = lines(look(columns), &events).join("\n");
        assert!(seen.matches("evil").count() > 10, "{seen}");
        let harmless = |c: char| c == '\n' || !crate::cli::plain_text::is_hidden(c);
        assert!(seen.chars().all(harmless), "{seen:?}");
    }
}

#[test]
fn a_line_that_is_written_anew_shows_its_last_state() {
    let events = [
        call("1", "bash", &serde_json::json!({ "command": "curl" })),
        tool_text("1", "10%\r50"),
        tool_text("1", "%\r100%\r\ndone\r\n"),
    ];
    assert_eq!(lines(look(None), &events)[1..], ["│ 100%", "│ done"]);
}

#[test]
fn words_of_a_subagent_are_marked_as_its_own() {
    let agent = serde_json::json!({ "text": "I look.", "source": "assistant", "agent": { "name": "explore" } });
    let seen = lines(
        look(None),
        &[text("I ask."), ("output", agent), text("Good.")],
    );
    assert_eq!(seen, ["I ask.", "", "explore › I look.", "", "Good."]);
}

#[test]
fn what_is_said_of_an_idle_session_is_a_note_and_no_turn() {
    let status = |state: &str, reason: &str| {
        let data = serde_json::json!({ "status": state, "reason": reason });
        ("status", data)
    };
    let forked = status("completed", "forked from session a");
    let undone = "prompt msg_1 and all that came after it is undone";
    let seen = lines(
        look(None),
        &[
            forked,
            status("running", ""),
            text("Hi."),
            status("cancelled", ""),
            status("cancelled", undone),
            text("Again."),
            status("cancelled", ""),
        ],
    );
    let undone = format!("· {undone}");
    let expected = [
        "· forked from session a",
        "",
        "Hi.",
        "",
        "■ cancelled",
        "",
        &undone,
        "",
        "Again.",
        "",
        "■ cancelled",
    ];
    assert_eq!(seen, expected);
}
