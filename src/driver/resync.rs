//! What happened in the child without being received: while the feed was lost, in an earlier child, or before
//! this sidecar was started.
//!
//! The history has the durable events in order, the messages the whole truth of every part. An answer that does
//! not come is done without: the messages alone mend every text, and the next sign of an end asks again anyway.

use std::collections::HashMap;
use std::path::Path;
use std::time::Duration;

use futures_util::future::join_all;

use super::child_connection::ChildConnection;
use super::demux::Demux;
use crate::opencode::CallError;
use crate::opencode::types::{
    HistoryItem, Message, PermissionAsked, QuestionAsked, SessionInfo, SessionStatus, StoredMessage,
};
use crate::session::AskKind;

/// How often a child that was just started is asked what there is of a session, and the pause in between:
/// all its turns ask at once, in the first second of its life.
const ATTEMPTS: usize = 4;
const PAUSE: Duration = Duration::from_millis(500);

/// How many of the last messages of a session are looked at for the newest.
const LAST: usize = 4;

/// Subagents of one session that are asked about.
const MAX_SUBAGENTS: usize = 1000;

/// A session of OpenCode and its subagents, each with the last durable event seen of it.
pub(super) type SessionTree = Vec<(String, Option<u64>)>;

/// What a child has of a session that began in an earlier one.
pub(super) enum Found {
    Stored(StoredState),
    /// It does not know the session.
    Unknown,
    NoAnswer,
}

/// What the child has stored.
#[derive(Debug, Default)]
pub(super) struct StoredState {
    /// Whether all messages could be read.
    pub(super) complete: bool,
    pub(super) history: Vec<HistoryItem>,
    pub(super) messages: Vec<Message>,
    /// The requests that a person could be waited for, of all sessions; nothing if that was not asked or not answered.
    pub(super) asks: Option<ListedAsks>,
}

pub(super) type ListedAsks = (Vec<PermissionAsked>, Vec<QuestionAsked>);

/// Asks a new child for session `root` and its `session_tree`.
pub(super) async fn look_up(
    connection: &ChildConnection,
    root: &str,
    session_tree: &SessionTree,
    demux: &Demux,
) -> Found {
    for attempt in 1..=ATTEMPTS {
        match connection.client.has_session(root).await {
            Ok(true) => {
                let stored = ask(connection.clone(), session_tree.clone(), demux.clone()).await;
                if stored.complete || attempt == ATTEMPTS {
                    return Found::Stored(stored);
                }
            }
            Ok(false) => return Found::Unknown,
            Err(error) => {
                tracing::warn!(%error, attempt, "the engine could not be asked for a session");
            }
        }
        tokio::time::sleep(PAUSE).await;
    }
    Found::NoAnswer
}

/// Asks for what came after the last events seen of `session_tree`.
pub(super) async fn ask(
    connection: ChildConnection,
    session_tree: SessionTree,
    demux: Demux,
) -> StoredState {
    /// Larger than the number of any event, small enough for JavaScript.
    const NOTHING: u64 = (1 << 53) - 1;
    // The history has the whole of every session that is not named.
    let others = demux.sessions().into_iter().map(|id| (id, NOTHING));
    let mut places: HashMap<String, u64> = others.collect();
    let ours = session_tree.iter();
    places.extend(ours.map(|(id, seen)| (id.clone(), seen.unwrap_or(0))));
    // Together: the queue of events waits meanwhile.
    let lists = session_tree
        .iter()
        .map(|(id, _)| connection.client.messages(id));
    let (history, lists) = tokio::join!(connection.client.history(&places), join_all(lists));
    let mut stored = StoredState {
        complete: lists.iter().all(Result::is_ok),
        ..StoredState::default()
    };
    match history {
        Ok(history) => stored.history = history,
        Err(error) => tracing::warn!(%error, "the history could not be read; the messages must do"),
    }
    for list in lists {
        match list {
            Ok(messages) => stored.messages.extend(messages),
            Err(error) => {
                tracing::warn!(%error, "messages could not be read after a lost connection");
            }
        }
    }
    stored
}

/// Which requests the child lists, of all sessions in the workspace.
pub(super) async fn listed_asks(
    connection: &ChildConnection,
    workspace: &Path,
) -> Option<ListedAsks> {
    let client = &connection.client;
    match tokio::try_join!(client.permissions(workspace), client.questions(workspace)) {
        Ok(listed) => Some(listed),
        Err(error) => {
            tracing::warn!(%error, "could not read which requests wait for a person");
            None
        }
    }
}

