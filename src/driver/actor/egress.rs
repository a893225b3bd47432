//! What the session is told of its tools' requests to the network.

use super::state::Actor;
use crate::clock::Timestamp;
use crate::egress::{Decision, Grant};
use crate::event::{Body, Egress, EgressDecision, Event};

/// Waits until something was decided; for ever where there is no proxy, or nothing may be asked any more. Cancel-safe.
pub(super) async fn decided(grant: Option<&Grant>) -> Vec<Decision> {
    match grant {
        Some(grant) => grant.decided().await,
        None => std::future::pending().await,
    }
}

// === impl Actor ===

impl Actor {
    pub(super) fn add_egress(&mut self, decisions: Vec<Decision>) {
        let now = Timestamp::now();
        let events = decisions
            .into_iter()
            .map(|decision| Event::new(now, Body::Egress(egress(decision))));
        self.turn.translator.events.extend(events);
    }

    /// The tools reach nothing any more.
    pub(super) fn end_egress(&mut self) {
        if let Some(grant) = self.turn.egress.take() {
            self.add_egress(grant.undisclosed());
        }
    }
}

fn egress(decision: Decision) -> Egress {
    let (host, port) = decision.target.unzip();
    Egress {
        decision: match decision.refused {
            Some(_) => EgressDecision::Denied,
            None => EgressDecision::Allowed,
        },
        host: host.map(|host| host.to_string()),
        port,
        reason: decision.refused,
        count: decision.count,
    }
}
