//! Finds the new output of a command in updates that repeat all of it.
//!
//! While a command runs, OpenCode sends all of its output again with every update, up to 30 000 UTF-16
//! code units. Beyond, it sends `...`, an empty line and the last 30 000: a window that slides. The new
//! text is what follows the longest overlap of the old window with the new one. A command that prints
//! more than a window between two updates leaves a gap, and the piece says so.

/// The start of a window that has slid.
const SLID: &str = "...\n\n";

/// The size of a window. Shorter text that begins with [`SLID`] is just text.
const WINDOW: usize = 30_000;

/// The length of the start of a window that is searched for first.
const PROBE: usize = 64;

/// How a command with no output at all is shown.
const NOTHING: &str = "(no output)";

/// New text.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Piece {
    pub(super) text: String,
    /// Text before it was never seen.
    pub(super) truncated: bool,
}

/// The output of one command so far.
#[derive(Debug, Default)]
pub(super) struct OutputDiff {
    /// Bytes published.
    total: usize,
    /// The output seen last: all of it, or its window.
    seen: String,
    /// Whether some of it was never seen.
    gaps: bool,
}

// === impl OutputDiff ===

impl OutputDiff {
    /// The output as one update repeats it.
    pub(super) fn advance(&mut self, output: String) -> Option<Piece> {
        match window(&output) {
            Some(window) => self.slide(window.to_owned()),
            None => self.grow(output),
        }
    }

    /// The output as the end of the command repeats it: the window once more, and the text of the result, which
    /// is longer.
    pub(super) fn settle(&mut self, output: String, result: &FinalOutput) -> Option<Piece> {
        // Of a command that printed nothing the update is what the result is: the words that OpenCode puts in place of an
        // output, and behind them those about the end. A call that was broken off has an update and no result.
        if self.total == 0 && FinalOutput::read(&output).text.is_empty() {
            return None;
        }
        let Some(window) = window(&output) else {
            return self.grow(output);
        };
        if result.cut {
            // The result's text is longer than the window, so it may reach back to what was seen.
            let reached = overlap(self.seen.as_bytes(), window.as_bytes()) > 0;
            return self.slide(if reached { window } else { &result.text }.to_owned());
        }
        match self.rest_of(&result.text) {
            Some(rest) => self.publish(rest, false),
            None => self.slide(window.to_owned()),
        }
    }

    /// What follows the published text in the whole output, if the published text is its start.
    fn rest_of(&self, whole: &str) -> Option<String> {
        let (known, rest) = whole.split_at_checked(self.total)?;
        (!self.gaps && known.ends_with(&*self.seen)).then(|| rest.to_owned())
    }

    /// Nothing of it has slid away.
    fn grow(&mut self, output: String) -> Option<Piece> {
        if let Some(more) = output.strip_prefix(&*self.seen) {
            let more = more.to_owned();
            self.seen = output;
            return self.publish(more, false);
        }
        if self.seen.starts_with(&*output) {
            // An update from before.
            return None;
        }
        self.slide(output)
    }

    fn slide(&mut self, window: String) -> Option<Piece> {
        let known = overlap(self.seen.as_bytes(), window.as_bytes());
        // The overlap ends where `seen` ends, so it ends between characters.
        let more = window.get(known..).unwrap_or_default().to_owned();
        self.seen = window;
        self.publish(more, known == 0)
    }

    fn publish(&mut self, text: String, truncated: bool) -> Option<Piece> {
        if text.is_empty() {
            return None;
        }
        self.total += text.len();
        self.gaps |= truncated;
        Some(Piece { text, truncated })
    }
}

fn window(output: &str) -> Option<&str> {
    // Every code unit has at least a byte.
    let window = output
        .strip_prefix(SLID)
        .filter(|window| window.len() >= WINDOW)?;
    // A window that begins inside a character begins with half of it.
    Some(
        window
            .strip_prefix(char::REPLACEMENT_CHARACTER)
            .unwrap_or(window),
    )
}

/// The text of a command's result, without what OpenCode wrote around it.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct FinalOutput {
    pub(super) text: String,
    /// Its start is missing.
    pub(super) cut: bool,
    /// What OpenCode has to say about the end of the command.
    pub(super) note: Option<String>,
}

// === impl FinalOutput ===

impl FinalOutput {
    pub(super) fn read(output: &str) -> Self {
        let (mut text, mut note, mut cut) = (output, None, false);
        // So it is round the end of a command of the client.
        if let Some(rest) = text.strip_suffix("\n</metadata>")
            && let Some((before, said)) = rest.rsplit_once("\n\n<metadata>\n")
        {
            (text, note) = (before, Some(said.to_owned()));
        }
        if let Some(rest) = text.strip_suffix("\n</shell_metadata>")
            && let Some((before, said)) = rest.rsplit_once("\n\n<shell_metadata>\n")
        {
            (text, note) = (before, Some(said.to_owned()));
        }
        if let Some(rest) = text.strip_prefix("...output truncated...\n\nFull output saved to: ")
            && let Some((_, tail)) = rest.split_once("\n\n")
        {
            (text, cut) = (tail, true);
        }
        if text == NOTHING {
            text = "";
        }
        Self {
            text: text.to_owned(),
            cut,
            note,
        }
    }
}

/// The length of the longest end of `old` that `new` begins with.
fn overlap(old: &[u8], new: &[u8]) -> usize {
    let new = new.get(..old.len()).unwrap_or(new);
    let old = old.get(old.len() - new.len()..).unwrap_or(old);
    // Where `new` begins for the first time is nearly always right, and nothing can be longer.
    if let Some(start) = new.get(..PROBE)
        && let Some(at) = memchr::memmem::find(old, start)
        && let Some(end) = old.get(at..)
        && new.starts_with(end)
    {
        return end.len();
    }
    longest_border(old, new)
}

