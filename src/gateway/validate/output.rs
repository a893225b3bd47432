//! What goes on to the child of the bytes that came.

use std::ops::Range;

use bytes::Bytes;

use super::fault::Fault;

/// What may go on to the child, and the fault that came behind it.
#[derive(Debug, Default)]
pub(in crate::gateway) struct Taken {
    pub(in crate::gateway) pass: Bytes,
    pub(in crate::gateway) fault: Option<Fault>,
}

/// What goes on of some bytes, mostly one range of them.
#[derive(Debug, Default)]
pub(super) struct Output(Vec<Part>);

#[derive(Debug)]
enum Part {
    Range(Range<usize>),
    /// Was not among the bytes.
    Made(Vec<u8>),
}

// === impl Output ===

impl Output {
    pub(super) fn range(&mut self, range: Range<usize>) {
        match self.0.last_mut() {
            Some(Part::Range(last)) if last.end == range.start => last.end = range.end,
            _ => self.0.push(Part::Range(range)),
        }
    }

    pub(super) fn made(&mut self, made: Vec<u8>) {
        if !made.is_empty() {
            self.0.push(Part::Made(made));
        }
    }

    /// The parts as one; `whole`, of which they are ranges, is not copied if there is only one.
    pub(super) fn joined(self, whole: &Bytes) -> Bytes {
        let mut parts = self.0.into_iter();
        match (parts.next(), parts.next()) {
            (None, _) => Bytes::new(),
            (Some(Part::Range(range)), None) => whole.slice(range),
            (Some(Part::Made(made)), None) => Bytes::from(made),
            (Some(first), Some(second)) => {
                let mut joined = Vec::new();
                for part in [first, second].into_iter().chain(parts) {
                    joined.extend_from_slice(match &part {
                        Part::Range(range) => whole.get(range.clone()).unwrap_or_default(),
                        Part::Made(made) => made,
                    });
                }
                Bytes::from(joined)
            }
        }
    }
}
