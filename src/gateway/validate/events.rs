//! Where the events of a stream begin and end, and what data they hold. Pure.

use std::borrow::Cow;

/// What the first bytes of an answer show.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Start {
    Stream,
    /// Too little has come to tell.
    Unknown,
    Other,
}

/// How an event stream may begin.
const FIELDS: [&[u8]; 5] = [b"data:", b"event:", b"id:", b"retry:", b":"];

/// How far the search for the end of an event has come.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Cursor {
    /// Where the line begins that is looked at.
    line: usize,
    /// Up to here it holds no end.
    searched: usize,
}

/// Whatever the content type says: some servers send streams as `text/plain`.
pub(super) fn start(data: &[u8]) -> Start {
    let data = data.strip_prefix("\u{feff}".as_bytes()).unwrap_or(data);
    let data = data.trim_ascii_start();
    if FIELDS.iter().any(|field| data.starts_with(field)) {
        Start::Stream
    } else if FIELDS.iter().any(|field| field.starts_with(data)) {
        Start::Unknown
    } else {
        Start::Other
    }
}

// === impl Cursor ===

impl Cursor {
    pub(super) const fn at(place: usize) -> Self {
        Self {
            line: place,
            searched: place,
        }
    }

    /// The first `bytes` are gone.
    pub(super) const fn moved_back(&mut self, bytes: usize) {
        self.line = self.line.saturating_sub(bytes);
        self.searched = self.searched.saturating_sub(bytes);
    }

    /// Where the present event ends: behind its blank line.
    pub(super) fn event_end(&mut self, data: &[u8]) -> Option<usize> {
        loop {
            let rest = data.get(self.searched..).unwrap_or_default();
            let Some(found) = memchr::memchr(b'\n', rest) else {
                self.searched = data.len();
                return None;
            };
            let end = self.searched + found;
            let line = data.get(self.line..end).unwrap_or_default();
            (self.line, self.searched) = (end + 1, end + 1);
            if line.is_empty() || line == b"\r" {
                return Some(end + 1);
            }
        }
    }
}

/// The data of an event; `None` if it has none, as comments have. Several lines of it are one text.
pub(super) fn data(event: &[u8]) -> Option<Cow<'_, [u8]>> {
    let mut found: Option<Cow<'_, [u8]>> = None;
    for line in event.split(|byte| *byte == b'\n') {
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        let line = line.strip_prefix("\u{feff}".as_bytes()).unwrap_or(line);
        let Some(value) = line.strip_prefix(b"data:") else {
            continue;
        };
        let value = value.strip_prefix(b" ").unwrap_or(value);
        match &mut found {
            None => found = Some(Cow::Borrowed(value)),
            Some(before) => {
                let before = before.to_mut();
                before.push(b'\n');
                before.extend_from_slice(value);
            }
        }
    }
    found
}
