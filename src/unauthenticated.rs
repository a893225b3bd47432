//! Connections to a port of loopback that have not shown their credential yet: few are kept, and the oldest is closed first.
//!
//! A client shows it with its first bytes. Any other process on this host can connect too, and then send
//! nothing; so such connections share no limit with those that have, and a new one never waits for them.

use std::collections::BTreeMap;
use std::sync::Arc;

use parking_lot::Mutex;
use tokio_util::sync::CancellationToken;

/// More than clients open at one moment. Past it the oldest is closed.
const MAX_CONNECTIONS: usize = 256;

/// All of them. A cheap clone.
#[derive(Clone, Debug, Default)]
pub(crate) struct Unauthenticated(Arc<Mutex<Connections>>);

#[derive(Debug, Default)]
struct Connections {
    next: u64,
    /// By age.
    tokens: BTreeMap<u64, CancellationToken>,
}

/// One of them, until it is authenticated or dropped.
#[derive(Debug)]
pub(crate) struct Connection {
    all: Unauthenticated,
    number: u64,
    evicted_token: CancellationToken,
}

// === impl Unauthenticated ===

impl Unauthenticated {
    /// Adds one; past the limit the oldest is evicted.
    pub(crate) fn add(&self) -> Connection {
        let evicted_token = CancellationToken::new();
        let mut connections = self.0.lock();
        let number = connections.next;
        connections.next += 1;
        connections.tokens.insert(number, evicted_token.clone());
        if connections.tokens.len() > MAX_CONNECTIONS
            && let Some((_, oldest)) = connections.tokens.pop_first()
        {
            oldest.cancel();
        }
        drop(connections);
        Connection {
            all: self.clone(),
            number,
            evicted_token,
        }
    }
}

// === impl Connection ===

impl Connection {
    /// Cancelled when the connection has to go.
    pub(crate) fn evicted(&self) -> CancellationToken {
        self.evicted_token.clone()
    }

    /// From now on it is not evicted.
    pub(crate) fn authenticated(&self) {
        self.all.0.lock().tokens.remove(&self.number);
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.authenticated();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_oldest_goes_and_what_is_authenticated_stays() {
        let all = Unauthenticated::default();
        let known = all.add();
        known.authenticated();
        let mut waiting: Vec<Connection> = (0..MAX_CONNECTIONS).map(|_| all.add()).collect();
        assert!(waiting.iter().all(|one| !one.evicted().is_cancelled()));
        let last = all.add();
        assert!(waiting[0].evicted().is_cancelled());
        assert!(!waiting[1].evicted().is_cancelled() && !last.evicted().is_cancelled());
        assert!(!known.evicted().is_cancelled());
        // One that ends frees its place.
        drop(waiting.remove(1));
        let _another = all.add();
        assert!(!waiting[1].evicted().is_cancelled());
        drop((waiting, last));
        assert_eq!(all.0.lock().tokens.len(), 1);
    }
}
