//! The arguments of a session's newest tool calls, as the model wrote them.
//!
//! A call of a tool that does not exist, or that a session may not use, comes back from OpenCode without its
//! arguments: it puts a tool of its own in the place of the call. What was tried is then known here only.

use std::collections::VecDeque;

use parking_lot::Mutex;

/// Calls that are kept, the newest: one that is refused is asked for within moments.
const MAX_CALLS: usize = 32;
/// Longer arguments are not kept.
const MAX_BYTES: usize = 64 << 10;

/// The arguments of a session's newest calls, by the call's id.
#[derive(Debug, Default)]
pub(super) struct ToolArguments(Mutex<VecDeque<(String, String)>>);

// === impl ToolArguments ===

impl ToolArguments {
    /// What was written for the call `id`, if all of it is here.
    pub(super) fn of(&self, id: &str) -> Option<String> {
        let calls = self.0.lock();
        let (_, arguments) = calls.iter().find(|(known, _)| known == id)?;
        (arguments.len() <= MAX_BYTES).then(|| arguments.clone())
    }

    /// A call begins, whose arguments follow.
    pub(super) fn begin(&self, id: &str) {
        let mut calls = self.0.lock();
        calls.retain(|(known, _)| known != id);
        if calls.len() == MAX_CALLS {
            calls.pop_front();
        }
        calls.push_back((id.to_owned(), String::new()));
    }

    /// Arguments that are too long become one byte longer than may be kept, which marks them.
    pub(super) fn append(&self, id: &str, piece: &str) {
        let mut calls = self.0.lock();
        if let Some((_, arguments)) = calls.iter_mut().find(|(known, _)| known == id) {
            if arguments.len() + piece.len() <= MAX_BYTES {
                arguments.push_str(piece);
            } else {
                *arguments = " ".repeat(MAX_BYTES + 1);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_kept_is_bounded() {
        let arguments = ToolArguments::default();
        for n in 0..=MAX_CALLS {
            arguments.begin(&n.to_string());
            arguments.append(&n.to_string(), "{}");
        }
        assert_eq!(arguments.of("0"), None, "the oldest went");
        assert_eq!(arguments.0.lock().len(), MAX_CALLS);
        arguments.append("1", &"x".repeat(MAX_BYTES));
        assert_eq!(arguments.of("1"), None, "too long");
        arguments.append("1", "more");
        assert_eq!(arguments.of("1"), None);
    }
}
