//! The frame of a piece of text: what stays the same from one piece to the next.

use serde_json::value::RawValue;

/// Where in an event's JSON the text stands, quotes included.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct TextAt {
    from: usize,
    length: usize,
}

/// An event is a further piece of text if it differs from the one before only in the text itself.
#[derive(Debug)]
pub(super) struct Shape {
    before: Vec<u8>,
    after: Vec<u8>,
}

/// Frames longer than this are not compared.
const MAX_FRAME: usize = 4 << 10;

/// Whether this is a string that says something.
pub(super) fn says(raw: Option<&RawValue>) -> bool {
    raw.is_some_and(|raw| raw.get().starts_with('"') && raw.get().len() > 2)
}

/// Whether this is a string, or nothing.
pub(super) fn is_text(raw: Option<&RawValue>) -> bool {
    raw.is_none_or(|raw| raw.get().starts_with('"'))
}

/// The characters of a string as they are written, without its quotes.
pub(super) fn written(raw: &RawValue) -> &[u8] {
    let text = raw.get().as_bytes();
    text.get(1..text.len().saturating_sub(1))
        .unwrap_or_default()
}

// === impl TextAt ===

impl TextAt {
    /// Of a text that was borrowed from `json`.
    pub(super) fn of(json: &[u8], text: &RawValue) -> Self {
        let text = text.get().as_bytes();
        Self {
            from: text.as_ptr().addr().saturating_sub(json.as_ptr().addr()),
            length: text.len(),
        }
    }
}

// === impl Shape ===

impl Shape {
    /// Of an event with its only line of `data`, in whose JSON the text stands at `at`.
    pub(super) fn of(event: &[u8], data: &[u8], at: &TextAt) -> Option<Self> {
        let json = data.trim_ascii();
        let json_from = json.as_ptr().addr().checked_sub(event.as_ptr().addr())?;
        let from = json_from + at.from;
        let before = event.get(..=from)?;
        let after = event.get((from + at.length).checked_sub(1)?..)?;
        let fits = before.len() + after.len() <= MAX_FRAME;
        (fits && before.ends_with(b"\"") && after.starts_with(b"\"")).then(|| Self {
            before: before.to_vec(),
            after: after.to_vec(),
        })
    }

    /// What `event` says, if it has this shape.
    pub(super) fn said<'a>(&self, event: &'a [u8]) -> Option<&'a [u8]> {
        let said = event
            .strip_prefix(&*self.before)?
            .strip_suffix(&*self.after)?;
        memchr::memchr3(b'"', b'\\', b'\n', said)
            .is_none()
            .then_some(said)
    }
}

/// Whether the pieces of a JSON text make up a whole object so far.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Balance {
    depth: u32,
    in_string: bool,
    escaped: bool,
    closed: bool,
}

// === impl Balance ===

impl Balance {
    pub(super) fn add(&mut self, piece: &str) {
        for byte in piece.bytes() {
            if std::mem::take(&mut self.escaped) {
                continue;
            }
            match byte {
                b'\\' if self.in_string => self.escaped = true,
                b'"' => self.in_string = !self.in_string,
                b'{' | b'[' if !self.in_string => self.depth += 1,
                b'}' | b']' if !self.in_string => {
                    self.depth = self.depth.saturating_sub(1);
                    self.closed = self.depth == 0;
                }
                _ => {}
            }
        }
    }

    pub(super) const fn is_whole(self) -> bool {
        self.closed && self.depth == 0 && !self.in_string
    }
}