/// The same by Knuth, Morris and Pratt: linear also for output that nearly repeats itself.
fn longest_border(old: &[u8], new: &[u8]) -> usize {
    let mut border = vec![0_u32; new.len()];
    let step = |border: &[u32], mut length: usize, byte: u8| {
        while length > 0 && (length == new.len() || new[length] != byte) {
            length = border[length - 1] as usize;
        }
        if new.get(length) == Some(&byte) {
            length + 1
        } else {
            0
        }
    };
    let mut length = 0;
    for at in 1..new.len() {
        length = step(&border, length, new[at]);
        border[at] = u32::try_from(length).unwrap_or_default();
    }
    old.iter()
        .fold(0, |length, &byte| step(&border, length, byte))
}

#[cfg(test)]
mod tests {
    use std::fmt::Write;

    use proptest::prelude::*;

    use super::*;

    /// New text that continues what was published.
    macro_rules! piece {
        ($text:expr) => {
            Some(Piece {
                text: String::from($text),
                truncated: false,
            })
        };
    }

    #[test]
    fn only_the_new_end_is_published() {
        let mut output = OutputDiff::default();
        assert_eq!(output.advance(String::new()), None);
        assert_eq!(output.advance("a\n".into()), piece!("a\n"));
        assert_eq!(output.advance("a\nä".into()), piece!("ä"));
        assert_eq!(output.advance("a\n".into()), None, "an update from before");
        assert_eq!(
            output.settle("a\näb".into(), &FinalOutput::default()),
            piece!("b")
        );
    }

    #[test]
    fn a_command_without_output_publishes_nothing() {
        let result = FinalOutput::read(NOTHING);
        assert_eq!(OutputDiff::default().settle(NOTHING.into(), &result), None);
        assert_eq!(result.text, "");
    }

    #[test]
    fn a_command_that_was_stopped_before_it_printed_anything_publishes_nothing() {
        let output = "(no output)\n\n<shell_metadata>\nUser aborted the command\n</shell_metadata>";
        let result = FinalOutput::read(output);
        assert_eq!(OutputDiff::default().settle(output.into(), &result), None);
        assert_eq!(result.note.as_deref(), Some("User aborted the command"));
    }

    #[test]
    fn what_a_call_printed_that_was_broken_off_is_published_though_it_has_no_result() {
        let mut output = OutputDiff::default();
        let piece = output.settle("start\n".into(), &FinalOutput::read(""));
        assert_eq!(piece, piece!("start\n"));
    }

    #[test]
    fn what_was_written_around_the_output_is_taken_off() {
        let output = "before\n\n\n<shell_metadata>\ntimed out\n</shell_metadata>";
        let (text, note) = ("before\n".to_owned(), Some("timed out".to_owned()));
        assert_eq!(
            FinalOutput::read(output),
            FinalOutput {
                text,
                cut: false,
                note
            }
        );
        let output = "...output truncated...\n\nFull output saved to: /t/x\n\nthe\n\nend";
        assert_eq!(
            FinalOutput::read(output),
            FinalOutput {
                text: "the\n\nend".into(),
                cut: true,
                note: None
            }
        );
    }

    #[test]
    fn a_burst_larger_than_the_window_leaves_a_gap() {
        let lines = |from: usize, to: usize| -> String {
            let mut text = String::new();
            for line in from..to {
                writeln!(text, "{line:09}").unwrap();
            }
            text
        };
        let mut output = OutputDiff::default();
        assert_eq!(output.advance(lines(0, 10)), piece!(lines(0, 10)));
        let text = lines(9000, 12_000);
        assert_eq!(
            output.advance(format!("{SLID}{text}")),
            Some(Piece {
                text,
                truncated: true
            })
        );
        let next = output.advance(format!("{SLID}{}", lines(9100, 12_100)));
        assert_eq!(next, piece!(lines(12_000, 12_100)));
    }

    proptest! {
        #[test]
        fn the_overlap_is_the_longest(old in "[ab]{0,40}", new in "[ab]{0,40}") {
            let (old, new) = (old.as_bytes(), new.as_bytes());
            let slow = (0..=old.len().min(new.len())).rev()
                .find(|&length| old.ends_with(&new[..length])).unwrap();
            prop_assert_eq!(overlap(old, new), slow);
        }

        #[test]
        fn the_quick_way_and_the_sure_way_agree(text in "(ab{0,2}|[a-d]){150,400}", from in 0_usize..120, more in "[a-d]{0,90}") {
            let new = format!("{}{more}", text.get(from..).unwrap());
            let (old, new) = (text.as_bytes(), new.as_bytes());
            let both = new.get(..old.len()).unwrap_or(new);
            let end = old.get(old.len() - both.len()..).unwrap();
            prop_assert_eq!(overlap(old, new), longest_border(end, both));
        }

        #[test]
        fn pieces_of_distinct_lines_join_to_the_output(steps in prop::collection::vec(1_usize..600, 1..25)) {
            let (mut all, mut line, mut joined) = (String::new(), 0, String::new());
            let mut output = OutputDiff::default();
            let shown = |all: &str| match all.len().checked_sub(WINDOW) {
                Some(from @ 1..) => format!("{SLID}{}", all.get(from..).unwrap()),
                _ => all.to_owned(),
            };
            for step in steps {
                for _ in 0..step { writeln!(all, "line {line:06}").unwrap(); line += 1; }
                let piece = output.advance(shown(&all)).unwrap();
                prop_assert!(!piece.truncated);
                joined += &piece.text;
            }
            prop_assert_eq!(joined, all);
        }
    }
}