/// Answers what the child still lists of `session_tree`, so that it forgets it. After an abort nobody waits for it.
pub(super) async fn clear_asks(
    connection: &ChildConnection,
    session_tree: &[String],
    workspace: &Path,
) {
    let Some((permissions, questions)) = listed_asks(connection, workspace).await else {
        return;
    };
    for ask in permissions {
        if session_tree.contains(&ask.session) {
            clear_ask(connection, &ask.id, AskKind::Permission, workspace).await;
        }
    }
    for ask in questions {
        if session_tree.contains(&ask.session) {
            clear_ask(connection, &ask.id, AskKind::Question, workspace).await;
        }
    }
}

/// Answers a request that nobody waits for any more.
pub(super) async fn clear_ask(
    connection: &ChildConnection,
    request: &str,
    kind: AskKind,
    workspace: &Path,
) {
    let client = &connection.client;
    let cleared = match kind {
        AskKind::Permission => {
            client
                .answer_permission(workspace, request, "reject", None)
                .await
        }
        AskKind::Question => client.reject_question(workspace, request).await,
    };
    match cleared {
        // It was not listed any more.
        Ok(()) | Err(CallError::Status { status: 404, .. }) => {}
        Err(error) => tracing::debug!(%error, "the engine goes on listing an old request"),
    }
}

/// Ends what runs in session `root`, if something does. One that is idle is left alone: it would say that it
/// was aborted.
pub(super) async fn stop_old_turn(connection: &ChildConnection, root: &str, workspace: &Path) {
    match connection.client.statuses(workspace).await {
        Ok(statuses) => {
            let status = statuses.get(root);
            if status.is_some_and(|status| *status != SessionStatus::Idle) {
                connection.abort(root).await;
            }
        }
        Err(error) => tracing::warn!(%error, "could not ask whether an old turn runs"),
    }
}

/// The newest message of session `root` and its subagents: those of a turn that died may be newer than the
/// root's own.
pub(super) async fn newest_message(
    connection: &ChildConnection,
    root: &str,
) -> Result<Option<String>, CallError> {
    let mut newest = newest_of(connection, root).await?;
    for info in subagents(connection, root).await {
        newest = newest.max(newest_of(connection, &info.id).await?);
    }
    Ok(newest)
}

async fn newest_of(
    connection: &ChildConnection,
    session: &str,
) -> Result<Option<String>, CallError> {
    let client = &connection.client;
    let last = match client.message_page(session, LAST, None).await {
        Err(CallError::TooLarge { .. }) => client.message_page(session, 1, None).await?,
        last => last?,
    };
    Ok(largest_id(last.messages))
}

/// OpenCode lists messages in the order in which it stored them. A prompt for a running turn gets its id before that, so
/// the answer listed before it may be the newer one.
fn largest_id(messages: Vec<StoredMessage>) -> Option<String> {
    messages.into_iter().map(|message| message.id).max()
}

/// The subagents of session `root`, and theirs, each after its parent: as many as can be read.
pub(super) async fn subagents(connection: &ChildConnection, root: &str) -> Vec<SessionInfo> {
    let mut found = Vec::new();
    let mut parents = vec![root.to_owned()];
    while let Some(parent) = parents.pop().filter(|_| found.len() < MAX_SUBAGENTS) {
        match connection.client.children(&parent).await {
            Ok(children) => {
                parents.extend(children.iter().map(|child| child.id.clone()));
                found.extend(children);
            }
            Err(error) => tracing::warn!(%error, "the subagents of a session could not be read"),
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::opencode::types;

    #[test]
    fn the_answer_before_a_prompt_that_was_told_to_a_running_turn_is_the_newest_message() {
        let stored = |id: &str, role: &str| json!({ "info": { "id": id, "sessionID": "s", "role": role, "time": { "created": 1 } }, "parts": [] });
        let listed = json!([
            stored("m1", "user"),
            stored("m3", "assistant"),
            stored("m2", "user")
        ]);
        let messages = types::stored_messages(listed.to_string().as_bytes()).unwrap();
        assert_eq!(largest_id(messages).as_deref(), Some("m3"));
        assert_eq!(largest_id(Vec::new()), None);
    }
}
