//! A tool call and its result in a few words. Pure.

use serde_json::Value;

use crate::cli::layout::{cut, plural};
use crate::cli::plain_text::one_line;
use crate::cli::style::Style;

/// Columns of a tool's arguments; a command that is longer is in the events.
const LONGEST: usize = 100;

/// `● bash  ls -la`.
pub(super) fn title(style: Style, tool: &str, args: &Value) -> String {
    let what = arguments(tool, args);
    let gap = if what.is_empty() { "" } else { "  " };
    format!(
        "{} {}{gap}{what}",
        style.active("●"),
        style.bold(&one_line(tool))
    )
}

/// What the call is about.
pub(in crate::cli) fn arguments(tool: &str, args: &Value) -> String {
    let field = |name: &str| args[name].as_str();
    let known = match tool {
        "bash" => field("command"),
        "read" | "write" | "edit" => field("filePath"),
        "glob" | "grep" => field("pattern"),
        "list" => field("path"),
        "webfetch" => field("url"),
        "websearch" => field("query"),
        "task" => field("description"),
        _ => None,
    };
    let text = match (known, args) {
        (Some(text), _) => text.to_owned(),
        (None, Value::Null) => String::new(),
        (None, Value::Object(fields)) if fields.is_empty() => String::new(),
        (None, args) => args.to_string(),
    };
    cut(&one_line(&text), LONGEST)
}

/// How it ended, and whether badly.
pub(super) fn result(result: &Value, is_error: bool) -> (Vec<String>, bool) {
    if is_error {
        let reason = result["error"].as_str().unwrap_or("it failed");
        return (vec![cut(&one_line(reason), 2 * LONGEST)], true);
    }
    if let Some(code) = result["exit_code"].as_i64() {
        return (vec![format!("exit {code}")], code != 0);
    }
    if result["exit_code"].is_null() && result["stdout"].is_string() {
        let note = result["note"]
            .as_str()
            .unwrap_or("it did not exit by itself");
        return (vec![one_line(note)], true);
    }
    if let Some(content) = result["content"].as_str() {
        return (vec![plural(content.lines().count(), "line")], false);
    }
    (Vec::new(), false)
}
