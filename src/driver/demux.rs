//! Delivers the events of the child to the driver of the session that they belong to.
//!
//! OpenCode has a session of its own for a subagent; its events go to the session that started it.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::mpsc;

use crate::opencode::types::Event;

/// Events that wait for a session's driver. It takes many at a time, so this is reached only while it asks the
/// child what was missed.
const QUEUE: usize = 4096;

/// How long the feed waits for a driver whose queue is full. All sessions wait with it; past this the
/// event is dropped, and the session finds out by the numbers of its durable events.
const DELIVERY_TIMEOUT: Duration = Duration::from_secs(10);

/// What a session's driver learns of the child.
#[derive(Debug)]
pub(super) enum Item {
    Event(Box<Event>),
    /// The feed broke: from here on something may be missing.
    Lost,
    /// The feed is back; what was missed can be asked for.
    Back,
}

/// A cheap clone.
#[derive(Clone, Debug, Default)]
pub(super) struct Demux {
    routes: Arc<Mutex<HashMap<String, Route>>>,
    /// Sessions without a turn that are still in the child, each with its root. The history has to be asked
    /// without them.
    past: Arc<Mutex<HashMap<String, String>>>,
}

#[derive(Clone, Debug)]
struct Route {
    root: String,
    items_tx: mpsc::Sender<Item>,
}

/// The events of a session and its subagents. Dropping it ends the subscription.
#[derive(Debug)]
pub(super) struct Subscription {
    demux: Demux,
    root: String,
    pub(super) items_rx: mpsc::Receiver<Item>,
    ended: bool,
}

// === impl Demux ===

impl Demux {
    pub(super) fn register(&self, root: &str) -> Subscription {
        let (items_tx, items_rx) = mpsc::channel(QUEUE);
        let route = Route {
            root: root.to_owned(),
            items_tx,
        };
        self.routes.lock().insert(root.to_owned(), route);
        Subscription {
            demux: self.clone(),
            root: root.to_owned(),
            items_rx,
            ended: false,
        }
    }

    /// Delivers an event to its session. Events of unknown sessions are dropped; `Disposed`, which has no session,
    /// goes to all.
    pub(super) async fn route(&self, event: Event) {
        if let Event::SessionCreated(info) | Event::SessionUpdated(info) = &event
            && let Some(parent) = &info.parent
        {
            self.adopt(&info.id, parent);
        }
        let Some(session) = event.session() else {
            if let Event::Disposed { directory } = event {
                let disposed = || Event::Disposed {
                    directory: directory.clone(),
                };
                self.tell_all(|| Item::Event(Box::new(disposed()))).await;
            }
            return;
        };
        let items_tx = self
            .routes
            .lock()
            .get(session)
            .map(|route| route.items_tx.clone());
        if let Some(items_tx) = items_tx {
            deliver(&items_tx, Item::Event(Box::new(event))).await;
        }
    }

    pub(super) async fn tell_all(&self, item: impl Fn() -> Item) {
        for items_tx in self.roots() {
            deliver(&items_tx, item()).await;
        }
    }

    fn roots(&self) -> Vec<mpsc::Sender<Item>> {
        let routes = self.routes.lock();
        let roots = routes
            .iter()
            .filter(|(session, route)| **session == route.root);
        roots.map(|(_, route)| route.items_tx.clone()).collect()
    }

    /// Sessions of OpenCode that are known to be in the child.
    pub(super) fn sessions(&self) -> Vec<String> {
        let mut known: Vec<String> = self.routes.lock().keys().cloned().collect();
        known.extend(self.past.lock().keys().cloned());
        known
    }

    /// Sessions that are in the child without a turn of ours.
    pub(super) fn remember(&self, root: &str, sessions: impl IntoIterator<Item = String>) {
        let sessions = sessions
            .into_iter()
            .map(|session| (session, root.to_owned()));
        self.past.lock().extend(sessions);
    }

    /// A session that was deleted from the child, and with it its subagents.
    pub(super) fn forget(&self, root: &str) {
        self.past.lock().retain(|_, theirs| theirs != root);
    }

    /// `child` is a subagent of `parent`. It is ignored if the parent is not known.
    pub(super) fn adopt(&self, child: &str, parent: &str) {
        let mut routes = self.routes.lock();
        if let Some(route) = routes.get(parent).cloned() {
            routes.entry(child.to_owned()).or_insert(route);
        }
    }
}

async fn deliver(items_tx: &mpsc::Sender<Item>, item: Item) {
    let Err(error) = items_tx.try_send(item) else {
        return;
    };
    if let mpsc::error::TrySendError::Full(item) = error
        && items_tx.send_timeout(item, DELIVERY_TIMEOUT).await.is_err()
    {
        tracing::error!("a session does not take its events; one is dropped");
    }
}

// === impl Subscription ===

impl Subscription {
    /// This session and its subagents.
    pub(super) fn session_tree(&self) -> Vec<String> {
        let routes = self.demux.routes.lock();
        routes
            .iter()
            .filter(|(_, route)| route.root == self.root)
            .map(|(session, _)| session.clone())
            .collect()
    }

    /// Ends the subscription. Whoever saw the end of a turn may begin the next, so this comes before that end:
    /// a later drop must not end the subscription of the next turn.
    pub(super) fn end(&mut self) {
        if std::mem::replace(&mut self.ended, true) {
            return;
        }
        let session_tree = self.session_tree();
        self.demux
            .routes
            .lock()
            .retain(|_, route| route.root != self.root);
        self.demux.remember(&self.root, session_tree);
    }
}

impl Drop for Subscription {
    fn drop(&mut self) {
        self.end();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_subscription_that_ended_does_not_end_the_next_turns() {
        let demux = Demux::default();
        let mut earlier = demux.register("ses_1");
        earlier.end();
        let later = demux.register("ses_1");
        drop(earlier);
        assert_eq!(later.session_tree(), ["ses_1"]);
    }

    #[test]
    fn a_session_stays_known_until_it_is_deleted() {
        let demux = Demux::default();
        let subscription = demux.register("ses_1");
        demux.adopt("ses_2", "ses_1");
        demux.adopt("ses_3", "ses_2");
        demux.adopt("ses_9", "nobody");
        let sorted = |demux: &Demux| {
            let mut known = demux.sessions();
            known.sort();
            known
        };
        let session_tree = ["ses_1", "ses_2", "ses_3"];
        assert_eq!(sorted(&demux), session_tree);
        drop(subscription);
        assert_eq!(sorted(&demux), session_tree, "they are in the child still");
        demux.forget("ses_1");
        assert_eq!(sorted(&demux), [""; 0]);
    }
}
