//! Reading a conversation from the child, a bounded part at a time.

use std::collections::HashSet;
use std::path::Path;
use std::time::Duration;

use super::changes::{Answer, Prompt, changes, changes_bytes};
use super::error::ConversationError;
use super::limits::MAX_PAGE;
use super::message::{Turns, bytes, message, usage};
use crate::clock::Timestamp;
use crate::conversation::{Changes, Page, Subagent, Subagents};
use crate::event::TodoItem;
use crate::opencode::types::{Role, SessionStatus, StoredMessage, StoredSession};
use crate::opencode::{CallError, Client, MessagePage};
use crate::session::Reverted;

/// Subagents of one session that are listed.
const MAX_SUBAGENTS: usize = 1000;

/// Sessions between a subagent and the root. OpenCode's own subagents start none.
const MAX_DEPTH: usize = 32;

/// Messages that are read at once for the changes of a session, and in all.
const DIFF_PAGE: usize = 100;
const MAX_DIFF_MESSAGES: usize = 5000;

/// How long after a step OpenCode may take to compute what it changed.
const DIFF_DELAY: Duration = Duration::from_millis(1500);

/// Which messages are wanted.
#[derive(Debug)]
pub(crate) struct MessageQuery {
    pub(crate) limit: usize,
    /// Of an earlier page.
    pub(crate) cursor: Option<String>,
    pub(crate) reasoning: bool,
    /// OpenCode's id of a subagent, instead of the session itself.
    pub(crate) subagent: Option<String>,
}

/// A place in a conversation, as clients name it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Place {
    /// The id of a prompt, which must have the characters of one.
    Message(String),
    Turn(u32),
}

/// One page of the messages of `remote_id`, which is our session `session`; what is not older than `undone` is undone.
pub(super) async fn messages(
    client: &Client,
    (session, remote_id): (&str, &str),
    query: &MessageQuery,
    (undone, last): (Option<&str>, Option<(u32, String)>),
) -> Result<Page, ConversationError> {
    let read = match &query.subagent {
        Some(subagent) => {
            check_subagent(client, remote_id, subagent).await?;
            subagent
        }
        None => remote_id,
    };
    let page = page(client, read, query.limit, query.cursor.as_deref()).await?;
    let turns = Turns::with_last(session, last);
    let turns = learnt(turns, client, read, &page.messages).await?;
    let assigned = turns.assign(&page.messages);
    let messages = page.messages.into_iter().zip(assigned).rev();
    let undone = undone.filter(|_| query.subagent.is_none());
    let messages = messages.map(|(stored, turn)| {
        let mut message = message(stored, turn, query.reasoning);
        // Ids sort in the order the messages were made.
        message.reverted = undone.is_some_and(|first| *message.id >= *first);
        message
    });
    let mut messages: Vec<_> = messages.collect();
    let mut room = MAX_PAGE;
    let fitting = messages.iter().take_while(|message| {
        let fits = bytes(message) <= room;
        room = room.saturating_sub(bytes(message));
        fits
    });
    // One fits always: its texts are bounded, and so is what OpenCode answers.
    let count = fitting.count().max(1).min(messages.len());
    let mut next_cursor = page.older;
    if count < messages.len() {
        messages.truncate(count);
        // Only OpenCode knows where the rest begins.
        next_cursor = self::page(client, read, count, query.cursor.as_deref())
            .await?
            .older;
    }
    Ok(Page {
        messages,
        next_cursor,
    })
}

/// A page of at most `limit` messages; fewer if they are large.
async fn page(
    client: &Client,
    remote_id: &str,
    limit: usize,
    before: Option<&str>,
) -> Result<MessagePage, ConversationError> {
    let mut limit = limit;
    loop {
        match client.message_page(remote_id, limit, before).await {
            Err(CallError::TooLarge { .. }) if limit > 1 => limit /= 2,
            Err(CallError::Status { status: 400, .. }) if before.is_some() => {
                return Err(ConversationError::Cursor);
            }
            page => return Ok(page?),
        }
    }
}

