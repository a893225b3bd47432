//! What a terminal sends when keys are pressed, as keys. Pure, and the same however the bytes are cut.

/// A key, or a text that was pasted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Key {
    Char(char),
    Paste(String),
    Enter,
    Backspace,
    Delete,
    Left,
    Right,
    Home,
    End,
    /// Ctrl-W: the word before the cursor.
    EraseWord,
    /// Ctrl-U: everything before the cursor.
    EraseLine,
    /// Ctrl-D.
    EndOfInput,
}

const PASTE_BEGINS: &[u8] = b"\x1b[200~";
const PASTE_ENDS: &[u8] = b"\x1b[201~";

/// A paste that is longer is no prompt.
const MAX_PASTE: usize = 1 << 20;

/// Bytes that are not a whole key yet.
#[derive(Debug, Default)]
pub(super) struct Decoder {
    bytes: Vec<u8>,
    /// They were here at the last tick too.
    waited: bool,
}

// === impl Decoder ===

impl Decoder {
    pub(super) fn push(&mut self, bytes: &[u8]) -> Vec<Key> {
        self.waited = false;
        self.bytes.extend_from_slice(bytes);
        let mut keys = Vec::new();
        while let Some((length, key)) = first(&self.bytes) {
            self.bytes.drain(..length);
            keys.extend(key);
        }
        if self.bytes.len() > MAX_PASTE {
            self.bytes.clear();
        }
        keys
    }

    /// Time passes, a tenth of a second or so. The key ESC is the beginning of a sequence whose rest does not come; over a
    /// network the rest of a real one may come a little later.
    pub(super) fn tick(&mut self) {
        let begun = self.bytes.first() == Some(&0x1b) && !self.bytes.starts_with(PASTE_BEGINS);
        if begun && std::mem::replace(&mut self.waited, begun) {
            self.bytes.clear();
        }
    }
}

/// The first key, and how many bytes it has. `None`: they are not all here.
fn first(bytes: &[u8]) -> Option<(usize, Option<Key>)> {
    let one = |key| Some((1, Some(key)));
    match *bytes.first()? {
        b'\r' | b'\n' => one(Key::Enter),
        0x7f | 0x08 => one(Key::Backspace),
        0x01 => one(Key::Home),
        0x05 => one(Key::End),
        0x02 => one(Key::Left),
        0x06 => one(Key::Right),
        0x04 => one(Key::EndOfInput),
        0x15 => one(Key::EraseLine),
        0x17 => one(Key::EraseWord),
        b'\t' => one(Key::Char(' ')),
        0x1b => sequence(bytes),
        // Others have no meaning here.
        0x00..0x20 => Some((1, None)),
        byte => character(bytes, byte),
    }
}

fn character(bytes: &[u8], first: u8) -> Option<(usize, Option<Key>)> {
    let length = match first {
        0x00..=0x7f => 1,
        0xc0..=0xdf => 2,
        0xe0..=0xef => 3,
        0xf0..=0xf7 => 4,
        _ => return Some((1, None)),
    };
    let text = bytes.get(..length)?;
    let c = std::str::from_utf8(text)
        .ok()
        .and_then(|text| text.chars().next());
    Some((length, c.map(Key::Char)))
}

/// What begins with ESC.
fn sequence(bytes: &[u8]) -> Option<(usize, Option<Key>)> {
    if bytes.starts_with(PASTE_BEGINS) {
        let text = bytes.get(PASTE_BEGINS.len()..)?;
        let end = memchr::memmem::find(text, PASTE_ENDS)?;
        let pasted = String::from_utf8_lossy(&text[..end])
            .replace("\r\n", "\n")
            .replace('\r', "\n");
        return Some((
            PASTE_BEGINS.len() + end + PASTE_ENDS.len(),
            Some(Key::Paste(pasted)),
        ));
    }
    match bytes.get(1)? {
        b'[' | b'O' => {
            let rest = bytes.get(2..)?;
            let end = rest.iter().position(|byte| matches!(byte, 0x40..=0x7e))?;
            let key = match &rest[..=end] {
                b"D" => Some(Key::Left),
                b"C" => Some(Key::Right),
                b"H" | b"1~" => Some(Key::Home),
                b"F" | b"4~" => Some(Key::End),
                b"3~" => Some(Key::Delete),
                _ => None,
            };
            Some((3 + end, key))
        }
        _ => Some((2, None)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_the_same_wherever_the_bytes_are_cut() {
        let bytes = "aü\u{1b}[D\u{1b}[3~\r\u{1b}[200~two\rlines\u{1b}[201~\u{4}".as_bytes();
        let expected = vec![
            Key::Char('a'),
            Key::Char('ü'),
            Key::Left,
            Key::Delete,
            Key::Enter,
            Key::Paste("two\nlines".into()),
            Key::EndOfInput,
        ];
        assert_eq!(Decoder::default().push(bytes), expected);
        for at in 0..bytes.len() {
            let mut decoder = Decoder::default();
            let mut keys = decoder.push(&bytes[..at]);
            decoder.tick();
            keys.extend(decoder.push(&bytes[at..]));
            assert_eq!(keys, expected, "{at}");
        }
    }

    #[test]
    fn escape_alone_is_no_key_and_takes_none_along() {
        let mut decoder = Decoder::default();
        assert_eq!(decoder.push(b"\x1b"), []);
        decoder.tick();
        decoder.tick();
        assert_eq!(decoder.push(b"y"), [Key::Char('y')]);
    }
}
