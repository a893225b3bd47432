//! A turn that ran when the sidecar died: what is stored of it is told, and then its end.
//!
//! The agent died with the sidecar, so nothing of the turn runs any more. Its key is gone as well: it was
//! kept in memory only. So the turn does not go on by itself; it ends as `interrupted`, and its client may
//! resume it. If OpenCode had stored its end, it ends as it had ended.

use std::path::Path;
use std::time::Duration;

use super::closing;
use super::dispatch::Surroundings;
use super::ending;
use super::link::{self, Link};
use super::opening;
use super::resync::{self, Found};
use super::switchboard::Switchboard;
use super::translate::{Batch, End, Translator};
use crate::clock::Timestamp;
use crate::event::Body;
use crate::opencode::types::{SessionInfo, SessionStatus};

/// How long the end of the turn waits for an engine that may never come up.
const PATIENCE: Duration = Duration::from_mins(1);

/// How long OpenCode may take to abort what should not run.
const ABORT: Duration = Duration::from_millis(2500);

/// The most subagents that are asked for. Beyond, their last words are lost.
const MOST: usize = 1000;

/// What is known of the turn, from the journal.
#[derive(Debug)]
pub(super) struct Unfinished {
    /// OpenCode's id of the session.
    pub(super) remote_id: String,
    /// The newest of each part.
    pub(super) notes: Vec<(String, u64)>,
    /// The newest message of the turns before.
    pub(super) before: Option<String>,
    pub(super) began: Timestamp,
}

/// What it takes to ask. A part of [`Surroundings`].
#[derive(Clone, Copy)]
struct Means<'a> {
    links: &'a link::Watch,
    switchboard: &'a Switchboard,
    workspace: &'a Path,
}

/// Tells the rest of the turn into `batch`, and says how it ended. The translator is for its usage, its files
/// and [`Translator::finish`]. It comes to its end whatever the engine does, and at once in a shutdown.
#[expect(dead_code, reason = "the session room has the journal next")]
pub(super) async fn recover(
    turn: Unfinished,
    around: &Surroundings,
    batch: &mut Batch,
) -> (Translator, End) {
    let means = Means {
        links: &around.links,
        switchboard: &around.switchboard,
        workspace: &around.config.workspace,
    };
    let translator = Translator::restore(
        opening::settings(&around.config, &turn.remote_id),
        turn.notes,
        turn.before.clone(),
        turn.began,
    );
    let (root, before) = (&*turn.remote_id, turn.before.as_deref());
    let found = means.find(root);
    let found = tokio::select! {
        found = tokio::time::timeout(PATIENCE, found) => found.unwrap_or((Vec::new(), Found::Nothing)),
        () = around.shutdown.halt.cancelled() => (Vec::new(), Found::Nothing),
    };
    tell(translator, (root, before), found, batch)
}

/// Applies what is stored, and closes what is open.
fn tell(
    mut translator: Translator,
    (root, before): (&str, Option<&str>),
    (subagents, found): (Vec<SessionInfo>, Found),
    batch: &mut Batch,
) -> (Translator, End) {
    let now = Timestamp::now();
    let mut out = Batch::default();
    let end = match found {
        // OpenCode had stored the turn's end, or it had none.
        Found::Stored(missed) => {
            let ended = ending::last_of(&missed.messages, root, before)
                .and_then(ending::ended_unheard)
                .unwrap_or(closing::interrupted(true));
            // Parents come before their children.
            for info in subagents {
                translator.apply_session(info, now, &mut out);
            }
            for item in missed.history {
                translator.apply_history(item, now, &mut out);
            }
            for message in missed.messages {
                translator.apply_message(message, now, &mut out);
            }
            ended
        }
        Found::Unknown => closing::interrupted(false),
        // It may well be there.
        Found::Nothing => closing::interrupted(true),
    };
    translator.abandon_run(now, &mut out);
    // What the turn was doing at which moment is no news any more.
    out.events
        .retain(|event| !matches!(event.body, Body::Status(_)));
    batch.events.append(&mut out.events);
    (translator, end)
}

// === impl Means ===

impl Means<'_> {
    /// Waits for a child, and asks it for the session and its subagents.
    async fn find(self, root: &str) -> (Vec<SessionInfo>, Found) {
        let mut links = self.links.clone();
        loop {
            let Ok(link) = links
                .wait_for(Option::is_some)
                .await
                .map(|link| link.clone())
            else {
                return (Vec::new(), Found::Nothing);
            };
            let Some(link) = link else { continue };
            tokio::select! {
                found = self.ask(&link, root) => return found,
                // The next one is asked.
                () = link.lost.cancelled() => {}
            }
        }
    }

    async fn ask(self, link: &Link, root: &str) -> (Vec<SessionInfo>, Found) {
        stop(link, root, self.workspace).await;
        let subagents = subagents(link, root).await;
        let mut family = vec![(root.to_owned(), None)];
        family.extend(subagents.iter().map(|info| (info.id.clone(), None)));
        let found = resync::look_up(link, root, &family, self.switchboard).await;
        (subagents, found)
    }
}

/// A new child runs nothing that an old one began. If it does all the same, nobody is there to listen.
async fn stop(link: &Link, root: &str, workspace: &Path) {
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

/// The subagents of a session, and theirs.
async fn subagents(link: &Link, root: &str) -> Vec<SessionInfo> {
    let mut found = Vec::new();
    let mut parents = vec![root.to_owned()];
    while let Some(parent) = parents.pop() {
        match link.client.children(&parent).await {
            Ok(children) => {
                parents.extend(children.iter().map(|child| child.id.clone()));
                found.extend(children);
            }
            Err(error) => {
                tracing::warn!(%error, "the subagents of a session could not be read");
            }
        }
        if found.len() >= MOST {
            break;
        }
    }
    found
}