/// The turns of `messages`; prompts that are on another page are looked up.
async fn learnt(
    mut turns: Turns,
    client: &Client,
    remote_id: &str,
    messages: &[StoredMessage],
) -> Result<Turns, ConversationError> {
    for message in messages {
        turns.learn(message);
    }
    let here: HashSet<&str> = messages.iter().map(|message| &*message.id).collect();
    // The messages are in order, so there is one such prompt, or with prompts that steered a few.
    let mut elsewhere: Vec<&str> = messages
        .iter()
        .filter_map(|message| turns.unknown(message))
        .filter(|prompt| !here.contains(prompt))
        .collect();
    elsewhere.dedup();
    let mut found = Vec::new();
    for prompt in elsewhere {
        match client.stored_message(remote_id, prompt).await {
            Ok(prompt) => found.push(prompt),
            Err(CallError::Status { status: 404, .. } | CallError::TooLarge { .. }) => {}
            Err(error) => return Err(error.into()),
        }
    }
    for prompt in &found {
        turns.learn(prompt);
    }
    Ok(turns)
}

/// Prompt `id` of a conversation.
pub(super) async fn prompt(
    client: &Client,
    (session, remote_id): (&str, &str),
    id: &str,
) -> Result<Reverted, ConversationError> {
    let stored = match client.stored_message(remote_id, id).await {
        Err(CallError::Status { status: 404, .. }) => return Err(ConversationError::NoPrompt),
        stored => stored?,
    };
    if stored.role != Role::User {
        return Err(ConversationError::NoPrompt);
    }
    let mut turns = Turns::of(session);
    turns.learn(&stored);
    Ok(Reverted {
        turn: turns.of_prompt(&stored.id),
        message_id: stored.id,
    })
}

/// The first prompt of turn `turn`.
pub(super) async fn prompt_of_turn(
    client: &Client,
    ours: (&str, &str),
    turn: u32,
) -> Result<Reverted, ConversationError> {
    let found = prompts_down_to(client, ours, turn).await?;
    let first = found.into_iter().rfind(|(_, of)| *of == turn);
    let (message_id, _) = first.ok_or(ConversationError::NoPrompt)?;
    Ok(Reverted {
        turn: Some(turn),
        message_id,
    })
}

/// The first prompt after turn `turn`; `None`: there is none, because it is the last one.
pub(super) async fn first_after(
    client: &Client,
    ours: (&str, &str),
    turn: u32,
) -> Result<Option<String>, ConversationError> {
    let found = prompts_down_to(client, ours, turn).await?;
    if !found.iter().any(|(_, of)| *of == turn) {
        return Err(ConversationError::NoPrompt);
    }
    let later = found.into_iter().rfind(|(_, of)| *of > turn);
    Ok(later.map(|(id, _)| id))
}

/// Our prompts of turn `turn` and later ones, the newest first, each with its turn.
async fn prompts_down_to(
    client: &Client,
    (session, remote_id): (&str, &str),
    turn: u32,
) -> Result<Vec<(String, u32)>, ConversationError> {
    let (mut found, mut turns) = (Vec::new(), Turns::of(session));
    let (mut count, mut before) = (0, None);
    loop {
        let page = page(client, remote_id, DIFF_PAGE, before.as_deref()).await?;
        count += page.messages.len();
        for message in page.messages.iter().rev() {
            turns.learn(message);
            match turns.of_prompt(&message.id) {
                Some(of) if of < turn => return Ok(found),
                Some(of) => found.push((message.id.clone(), of)),
                None => {}
            }
        }
        before = page.older;
        if before.is_none() || count >= MAX_DIFF_MESSAGES {
            return Ok(found);
        }
    }
}

/// Whether `subagent` is one of `root`, or of a subagent of it.
async fn check_subagent(
    client: &Client,
    root: &str,
    subagent: &str,
) -> Result<(), ConversationError> {
    let mut id = subagent.to_owned();
    for _ in 0..MAX_DEPTH {
        let parent = match client.stored_session(&id).await {
            Ok(info) => info.parent,
            Err(CallError::Status { status: 404, .. }) => None,
            Err(error) => return Err(error.into()),
        };
        match parent {
            Some(parent) if parent == root => return Ok(()),
            Some(parent) => id = parent,
            None => break,
        }
    }
    Err(ConversationError::NoSubagent)
}

/// The subagents of `root`, each after its parent.
async fn tree(client: &Client, root: &str) -> Result<(Vec<StoredSession>, bool), CallError> {
    let mut found: Vec<StoredSession> = client.stored_children(root).await?;
    let mut next = 0;
    while let Some(id) = found.get(next).map(|info| info.id.clone()) {
        if found.len() > MAX_SUBAGENTS {
            found.truncate(MAX_SUBAGENTS);
            return Ok((found, true));
        }
        found.extend(client.stored_children(&id).await?);
        next += 1;
    }
    Ok((found, false))
}

