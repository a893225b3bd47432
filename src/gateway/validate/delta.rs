//! Events that say nothing but one more piece of a text: of the answer, its reasoning or a tool's arguments.
//!
//! They are nearly all of a stream. What stands around the text stays the same from one to the next, so
//! that further ones are recognised without parsing them, and can be merged.

use std::ops::Range;

use serde_json::value::RawValue;

/// The piece of text in an event, and what else in it may differ from the event before.
#[derive(Debug)]
pub(super) struct Delta<'a> {
    pub(super) kind: Kind,
    /// A string that is not empty, with its quotes.
    pub(super) text: &'a RawValue,
    /// Values that the child's client ignores, or of which it takes the last.
    pub(super) varying: [Option<&'a RawValue>; 4],
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// Of the answer or of its reasoning.
    Text,
    /// Of a tool call: each piece has to be decoded, because its end must be known.
    Arguments,
}

/// What stands around the text of an event.
#[derive(Debug)]
pub(super) struct Frame {
    kind: Kind,
    /// Up to the text, with the opening quote.
    pub(super) before: Vec<u8>,
    /// From the closing quote on.
    pub(super) after: Vec<u8>,
    /// Everything but text, varying values and white space.
    fixed: Vec<u8>,
}

/// Longer frames are neither recognised nor merged.
const MAX_FRAME: usize = 4 << 10;

/// Whether this is a string that says something.
pub(super) fn says(raw: &RawValue) -> bool {
    raw.get().starts_with('"') && raw.get().len() > 2
}

/// The characters of a string as they are written, without its quotes.
pub(super) fn written(raw: &RawValue) -> &[u8] {
    let text = raw.get().as_bytes();
    text.get(1..text.len().saturating_sub(1))
        .unwrap_or_default()
}

/// Where in `event` a value stands that was borrowed from it.
fn place(event: &[u8], value: &RawValue) -> Option<Range<usize>> {
    let value = value.get().as_bytes();
    let from = value.as_ptr().addr().checked_sub(event.as_ptr().addr())?;
    let range = from..from + value.len();
    event.get(range.clone()).map(|_| range)
}

// === impl Frame ===

impl Frame {
    /// Of an event from which `delta` was borrowed; `None` if it is too long.
    pub(super) fn of(event: &[u8], delta: &Delta<'_>, for_merging: bool) -> Option<Self> {
        let text = place(event, delta.text)?;
        let before = event.get(..=text.start)?;
        let after = event.get(text.end.checked_sub(1)?..)?;
        if before.len() + after.len() > MAX_FRAME {
            return None;
        }
        let mut fixed = Vec::new();
        if for_merging {
            let varying = delta.varying.iter().flatten();
            let mut holes: Vec<Range<usize>> =
                varying.filter_map(|value| place(event, value)).collect();
            holes.push(text);
            holes.sort_unstable_by_key(|hole| hole.start);
            let mut keep = |piece: Option<&[u8]>| {
                let piece = piece.unwrap_or_default().iter();
                fixed.extend(piece.filter(|byte| !byte.is_ascii_whitespace()));
                // No event holds this byte, so it marks the hole.
                fixed.push(0);
            };
            let mut at = 0;
            for hole in holes {
                keep(event.get(at..hole.start));
                at = hole.end;
            }
            keep(event.get(at..));
        }
        Some(Self {
            kind: delta.kind,
            before: before.to_vec(),
            after: after.to_vec(),
            fixed,
        })
    }

    /// Whether the two say pieces of the same text.
    pub(super) fn continues(&self, other: &Self) -> bool {
        self.kind == other.kind && self.fixed == other.fixed
    }

    /// The text in `event`, if it has exactly this frame and need not be parsed.
    pub(super) fn text_of<'a>(&self, event: &'a [u8]) -> Option<&'a [u8]> {
        if self.kind != Kind::Text {
            return None;
        }
        let text = event
            .strip_prefix(&*self.before)?
            .strip_suffix(&*self.after)?;
        // Control characters are not JSON either; one would make all that it is merged with unreadable.
        let plain = text
            .iter()
            .all(|&byte| byte >= b' ' && byte != b'"' && byte != b'\\');
        plain.then_some(text)
    }
}
