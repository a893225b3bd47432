//! The line that a person writes. Pure.

use super::keys::Key;
use super::layout::width;
use super::plain_text::is_hidden;

/// A line, and where the cursor is in it.
#[derive(Debug, Default)]
pub(super) struct Editor {
    text: Vec<char>,
    cursor: usize,
}

/// What a key means beyond the line itself.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Entered {
    Nothing,
    /// Enter, with the line, which is empty again.
    Line(String),
    /// The end of input, on an empty line.
    End,
}

// === impl Editor ===

impl Editor {
    pub(super) fn is_empty(&self) -> bool {
        self.text.is_empty()
    }

    pub(super) fn clear(&mut self) {
        *self = Self::default();
    }

    pub(super) fn press(&mut self, key: Key) -> Entered {
        match key {
            Key::Char(c) => self.insert(c),
            // A prompt may have several lines.
            Key::Paste(text) => text.chars().for_each(|c| self.insert(c)),
            Key::Enter => {
                let text: String = std::mem::take(self).text.into_iter().collect();
                return Entered::Line(text);
            }
            Key::Backspace if self.cursor > 0 => {
                self.cursor -= 1;
                self.text.remove(self.cursor);
            }
            Key::Delete if self.cursor < self.text.len() => {
                self.text.remove(self.cursor);
            }
            Key::Left => self.cursor = self.cursor.saturating_sub(1),
            Key::Right => self.cursor = (self.cursor + 1).min(self.text.len()),
            Key::Home => self.cursor = 0,
            Key::End => self.cursor = self.text.len(),
            Key::EraseLine => {
                self.text.drain(..self.cursor);
                self.cursor = 0;
            }
            Key::EraseWord => {
                let before = &self.text[..self.cursor];
                let word = before
                    .iter()
                    .rposition(|c| *c != ' ')
                    .map_or(0, |end| end + 1);
                let start = before[..word]
                    .iter()
                    .rposition(|c| *c == ' ')
                    .map_or(0, |space| space + 1);
                self.text.drain(start..self.cursor);
                self.cursor = start;
            }
            Key::EndOfInput if self.text.is_empty() => return Entered::End,
            Key::Backspace | Key::Delete | Key::EndOfInput => {}
        }
        Entered::Nothing
    }

    fn insert(&mut self, c: char) {
        if c == '\n' || !is_hidden(c) {
            self.text.insert(self.cursor, c);
            self.cursor += 1;
        }
    }

    /// The part of the line around the cursor that fits, and how far the cursor is from its beginning.
    pub(super) fn row(&self, columns: usize) -> (String, usize) {
        let shown = |c: &char| if *c == '\n' { '⏎' } else { *c };
        let mut before: String = self.text[..self.cursor].iter().map(shown).collect();
        while width(&before) + 1 > columns && !before.is_empty() {
            before.remove(0);
        }
        let at = width(&before);
        let mut row = before;
        for c in self.text[self.cursor..].iter().map(shown) {
            row.push(c);
            if width(&row) > columns {
                row.pop();
                break;
            }
        }
        (row, at)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn typed(editor: &mut Editor, text: &str) {
        for c in text.chars() {
            assert_eq!(editor.press(Key::Char(c)), Entered::Nothing);
        }
    }

    #[test]
    fn a_line_is_written_and_mended() {
        let mut editor = Editor::default();
        typed(&mut editor, "fix teh bug");
        editor.press(Key::EraseWord);
        editor.press(Key::EraseWord);
        typed(&mut editor, "the tests");
        editor.press(Key::Home);
        typed(&mut editor, "> ");
        editor.press(Key::Delete);
        editor.press(Key::End);
        editor.press(Key::Backspace);
        assert_eq!(
            editor.press(Key::Enter),
            Entered::Line("> ix the test".into())
        );
        assert!(editor.is_empty());
        assert_eq!(editor.press(Key::EndOfInput), Entered::End);
    }

    #[test]
    fn a_paste_keeps_its_lines_and_loses_what_a_terminal_acts_on() {
        let mut editor = Editor::default();
        editor.press(Key::Paste("one\u{1b}[2J\ntwo".into()));
        assert_eq!(editor.row(20).0, "one[2J⏎two");
        assert_eq!(
            editor.press(Key::Enter),
            Entered::Line("one[2J\ntwo".into())
        );
    }

    #[test]
    fn a_long_line_shows_where_the_cursor_is() {
        let mut editor = Editor::default();
        typed(&mut editor, "0123456789");
        assert_eq!(editor.row(6), ("56789".into(), 5));
        editor.press(Key::Home);
        assert_eq!(editor.row(6), ("012345".into(), 0));
    }
}
