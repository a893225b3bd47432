//! What goes on to the child of the bytes that came.

use std::ops::Range;

use bytes::{Bytes, BytesMut};

use super::Fault;

/// What may go on to the child, and what came after it.
#[derive(Debug, Default)]
pub(in crate::gateway) struct Taken {
    pub(in crate::gateway) pass: Bytes,
    pub(in crate::gateway) fault: Option<Fault>,
}

/// What goes on of some bytes, mostly one piece of them.
#[derive(Debug, Default)]
pub(super) struct Passed(Vec<Part>);

#[derive(Debug)]
enum Part {
    Range(Range<usize>),
    /// That was not among the bytes.
    Made(String),
}

// === impl Passed ===

impl Passed {
    pub(super) fn range(&mut self, range: Range<usize>) {
        if !range.is_empty() {
            self.0.push(Part::Range(range));
        }
    }

    pub(super) fn made(&mut self, made: String) {
        self.0.push(Part::Made(made));
    }

    /// The pieces of `whole`, which is not copied if there is only one.
    pub(super) fn taken(self, whole: &Bytes, fault: Option<Fault>) -> Taken {
        let pass = match &*self.0 {
            [] => Bytes::new(),
            [Part::Range(range)] => whole.slice(range.clone()),
            parts => {
                let mut joined = BytesMut::new();
                for part in parts {
                    joined.extend_from_slice(match part {
                        Part::Range(range) => whole.get(range.clone()).unwrap_or_default(),
                        Part::Made(made) => made.as_bytes(),
                    });
                }
                joined.freeze()
            }
        };
        Taken { pass, fault }
    }
}

// === impl Taken ===

impl Taken {
    pub(super) fn bad(why: &'static str) -> Self {
        Self::fault(Fault::Bad(why))
    }

    pub(super) fn fault(fault: Fault) -> Self {
        Self {
            pass: Bytes::new(),
            fault: Some(fault),
        }
    }
}
