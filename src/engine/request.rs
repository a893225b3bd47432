//! An operation that somebody asked for, on its way through the actor.

use std::sync::Arc;

use parking_lot::Mutex;
use tokio::sync::watch;

use super::operation::Operation;

/// The request in progress, if any, and how to wait for its end.
pub(super) type Current = Arc<Mutex<Option<(Operation, watch::Receiver<()>)>>>;

/// One request on its way through the actor. Dropping it tells everybody who waits that it is over.
#[derive(Debug)]
pub(super) struct Request {
    pub(super) operation: Operation,
    pub(super) current: Current,
    pub(super) done_tx: watch::Sender<()>,
}

// === impl Request ===

impl Drop for Request {
    fn drop(&mut self) {
        let mut current = self.current.lock();
        let mine = self.done_tx.subscribe();
        // A stop may have taken the place.
        if current
            .as_ref()
            .is_some_and(|(_, done_rx)| done_rx.same_channel(&mine))
        {
            *current = None;
        }
    }
}
