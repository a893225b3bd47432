//! Whether the tools of a turn still give new results.

use std::collections::VecDeque;
use std::hash::{DefaultHasher, Hash as _, Hasher as _};

use crate::event::{Body, Event};

/// How many results are remembered, to recognise repetitions.
const MAX_REMEMBERED: usize = 64;

/// The newest results, by their hashes.
#[derive(Debug)]
pub(super) struct SeenToolResults {
    seen: VecDeque<u64>,
    /// Where tools may be repeated without end, every result counts as new.
    all_are_new: bool,
}

// === impl SeenToolResults ===

impl SeenToolResults {
    pub(super) const fn new(all_are_new: bool) -> Self {
        Self {
            seen: VecDeque::new(),
            all_are_new,
        }
    }

    /// Whether one of `events` is a result that was not seen before.
    pub(super) fn has_new(&mut self, events: &[Event]) -> bool {
        let mut new = false;
        for event in events {
            let Body::ToolResult(result) = &event.body else {
                continue;
            };
            let mut hasher = DefaultHasher::new();
            (&result.tool, &result.result).hash(&mut hasher);
            let hash = hasher.finish();
            if self.seen.contains(&hash) {
                new |= self.all_are_new;
                continue;
            }
            if self.seen.len() == MAX_REMEMBERED {
                self.seen.pop_front();
            }
            self.seen.push_back(hash);
            new = true;
        }
        new
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::Timestamp;
    use crate::event::{ResultBody, ToolResult};

    fn result(content: &str) -> Event {
        let content = content.to_owned();
        let body = ToolResult {
            tool: "read".into(),
            call_id: "c".into(),
            result: ResultBody::Content { content },
            is_error: false,
            duration_ms: 1,
            truncated: false,
        };
        Event::new(Timestamp::now(), Body::ToolResult(body))
    }

    #[test]
    fn a_result_is_new_once() {
        let mut results = SeenToolResults::new(false);
        assert!(results.has_new(&[result("a")]));
        assert!(results.has_new(&[result("a"), result("b")]));
        assert!(!results.has_new(&[result("b"), result("a")]));
        assert!(!results.has_new(&[]));
        let mut all = SeenToolResults::new(true);
        assert!(all.has_new(&[result("a")]) && all.has_new(&[result("a")]));
        assert!(!all.has_new(&[]));
    }
}
