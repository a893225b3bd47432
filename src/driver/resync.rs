//! After the feed was lost: what happened meanwhile.
//!
//! Three questions, each with its deadline: the history (durable events in order), the messages (the
//! whole truth of every part), the status. An answer that does not come is done without: the messages
//! alone mend every text, and the next sign of an end asks again anyway.

use std::collections::HashMap;

use futures_util::future::join_all;

use super::link::Link;
use crate::opencode::types::{HistoryItem, Message};

/// What the child told.
#[derive(Debug, Default)]
pub(super) struct Missed {
    /// Whether all that was asked for could be read, the history apart.
    pub(super) whole: bool,
    pub(super) history: Vec<HistoryItem>,
    pub(super) messages: Vec<Message>,
}

/// Asks about `family`, the sessions of OpenCode that belong to one of ours, each with the last durable
/// event seen of it. `others` are sessions that the history must not tell whole.
pub(super) async fn ask(
    link: Link,
    family: Vec<(String, Option<u64>)>,
    others: Vec<String>,
) -> Missed {
    /// Larger than any number of an event, small enough for JavaScript.
    const NOTHING: u64 = (1 << 53) - 1;
    let mut places: HashMap<String, u64> = others.into_iter().map(|id| (id, NOTHING)).collect();
    places.extend(
        family
            .iter()
            .map(|(id, seen)| (id.clone(), seen.unwrap_or(0))),
    );
    // Together: the queue of events waits meanwhile.
    let lists = family
        .iter()
        .map(|(session, _)| link.client.messages(session));
    let (history, lists) = tokio::join!(link.client.history(&places), join_all(lists));
    let mut missed = Missed {
        whole: lists.iter().all(Result::is_ok),
        ..Missed::default()
    };
    match history {
        Ok(history) => missed.history = history,
        Err(error) => tracing::warn!(%error, "the history could not be read; the messages must do"),
    }
    for list in lists {
        match list {
            Ok(messages) => missed.messages.extend(messages),
            Err(error) => {
                tracing::warn!(%error, "messages could not be read after a lost connection");
            }
        }
    }
    missed
}
