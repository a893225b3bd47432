//! How a command ends: its exit code, and the sentence for a person when it did not do what was asked.

use std::process::ExitCode;

use crate::config::ConfigError;

/// The exit codes. Those from 64 on are of `sysexits.h`, 124 is that of `timeout`, 130 that of shells.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Exit {
    /// Done; a turn that was followed completed.
    Done,
    /// A turn failed, a check did not succeed, or the sidecar refused.
    Failed,
    /// The turn that was followed was cancelled.
    Cancelled,
    /// The command line, or a value in it, cannot be used.
    Usage,
    /// There is no such session.
    NoSession,
    /// No sidecar answers.
    Unreachable,
    /// The sidecar cannot do it now.
    TryAgain,
    /// The token is missing or not accepted.
    NotAllowed,
    /// The turn did not end in time.
    Timeout,
    /// Ctrl-C.
    Interrupted,
}

/// Why a command did not do what was asked.
#[derive(Debug)]
pub(super) struct Problem {
    pub(super) exit: Exit,
    /// Empty where everything has been said, as when nobody reads our output any more.
    pub(super) sentence: String,
}

pub(super) type Outcome = Result<Exit, Problem>;

// === impl Exit ===

impl Exit {
    const fn code(self) -> u8 {
        match self {
            Self::Done => 0,
            Self::Failed => 1,
            Self::Cancelled => 2,
            Self::Usage => 64,
            Self::NoSession => 66,
            Self::Unreachable => 69,
            Self::TryAgain => 75,
            Self::NotAllowed => 77,
            Self::Timeout => 124,
            Self::Interrupted => 130,
        }
    }
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        exit.code().into()
    }
}

// === impl Problem ===

impl Problem {
    pub(super) fn new(exit: Exit, sentence: impl Into<String>) -> Self {
        Self {
            exit,
            sentence: sentence.into(),
        }
    }

    pub(super) fn failed(sentence: impl Into<String>) -> Self {
        Self::new(Exit::Failed, sentence)
    }

    pub(super) fn usage(sentence: impl Into<String>) -> Self {
        Self::new(Exit::Usage, sentence)
    }
}

impl From<ConfigError> for Problem {
    fn from(error: ConfigError) -> Self {
        Self::usage(error.to_string())
    }
}

/// Writing our output failed. Whoever closed the pipe has seen enough, as with `| head`.
impl From<std::io::Error> for Problem {
    fn from(error: std::io::Error) -> Self {
        if error.kind() == std::io::ErrorKind::BrokenPipe {
            return Self::new(Exit::Done, "");
        }
        let reason = crate::text::plain(&error.to_string());
        Self::failed(format!("the output cannot be written: {reason}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_documented_codes_are_those_that_there_are() {
        let all = [
            Exit::Done,
            Exit::Failed,
            Exit::Cancelled,
            Exit::Usage,
            Exit::NoSession,
            Exit::Unreachable,
            Exit::TryAgain,
            Exit::NotAllowed,
            Exit::Timeout,
            Exit::Interrupted,
        ];
        let text = include_str!("../../docs/CLI.md");
        let (_, rest) = text.split_once("\n## Exit codes\n").unwrap();
        let (table, _) = rest.split_once("\n## ").unwrap();
        let rows = table
            .lines()
            .filter_map(|line| line.strip_prefix("| ")?.split_once(" |"));
        let told: Vec<u8> = rows.filter_map(|(code, _)| code.parse().ok()).collect();
        assert_eq!(told, all.map(Exit::code));
    }
}
