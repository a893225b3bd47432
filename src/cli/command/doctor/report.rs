//! What was found, one line for each check, with what to do where something is wrong. Pure.

use serde_json::{Value, json};

use crate::cli::plain_text;
use crate::cli::style::Style;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    Good,
    /// It works, and one should know.
    Warning,
    Bad,
}

/// One line, and the remedy below it.
#[derive(Clone, Debug)]
pub(super) struct Check {
    pub(super) verdict: Verdict,
    pub(super) about: &'static str,
    pub(super) text: String,
    pub(super) remedy: Option<String>,
}

/// All of them, in their order.
#[derive(Debug, Default)]
pub(super) struct Report(Vec<Check>);

// === impl Check ===

impl Check {
    pub(super) fn good(about: &'static str, text: impl Into<String>) -> Self {
        Self::new(Verdict::Good, about, text, None)
    }

    pub(super) fn warning(
        about: &'static str,
        text: impl Into<String>,
        remedy: impl Into<String>,
    ) -> Self {
        Self::new(Verdict::Warning, about, text, Some(remedy.into()))
    }

    pub(super) fn bad(
        about: &'static str,
        text: impl Into<String>,
        remedy: impl Into<String>,
    ) -> Self {
        Self::new(Verdict::Bad, about, text, Some(remedy.into()))
    }

    fn new(
        verdict: Verdict,
        about: &'static str,
        text: impl Into<String>,
        remedy: Option<String>,
    ) -> Self {
        let remedy = remedy.filter(|remedy| !remedy.is_empty());
        Self {
            verdict,
            about,
            text: text.into(),
            remedy,
        }
    }
}

// === impl Report ===

impl Report {
    pub(super) fn push(&mut self, check: Check) {
        self.0.push(check);
    }

    pub(super) fn extend(&mut self, checks: impl IntoIterator<Item = Check>) {
        self.0.extend(checks);
    }

    pub(super) fn is_good(&self) -> bool {
        self.0.iter().all(|check| check.verdict != Verdict::Bad)
    }

    pub(super) fn lines(&self, style: Style) -> Vec<String> {
        let wide = self
            .0
            .iter()
            .map(|check| check.about.len())
            .max()
            .unwrap_or(0);
        let mut lines = Vec::new();
        for Check {
            verdict,
            about,
            text,
            remedy,
        } in &self.0
        {
            let text = plain_text::one_line(text);
            let (mark, text) = match verdict {
                Verdict::Good => (style.good("✓"), text),
                Verdict::Warning => (style.warning("!"), text),
                Verdict::Bad => (style.bad("✗"), style.bad(&text)),
            };
            lines.push(format!(
                "{mark} {}  {text}",
                style.bold(&format!("{about:wide$}"))
            ));
            lines.extend(remedy.as_ref().map(|remedy| {
                let remedy = format!("{:wide$}    → {}", "", plain_text::one_line(remedy));
                if *verdict == Verdict::Bad {
                    remedy
                } else {
                    style.dim(&remedy)
                }
            }));
        }
        lines.push(String::new());
        lines.push(self.summary(style));
        lines
    }

    fn summary(&self, style: Style) -> String {
        let count = |verdict| {
            self.0
                .iter()
                .filter(|check| check.verdict == verdict)
                .count()
        };
        let (bad, warnings) = (count(Verdict::Bad), count(Verdict::Warning));
        let to_know = match warnings {
            0 => String::new(),
            1 => ", and one thing to know".to_owned(),
            number => format!(", and {number} things to know"),
        };
        match bad {
            0 => style.good(&format!("A sidecar can work here{to_know}.")),
            1 => style.bad(&format!("One thing is in the way{to_know}.")),
            number => style.bad(&format!("{number} things are in the way{to_know}.")),
        }
    }

    pub(super) fn json(&self) -> String {
        let checks: Vec<Value> = self
            .0
            .iter()
            .map(|check| {
                let verdict = match check.verdict {
                    Verdict::Good => "good",
                    Verdict::Warning => "warning",
                    Verdict::Bad => "bad",
                };
                json!({ "about": check.about, "verdict": verdict, "text": check.text, "remedy": check.remedy })
            })
            .collect();
        plain_text::json(&json!({ "good": self.is_good(), "checks": checks }).to_string())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_line_has_a_mark_and_a_remedy_where_one_is_needed() {
        let mut report = Report::default();
        report.push(Check::good("OpenCode", "1.18.33"));
        report.push(Check::warning(
            "clock",
            "a little off",
            "start an NTP client",
        ));
        assert!(report.is_good());
        report.push(Check::bad(
            "workspace",
            "/w does not exist\u{1b}[2J",
            "set WORKSPACE_DIR",
        ));
        assert!(!report.is_good());
        assert_eq!(
            report.lines(Style::new(false)),
            [
                "✓ OpenCode   1.18.33",
                "! clock      a little off",
                "             → start an NTP client",
                "✗ workspace  /w does not exist",
                "             → set WORKSPACE_DIR",
                "",
                "One thing is in the way, and one thing to know.",
            ]
        );
    }
}
