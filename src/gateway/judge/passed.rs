//! What goes on to the child of the bytes that came.

use bytes::{Bytes, BytesMut};

use super::Fault;

/// What may go on to the child, and what came after it.
#[derive(Debug, Default)]
pub(in crate::gateway) struct Taken {
    pub(in crate::gateway) pass: Bytes,
    pub(in crate::gateway) fault: Option<Fault>,
}

/// What goes on, mostly one slice of what came.
#[derive(Debug, Default)]
pub(super) struct Passed {
    first: Bytes,
    more: Option<BytesMut>,
}

// === impl Passed ===

impl Passed {
    pub(super) fn push(&mut self, bytes: Bytes) {
        if bytes.is_empty() {
            return;
        }
        if self.first.is_empty() {
            self.first = bytes;
            return;
        }
        self.more
            .get_or_insert_with(|| BytesMut::from(&*self.first))
            .extend_from_slice(&bytes);
    }

    pub(super) fn taken(self, fault: Option<Fault>) -> Taken {
        let pass = self.more.map_or(self.first, BytesMut::freeze);
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
