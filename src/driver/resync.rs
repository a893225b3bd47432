//! After the feed was lost: what happened meanwhile.
//!
//! Three questions, each with its deadline: the history (durable events in order), the messages (the
//! whole truth of every part), the status. An answer that does not come is done without: the messages
//! alone mend every text, and the next sign of an end asks again anyway.

use std::collections::HashMap;
use std::path::Path;
use std::time::Duration;

use futures_util::future::join_all;

use super::demux::Demux;
use super::link::Link;
use crate::opencode::CallError;
use crate::opencode::types::{HistoryItem, Message, SessionInfo, SessionStatus};

/// How often a child that was just started is asked what there is of a session, and the pause in between:
/// all its turns ask at once, in the first second of its life.
const ATTEMPTS: usize = 4;
const PAUSE: Duration = Duration::from_millis(500);

/// How long OpenCode may take to abort what should not run.
const ABORT: Duration = Duration::from_millis(2500);

/// Subagents of one session that are asked about.
const MOST: usize = 1000;

/// What a child has of a session that began in an earlier one.
pub(super) enum Found {
    Stored(Missed),
    /// It does not know the session.
    Unknown,
    /// It does not answer.
    Nothing,
}

/// What the child told.
#[derive(Debug, Default)]
pub(super) struct Missed {
    /// Whether all that was asked for could be read, the history apart.
    pub(super) whole: bool,
    pub(super) history: Vec<HistoryItem>,
    pub(super) messages: Vec<Message>,
}

/// Asks a new child for session `root` and its `family`.
pub(super) async fn look_up(
    link: &Link,
    root: &str,
    family: &[(String, Option<u64>)],
    demux: &Demux,
) -> Found {
    for attempt in 1..=ATTEMPTS {
        match link.client.has_session(root).await {
            Ok(true) => {
                let others = demux.others(family);
                let missed = ask(link.clone(), family.to_vec(), others).await;
                if missed.whole || attempt == ATTEMPTS {
                    return Found::Stored(missed);
                }
            }
            Ok(false) => return Found::Unknown,
            Err(error) => {
                tracing::warn!(%error, attempt, "the engine could not be asked for a session");
            }
        }
        tokio::time::sleep(PAUSE).await;
    }
    Found::Nothing
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

/// Ends what runs in session `root`, if something does. One that is idle is left alone: it would say that it
/// was aborted.
pub(super) async fn quiet(link: &Link, root: &str, workspace: &Path) {
    let busy = match link.client.statuses(workspace).await {
        Ok(statuses) => statuses
            .get(root)
            .is_some_and(|status| *status != SessionStatus::Idle),
        Err(error) => {
            tracing::warn!(%error, "could not ask whether an old turn runs");
            false
        }
    };
    if busy && let Err(error) = link.client.abort(root, ABORT).await {
        tracing::warn!(%error, "the engine did not abort an old turn");
    }
}

/// The newest message of session `root` and its subagents: those of a turn that died may be newer than the
/// root's own.
pub(super) async fn newest_message(link: &Link, root: &str) -> Result<Option<String>, CallError> {
    let mut newest = link.client.newest_message(root).await?;
    for info in subagents(link, root).await {
        newest = newest.max(link.client.newest_message(&info.id).await?);
    }
    Ok(newest)
}

/// The subagents of session `root`, and theirs, each after its parent. The most that can be read.
pub(super) async fn subagents(link: &Link, root: &str) -> Vec<SessionInfo> {
    let mut found = Vec::new();
    let mut parents = vec![root.to_owned()];
    while let Some(parent) = parents.pop().filter(|_| found.len() < MOST) {
        match link.client.children(&parent).await {
            Ok(children) => {
                parents.extend(children.iter().map(|child| child.id.clone()));
                found.extend(children);
            }
            Err(error) => {
                tracing::warn!(%error, "the subagents of a session could not be read");
            }
        }
    }
    found
}