pub(super) async fn subagents(
    client: &Client,
    remote_id: &str,
    workspace: &Path,
) -> Result<Subagents, ConversationError> {
    let (found, truncated) = tree(client, remote_id).await?;
    let statuses = client.statuses(workspace).await?;
    let children = found.into_iter().map(|info| Subagent {
        running: statuses
            .get(&info.id)
            .is_some_and(|status| *status != SessionStatus::Idle),
        usage: usage(&info.tokens, info.cost),
        parent: info.parent.unwrap_or_default(),
        id: info.id,
        name: info.agent,
        title: info.title,
        created_at: Timestamp::from_millis(info.time.created),
        last_activity: Timestamp::from_millis(info.time.updated),
    });
    Ok(Subagents {
        children: children.collect(),
        truncated,
    })
}

/// The agent's plan as it is now.
pub(super) async fn todos(
    client: &Client,
    remote_id: &str,
) -> Result<Vec<TodoItem>, ConversationError> {
    let todos = client.todos(remote_id).await?.into_iter();
    let items = todos.map(|todo| TodoItem {
        content: todo.content,
        status: todo.status,
        priority: todo.priority,
    });
    Ok(items.collect())
}

/// What our session `session` changed, or what its turn `wanted` did.
pub(super) async fn diff(
    client: &Client,
    (session, remote_id): (&str, &str),
    workspace: &Path,
    (wanted, undone): (Option<u32>, Option<&str>),
) -> Result<Changes, ConversationError> {
    let mut newest = page(client, remote_id, DIFF_PAGE, None).await?;
    let completed = newest
        .messages
        .last()
        .and_then(|message| message.completed)
        .unwrap_or_default();
    let age = Timestamp::now().since(Timestamp::from_millis(completed));
    if let Some(wait) = DIFF_DELAY.checked_sub(age) {
        tokio::time::sleep(wait).await;
        newest = page(client, remote_id, DIFF_PAGE, None).await?;
    }
    let (mut prompts, mut answers, mut turns) = (Vec::new(), Vec::new(), Turns::of(session));
    let (mut count, mut size) = (0, 0);
    // What is undone has changed nothing.
    let mut undone_since = u64::MAX;
    let truncated = loop {
        count += newest.messages.len();
        for message in newest.messages.into_iter().rev() {
            if undone.is_some_and(|first| *message.id >= *first) {
                undone_since = undone_since.min(message.created);
                continue;
            }
            turns.learn(&message);
            size += match message.role {
                Role::User => {
                    prompts.push(Prompt::new(message));
                    prompts.last().map_or(0, Prompt::bytes)
                }
                Role::Assistant => {
                    answers.push(Answer::new(message));
                    answers.last().map_or(0, Answer::bytes)
                }
            };
        }
        let Some(older) = newest.older else {
            break false;
        };
        if count >= MAX_DIFF_MESSAGES || size > 2 * MAX_PAGE {
            break true;
        }
        newest = page(client, remote_id, DIFF_PAGE, Some(&older)).await?;
    };
    // A subagent's changes are in the snapshots of the one who called it; without snapshots its own tools tell them.
    for info in tree(client, remote_id).await?.0 {
        let page = page(client, &info.id, DIFF_PAGE, None).await?;
        let messages = page.messages.into_iter();
        answers.extend(
            messages
                .filter(|message| message.role == Role::Assistant && message.created < undone_since)
                .map(Answer::of_subagent),
        );
    }
    prompts.reverse();
    let mut all = changes(prompts, answers, &turns, workspace);
    if let Some(wanted) = wanted {
        all.retain(|changes| changes.turn == Some(wanted));
    }
    // The newest are kept.
    let mut room = MAX_PAGE;
    let fitting = all.iter().rev().take_while(|changes| {
        let fits = changes_bytes(changes) <= room;
        room = room.saturating_sub(changes_bytes(changes));
        fits
    });
    let left_out = all.len() - fitting.count();
    all.drain(..left_out);
    Ok(Changes {
        changes: all,
        truncated: truncated || left_out > 0,
    })
}
