//! Text that others wrote, made fit for a terminal: the model, its tools and their output can hold anything.
//!
//! Escape sequences are taken out whole, other control characters are dropped, and so is what changes
//! the direction of writing or cannot be seen. What remains is text, tabs, line breaks, and carriage returns
//! that begin a line anew. Works on text that comes in pieces, wherever it is cut.

/// An unfinished sequence that is longer than this was none.
const LONGEST_SEQUENCE: usize = 4096;

/// Takes out what is not text.
#[derive(Clone, Copy, Debug)]
pub(super) struct Cleaner {
    state: State,
    /// A carriage return that may belong to a line break.
    pending_return: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Text,
    /// After ESC.
    Escape,
    /// After ESC and an intermediate byte: one more byte belongs to it.
    Intermediate,
    /// In a control sequence: colours, movements of the cursor.
    Control {
        length: usize,
    },
    /// In a string for the terminal: titles, links, the clipboard.
    TerminalString {
        length: usize,
        escape: bool,
    },
}

// === impl Cleaner ===

impl Cleaner {
    pub(super) const fn new() -> Self {
        Self {
            state: State::Text,
            pending_return: false,
        }
    }

    pub(super) fn push(&mut self, text: &str, clean: &mut String) {
        for c in text.chars() {
            self.push_char(c, clean);
        }
    }

    fn push_char(&mut self, c: char, clean: &mut String) {
        match self.state {
            State::Text => self.text(c, clean),
            State::Escape => match c {
                '[' => self.state = State::Control { length: 0 },
                ']' | 'P' | 'X' | '^' | '_' => self.state = string(),
                '\u{20}'..='\u{2f}' => self.state = State::Intermediate,
                '\u{30}'..='\u{7e}' => self.state = State::Text,
                _ => self.again(c, clean),
            },
            State::Intermediate => match c {
                '\u{20}'..='\u{2f}' => {}
                '\u{30}'..='\u{7e}' => self.state = State::Text,
                _ => self.again(c, clean),
            },
            State::Control { length } => match c {
                '\u{20}'..='\u{3f}' if length < LONGEST_SEQUENCE => {
                    self.state = State::Control { length: length + 1 };
                }
                '\u{40}'..='\u{7e}' => self.state = State::Text,
                _ => self.again(c, clean),
            },
            State::TerminalString { length, escape } => match c {
                '\u{7}' | '\u{9c}' => self.state = State::Text,
                '\\' if escape => self.state = State::Text,
                // A title has one line, and a text that is not ended must not swallow the rest.
                '\n' => self.again(c, clean),
                _ if length >= LONGEST_SEQUENCE => self.again(c, clean),
                _ => {
                    self.state = State::TerminalString {
                        length: length + 1,
                        escape: c == '\u{1b}',
                    };
                }
            },
        }
    }

    fn again(&mut self, c: char, clean: &mut String) {
        self.state = State::Text;
        self.text(c, clean);
    }

    fn text(&mut self, c: char, clean: &mut String) {
        if std::mem::take(&mut self.pending_return) && c != '\n' && c != '\r' {
            clean.push('\r');
        }
        match c {
            '\r' => self.pending_return = true,
            '\n' | '\u{2028}' | '\u{2029}' => clean.push('\n'),
            '\t' => clean.push('\t'),
            '\u{1b}' => self.state = State::Escape,
            '\u{9b}' => self.state = State::Control { length: 0 },
            '\u{90}' | '\u{98}' | '\u{9d}' | '\u{9e}' | '\u{9f}' => self.state = string(),
            c if is_hidden(c) => {}
            c => clean.push(c),
        }
    }
}

const fn string() -> State {
    State::TerminalString {
        length: 0,
        escape: false,
    }
}

/// Control characters, what changes the direction of writing, and characters that show as nothing.
pub(super) fn is_hidden(c: char) -> bool {
    c.is_control()
        || matches!(
            c,
            '\u{61c}'
                | '\u{200e}'
                | '\u{200f}'
                | '\u{202a}'..='\u{202e}'
                | '\u{2066}'..='\u{2069}'
                | '\u{fff9}'..='\u{fffb}'
                | '\u{e0000}'..='\u{e007f}'
        )
}

/// A text for one line.
pub(super) fn one_line(text: &str) -> String {
    let mut clean = String::with_capacity(text.len());
    Cleaner::new().push(text, &mut clean);
    clean.replace(['\n', '\r', '\t'], " ").trim().to_owned()
}

/// A text whose every character a person has to see, because the answer depends on it: what a terminal would act on, or
/// would not show, is there as `⟨U+202E⟩`. Line breaks and tabs stay.
pub(super) fn visible(text: &str) -> String {
    use std::fmt::Write as _;
    let mut seen = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '\n' | '\t' => seen.push(c),
            c if is_hidden(c) || is_blank(c) => {
                write!(seen, "⟨U+{:04X}⟩", u32::from(c)).ok();
            }
            c => seen.push(c),
        }
    }
    seen
}

