//! The last lines of a turn. Pure.

use std::time::Duration;

use super::look::Look;
use crate::cli::client::{Event, Usage};
use crate::cli::layout::{cost, count, duration, plural};
use crate::cli::plain_text::one_line;

/// `✓ completed in 12 s · 2 files changed · 1.2k tokens read, 340 written · $0.01`.
pub(super) fn completed(look: &Look, event: &Event) -> String {
    let took = event.data["duration_ms"].as_u64().unwrap_or(0);
    let took = duration(Duration::from_millis(took));
    let rejected = event.text("finish_reason") == "rejected";
    let done = if rejected {
        look.style.warning(&format!("■ ended by a no in {took}"))
    } else {
        look.style.good(&format!("✓ completed in {took}"))
    };
    let changed = event.data["files_modified"].as_array().map_or(0, Vec::len);
    let usage: Usage = serde_json::from_value(event.data["usage"].clone()).unwrap_or_default();
    let cut = match event.text("finish_reason") {
        "length" => Some("the answer was cut at its limit".to_owned()),
        _ => None,
    };
    let facts = [
        (changed > 0).then(|| format!("{} changed", plural(changed, "file"))),
        tokens(&usage),
        cost(usage.cost),
        cut,
    ];
    let facts: Vec<String> = facts.into_iter().flatten().collect();
    if facts.is_empty() {
        return done;
    }
    format!(
        "{done} {}",
        look.style.dim(&format!("· {}", facts.join(" · ")))
    )
}

/// `✗ failed: the provider does not accept the key`, and what to do now.
pub(super) fn failed(look: &Look, event: &Event, sentence: &str) -> Vec<String> {
    let code = one_line(event.text("code"));
    let mut lines = vec![format!(
        "{} {}",
        look.style.bad(&format!("✗ failed: {sentence}")),
        look.style.dim(&format!("({code})"))
    )];
    if event.data["resumable"] == true {
        lines.push(
            look.style
                .dim("  `opencode-sidecar resume <id>` goes on with it"),
        );
    }
    lines
}

fn tokens(usage: &Usage) -> Option<String> {
    let (read, written) = (usage.read_tokens(), usage.written_tokens());
    (read + written > 0).then(|| format!("{} tokens read, {} written", count(read), count(written)))
}
