//! An event as one line. Pure.

use serde_json::Value;

use crate::cli::client::Event;
use crate::cli::layout::{cut, width};
use crate::cli::plain_text::one_line;
use crate::cli::style::Style;
use crate::cli::transcript::tool_arguments;

/// Columns of a session's id; a UUID has more, and its beginning will do.
const SESSION: usize = 13;
const KIND: usize = 11;

/// `12:03:44  0190a5d2-7c1e  tool_call    bash ls -la`.
pub(super) fn line(event: &Event, style: Style, columns: Option<usize>) -> String {
    let time = event.text("timestamp").get(11..19).unwrap_or("--:--:--");
    let session = one_line(event.text("session_id"));
    // A pipe gets the whole id: whoever reads it may want to ask for it.
    let session = if columns.is_some() {
        cut(&session, SESSION)
    } else {
        session
    };
    let kind = one_line(&event.kind);
    let head = format!("{time}  {session:<SESSION$}  {kind:<KIND$}  ");
    let what = what(event);
    let what = columns.map_or_else(
        || what.clone(),
        |columns| cut(&what, columns.saturating_sub(width(&head))),
    );
    let kind = format!("{kind:<KIND$}");
    let kind = match event.kind.as_str() {
        "error" | "gap" => style.bad(&kind),
        "complete" => style.good(&kind),
        "permission" | "question" => style.warning(&kind),
        _ => style.active(&kind),
    };
    let line = format!(
        "{}  {session:<SESSION$}  {kind}  {what}",
        style.dim(&one_line(time))
    );
    line.trim_end().to_owned()
}

fn what(event: &Event) -> String {
    let text = |field: &str| event.text(field).to_owned();
    let words = match event.kind.as_str() {
        "output" => text("text"),
        "tool_call" => format!(
            "{} {}",
            text("tool"),
            tool_arguments(event.text("tool"), &event.data["args"])
        ),
        "tool_result" => result(event),
        "status" => {
            let parts = [
                text("status"),
                text("phase"),
                text("current_tool"),
                text("reason"),
            ];
            parts
                .into_iter()
                .filter(|part| !part.is_empty())
                .collect::<Vec<_>>()
                .join(" ")
        }
        "error" => format!("{} {}", text("code"), text("error")),
        "complete" => text("final_message"),
        "permission" => format!("{} {}", text("state"), text("permission")),
        "todo" => format!(
            "{} items",
            event.data["items"].as_array().map_or(0, Vec::len)
        ),
        "egress" => format!("{} {}", text("decision"), text("host")),
        "gap" => format!("{}: {} missed", text("reason"), event.data["missed"]),
        _ => text("state"),
    };
    one_line(&words)
}

fn result(event: &Event) -> String {
    let result = &event.data["result"];
    let ended = match (&result["error"], &result["exit_code"]) {
        (Value::String(error), _) => error.clone(),
        (_, Value::Number(code)) => format!("exit {code}"),
        _ => "done".to_owned(),
    };
    let took = event.data["duration_ms"].as_u64().unwrap_or(0);
    format!("{} {ended}, {took} ms", event.text("tool"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_has_time_session_type_and_what_happened() {
        let data = r#"{"session_id":"0190a5d2-7c1e-7000","timestamp":"2026-01-01T12:03:44.000Z","tool":"bash","args":{"command":"ls\u001b[2J -la"}}"#;
        let event = Event::new(None, "tool_call".into(), data).unwrap();
        let piped = line(&event, Style::new(false), None);
        assert_eq!(
            piped,
            "12:03:44  0190a5d2-7c1e-7000  tool_call    bash ls -la"
        );
        let narrow = line(&event, Style::new(false), Some(50));
        assert_eq!(narrow, "12:03:44  0190a5d2-7c1…  tool_call    bash ls -la");
    }
}