/// Characters that are no space and show as nothing, or as a line break.
const fn is_blank(c: char) -> bool {
    matches!(
        c,
        '\u{ad}'
            | '\u{34f}'
            | '\u{115f}'
            | '\u{1160}'
            | '\u{17b4}'
            | '\u{17b5}'
            | '\u{180b}'..='\u{180f}'
            | '\u{200b}'..='\u{200f}'
            | '\u{2028}'
            | '\u{2029}'
            | '\u{2060}'..='\u{2064}'
            | '\u{206a}'..='\u{206f}'
            | '\u{3164}'
            | '\u{fe00}'..='\u{fe0f}'
            | '\u{feff}'
            | '\u{ffa0}'
            | '\u{e0100}'..='\u{e01ef}'
    )
}

/// JSON in which every character that a terminal might act on is an escape. It means the same.
pub(super) fn json(text: &str) -> String {
    use std::fmt::Write as _;
    let mut safe = String::with_capacity(text.len());
    for c in text.chars() {
        // JSON has C0 escaped already, but for the line breaks of its layout.
        if c != '\n' && is_hidden(c) {
            let mut units = [0; 2];
            for unit in c.encode_utf16(&mut units) {
                write!(safe, "\\u{unit:04x}").ok();
            }
        } else {
            safe.push(c);
        }
    }
    safe
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn clean(text: &str) -> String {
        let mut clean = String::new();
        Cleaner::new().push(text, &mut clean);
        clean
    }

    #[test]
    fn what_a_terminal_would_act_on_is_gone_and_the_text_stays() {
        for (text, expected) in [
            ("\u{1b}[31mred\u{1b}[0m", "red"),
            ("\u{1b}]0;title\u{7}after", "after"),
            ("\u{1b}]8;;http://x\u{1b}\\link\u{1b}]8;;\u{1b}\\", "link"),
            ("\u{1b}]52;c;cm0gLXJm\u{7}", ""),
            ("\u{1b}[2J\u{1b}[H\u{1b}cgone", "gone"),
            ("\u{9b}31mC1", "C1"),
            ("\u{1b}(0lqk", "lqk"),
            ("a\u{8}\u{7}b\u{0}", "ab"),
            ("\u{202e}gpj.exe", "gpj.exe"),
            ("a\r\nb\tc\n", "a\nb\tc\n"),
            ("10%\r20%\r\n", "10%\r20%\n"),
            ("\u{1b}]0;never ended\nnext", "\nnext"),
            ("\u{1b}[31\nnext", "\nnext"),
            ("grüße 👩‍💻", "grüße 👩‍💻"),
        ] {
            assert_eq!(clean(text), expected, "{text:?}");
        }
    }

    #[test]
    fn a_text_that_never_ends_does_not_swallow_everything() {
        let text = format!("\u{1b}P{}tail", "x".repeat(2 * LONGEST_SEQUENCE));
        assert!(clean(&text).ends_with("xtail"));
    }

    #[test]
    fn what_a_person_decides_on_is_seen_whole() {
        assert_eq!(
            visible("echo ok\n#\u{202e}\r\u{200b}\u{1b}[8mrm\t-rf \u{2028}ü"),
            "echo ok\n#⟨U+202E⟩⟨U+000D⟩⟨U+200B⟩⟨U+001B⟩[8mrm\t-rf ⟨U+2028⟩ü"
        );
    }

    #[test]
    fn json_stays_the_same_value() {
        let value = serde_json::json!({ "a": "\u{9b}31m\u{202e}\u{e0041}\u{1b}ü" });
        let text = json(&value.to_string());
        assert!(text.is_ascii() || !text.chars().any(is_hidden), "{text}");
        assert_eq!(
            serde_json::from_str::<serde_json::Value>(&text).unwrap(),
            value
        );
    }

    proptest! {
        #[test]
        fn wherever_it_is_cut_the_text_is_the_same_and_holds_no_control(
            text in "[\u{0}-\u{ff}\u{202e}ü👍]{0,60}", cut in 0_usize..60,
        ) {
            let at = text.char_indices().map(|(at, _)| at).nth(cut).unwrap_or(text.len());
            let (first, second) = text.split_at(at);
            let (mut cleaner, mut pieces) = (Cleaner::new(), String::new());
            cleaner.push(first, &mut pieces);
            cleaner.push(second, &mut pieces);
            prop_assert_eq!(&pieces, &clean(&text));
            prop_assert!(pieces.chars().all(|c| matches!(c, '\n' | '\r' | '\t') || !is_hidden(c)));
        }
    }
}
