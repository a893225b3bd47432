//! What a typed line means. Pure.

/// A line.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Words {
    Nothing,
    Prompt(String, OnBusy),
    Stop,
    Leave,
    Help,
    /// Show the prompts that wait.
    Queue,
    /// Withdraw the one with this turn.
    Drop(String),
    /// A command that does not exist.
    Unknown(String),
}

/// What becomes of a prompt while a turn runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum OnBusy {
    Queue,
    Interrupt,
    Steer,
}

pub(super) const HELP: &[(&str, &str)] = &[
    ("<words>", "the next prompt; while a turn runs it waits"),
    ("/now <words>", "interrupts the turn for this prompt"),
    ("/steer <words>", "says it to the running turn"),
    (
        "/queue",
        "lists the prompts that wait; /drop <turn> withdraws one",
    ),
    ("/skip", "leaves a question of the agent without an answer"),
    (
        "/stop",
        "ends the turn, and withdraws the prompts that wait",
    ),
    ("/quit", "leaves; the turn goes on (Ctrl-D)"),
];

// === impl Words ===

impl Words {
    pub(super) fn of(line: &str) -> Self {
        let line = line.trim();
        let Some(command) = line.strip_prefix('/') else {
            return Self::prompt(line, OnBusy::Queue);
        };
        let (word, rest) = command
            .split_once(char::is_whitespace)
            .unwrap_or((command, ""));
        match word {
            "now" | "interrupt" => Self::prompt(rest, OnBusy::Interrupt),
            "steer" => Self::prompt(rest, OnBusy::Steer),
            "stop" => Self::Stop,
            "queue" => Self::Queue,
            "drop" if !rest.trim().is_empty() => Self::Drop(rest.trim().to_owned()),
            "quit" | "exit" | "detach" => Self::Leave,
            "help" | "?" | "" => Self::Help,
            // A path is no command: `/etc/hosts is wrong`.
            word if word.contains('/') => Self::prompt(line, OnBusy::Queue),
            word => Self::Unknown(word.to_owned()),
        }
    }

    fn prompt(words: &str, on_busy: OnBusy) -> Self {
        match words.trim() {
            "" => Self::Nothing,
            words => Self::Prompt(words.to_owned(), on_busy),
        }
    }
}

// === impl OnBusy ===

impl OnBusy {
    pub(super) const fn as_str(self) -> &'static str {
        match self {
            Self::Queue => "queue",
            Self::Interrupt => "interrupt",
            Self::Steer => "steer",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_a_prompt_unless_it_is_a_command() {
        let prompt = |words: &str, on_busy| Words::Prompt(words.into(), on_busy);
        assert_eq!(Words::of(" fix it "), prompt("fix it", OnBusy::Queue));
        assert_eq!(
            Words::of("/now stop that"),
            prompt("stop that", OnBusy::Interrupt)
        );
        assert_eq!(
            Words::of("/steer use tabs"),
            prompt("use tabs", OnBusy::Steer)
        );
        assert_eq!(
            Words::of("/etc/hosts is wrong"),
            prompt("/etc/hosts is wrong", OnBusy::Queue)
        );
        assert_eq!(Words::of("/now"), Words::Nothing);
        assert_eq!(Words::of("  "), Words::Nothing);
        assert_eq!(Words::of("/stop"), Words::Stop);
        assert_eq!(Words::of("/drop 3"), Words::Drop("3".into()));
        assert_eq!(Words::of("/stpo"), Words::Unknown("stpo".into()));
    }
}
