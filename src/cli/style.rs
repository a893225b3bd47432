//! Colours and weights, where they are wanted. The few that are used, by what they say.

/// Puts a text in a colour, or leaves it as it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Style {
    colour: bool,
}

// === impl Style ===

impl Style {
    pub(super) const fn new(colour: bool) -> Self {
        Self { colour }
    }

    pub(super) fn bold(self, text: &str) -> String {
        self.with("1", text)
    }

    /// What is less important.
    pub(super) fn dim(self, text: &str) -> String {
        self.with("2", text)
    }

    pub(super) fn good(self, text: &str) -> String {
        self.with("32", text)
    }

    pub(super) fn bad(self, text: &str) -> String {
        self.with("31", text)
    }

    pub(super) fn warning(self, text: &str) -> String {
        self.with("33", text)
    }

    /// What is going on now.
    pub(super) fn active(self, text: &str) -> String {
        self.with("36", text)
    }

    /// The state of a session.
    pub(super) fn state(self, state: &str, text: &str) -> String {
        match state {
            "completed" | "ready" | "succeeded" => self.good(text),
            "failed" => self.bad(text),
            "running" => self.active(text),
            "waiting_input" | "starting" | "restarting" => self.warning(text),
            _ => self.dim(text),
        }
    }

    fn with(self, code: &str, text: &str) -> String {
        if self.colour && !text.is_empty() {
            format!("\u{1b}[{code}m{text}\u{1b}[0m")
        } else {
            text.to_owned()
        }
    }
}
