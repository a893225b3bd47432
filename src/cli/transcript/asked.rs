//! What the agent asks a person, and what was answered, as lines. Pure.

use serde_json::Value;

use super::look::{Look, SHORT};
use crate::cli::asks::{always, wanted};
use crate::cli::client::Event;
use crate::cli::layout::plural;
use crate::cli::plain_text::{one_line, visible};

/// What it wants to do; of a change of a file the change itself, and what the answer `always` would cover.
pub(super) fn permission(look: &Look, event: &Event) -> Vec<String> {
    let style = look.style;
    let wanted = wanted(event);
    // A command of several lines is shown as such: in one line a comment could hide the rest.
    let mut rest = wanted.lines();
    let first = rest.next().unwrap_or_default();
    let mark = style.warning("? allow");
    let mut lines = vec![format!("{mark}  {}", style.bold(first))];
    lines.extend(rest.map(|line| format!("  {}", style.bold(line))));
    if let Some(diff) = event.data["metadata"]["diff"].as_str() {
        lines.extend(change(look, diff));
    }
    let always = always(event);
    if !always.is_empty() {
        lines.push(style.dim(&format!("  always covers {always}")));
    }
    lines.extend(request(look, event));
    lines
}

/// The lines that change, at a terminal the first of them.
fn change(look: &Look, diff: &str) -> Vec<String> {
    let all = changed(diff);
    let shown = match look.columns {
        Some(_) if !look.full => SHORT,
        _ => all.len(),
    };
    let lines = all.iter().take(shown).map(|line| {
        let clean = format!("  {}", visible(line));
        if line.starts_with('+') {
            look.style.good(&clean)
        } else {
            look.style.bad(&clean)
        }
    });
    let mut lines: Vec<String> = lines.collect();
    if all.len() > shown {
        let more = plural(all.len() - shown, "more line");
        let more = format!("  … {more} (--full shows all)");
        lines.push(look.style.dim(&more));
    }
    lines
}

/// Of a diff the lines of its hunks that begin with `+` or `-`. Heads look alike, so they are known by their place.
fn changed(diff: &str) -> Vec<&str> {
    let mut in_hunk = false;
    let lines = diff.lines().filter(|line| {
        in_hunk = line.starts_with("@@") || in_hunk && line.starts_with([' ', '+', '-', '\\']);
        in_hunk && line.starts_with(['+', '-'])
    });
    lines.collect()
}

pub(super) fn question(look: &Look, event: &Event) -> Vec<String> {
    let style = look.style;
    let mut lines = Vec::new();
    for question in event.data["questions"].as_array().into_iter().flatten() {
        let text = one_line(question["question"].as_str().unwrap_or_default());
        lines.push(format!("{} {}", style.warning("?"), style.bold(&text)));
        let options = question["options"].as_array().into_iter().flatten();
        for (at, option) in options.enumerate() {
            let label = option["label"].as_str().or(option.as_str());
            let label = one_line(label.unwrap_or_default());
            let about = one_line(option["description"].as_str().unwrap_or_default());
            let line = format!("  {} {label}   {}", at + 1, style.dim(&about));
            lines.push(line.trim_end().to_owned());
        }
    }
    lines.extend(request(look, event));
    lines
}

/// Who reads a pipe answers by the request's id; at a terminal keys do.
fn request(look: &Look, event: &Event) -> Option<String> {
    let id = one_line(event.text("request_id"));
    look.columns
        .is_none()
        .then(|| look.style.dim(&format!("  request {id}")))
}

/// `permission: once`, `question: B`, `permission: reject (by timeout)`.
pub(super) fn answered(event: &Event) -> String {
    let mut reply = one_line(event.text("reply"));
    let message = one_line(event.text("message"));
    if !message.is_empty() {
        reply = format!("{reply}, {message}");
    }
    // What was chosen, question by question.
    let answers = event.data["answers"].as_array().into_iter().flatten();
    let answers: Vec<String> = answers.map(|chosen| texts(chosen).join(", ")).collect();
    if !answers.is_empty() {
        reply = answers.join("; ");
    }
    let by = match event.text("by") {
        "" | "client" => String::new(),
        by => format!(" (by {})", one_line(by)),
    };
    let state = if reply.is_empty() {
        one_line(event.text("state"))
    } else {
        reply
    };
    format!("{}: {state}{by}", event.kind)
}

fn texts(value: &Value) -> Vec<String> {
    let texts = value.as_array().into_iter().flatten();
    texts.filter_map(Value::as_str).map(one_line).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::cli::style::Style;

    fn look(columns: Option<usize>) -> Look {
        Look {
            style: Style::new(false),
            columns,
            full: false,
        }
    }

    fn event(kind: &str, data: &Value) -> Event {
        Event::new(None, kind.into(), &data.to_string()).unwrap()
    }

    #[test]
    fn a_person_sees_what_it_would_do_and_a_program_gets_the_id() {
        let bash = event(
            "permission",
            &json!({ "request_id": "per_1", "permission": "bash", "patterns": ["ls /tmp", "head -3"],
                "always": ["ls *", "head *"], "metadata": { "command": "ls /tmp | head -3" } }),
        );
        assert_eq!(
            permission(&look(Some(80)), &bash),
            [
                "? allow  bash ls /tmp | head -3",
                "  always covers ls *, head *"
            ]
        );
        assert_eq!(permission(&look(None), &bash)[2], "  request per_1");
        let diff = "--- a\n+++ b\n@@ -1,2 +1,2 @@\n-old\n--- of SQL\n+new\u{1b}[2J\n same\n";
        let edit = event(
            "permission",
            &json!({ "request_id": "per_2", "permission": "edit", "patterns": ["a"], "metadata": { "diff": diff } }),
        );
        assert_eq!(
            permission(&look(Some(80)), &edit),
            [
                "? allow  edit a",
                "  -old",
                "  --- of SQL",
                "  +new⟨U+001B⟩[2J"
            ]
        );
        let lines = event(
            "permission",
            &json!({ "permission": "bash", "metadata": { "command": "echo ok\n#\u{202e}\nrm -rf x" } }),
        );
        assert_eq!(
            permission(&look(Some(80)), &lines),
            ["? allow  bash echo ok", "  #⟨U+202E⟩", "  rm -rf x"]
        );
        let many = format!("@@ -0,0 +1,20 @@\n{}", "+x\n".repeat(20));
        let long = event(
            "permission",
            &json!({ "permission": "edit", "metadata": { "diff": many } }),
        );
        let lines = permission(&look(Some(80)), &long);
        assert_eq!(lines.last().unwrap(), "  … 8 more lines (--full shows all)");
    }

    #[test]
    fn options_have_numbers_and_what_they_mean() {
        let asked = event(
            "question",
            &json!({ "request_id": "q", "questions": [{ "question": "Which?", "options": [{ "label": "A", "description": "first" }, { "label": "B" }] }] }),
        );
        assert_eq!(
            question(&look(Some(80)), &asked),
            ["? Which?", "  1 A   first", "  2 B"]
        );
        let said = event(
            "question",
            &json!({ "state": "answered", "answers": [["A", "B"], ["x"]], "by": "client" }),
        );
        assert_eq!(answered(&said), "question: A, B; x");
    }
}
