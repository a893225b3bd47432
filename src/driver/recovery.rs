//! A turn that ran when the sidecar died: what is stored of it is told, and then its end.
//!
//! The agent died with the sidecar, so nothing of the turn runs any more. Its key is gone as well: it was
//! kept in memory only. So the turn does not go on by itself; it ends as `interrupted`, and its client may
//! resume it. If OpenCode had stored its end, it ends as it had ended.

use std::path::Path;
use std::time::Duration;

use super::closing;
use super::demux::Demux;
use super::dispatch::Context;
use super::ending;
use super::link::{self, Link};
use super::opening;
use super::publish::publish;
use super::resync::{self, Found};
use super::translate::{Batch, End, Translator};
use crate::clock::Timestamp;
use crate::event::{Body, Event, Phase, State, Status};
use crate::opencode::types::SessionInfo;
use crate::session::{Interrupted, TurnHandle};

/// How long the end of the turn waits for an engine that may never come up.
const RECOVERY_TIMEOUT: Duration = Duration::from_mins(1);

/// What it takes to ask. A part of [`Context`].
#[derive(Clone, Copy)]
struct Means<'a> {
    links: &'a link::Watch,
    demux: &'a Demux,
    workspace: &'a Path,
}

/// Ends a turn that another process began. It comes to its end whatever the engine does.
pub(super) async fn run(turn: Interrupted, mut turn_handle: TurnHandle, context: Context) {
    tracing::info!(
        session.id = turn_handle.session.id,
        session.remote_id = turn.remote_id,
        "a turn was interrupted by the end of the sidecar; looking for the rest of it"
    );
    let mut batch = Batch::default();
    batch.events.push(recovering());
    publish(&turn_handle, &mut batch);
    // Who cancels has his answer when the turn has ended.
    let mut waiting = None;
    let (mut translator, end) = tokio::select! {
        told = recover(&turn, &context) => {
            let (translator, mut events, end) = told;
            batch.events.append(&mut events);
            (translator, end)
        }
        command = turn_handle.commands_rx.recv() => {
            waiting = command;
            (restore(&turn, &context), End::Cancelled)
        }
    };
    let (usage, (files, _)) = (translator.usage(), translator.files(false));
    turn_handle.update(|status| (status.usage, status.files_modified) = (usage, files));
    translator.finish(end, false, Timestamp::now(), &mut batch);
    closing::note_deleted(&mut batch).await;
    publish(&turn_handle, &mut batch);
    context.registry.ended();
    drop(waiting);
}

fn recovering() -> Event {
    let status = Status {
        state: State::Running,
        progress: 0,
        phase: Some(Phase::Recovering),
        current_tool: None,
        reason: Some("the sidecar was restarted".to_owned()),
    };
    Event {
        at: Timestamp::now(),
        agent: None,
        note: None,
        body: Body::Status(status),
    }
}

fn restore(turn: &Interrupted, context: &Context) -> Translator {
    Translator::restore(
        opening::settings(&context.config, &turn.remote_id),
        turn.notes.clone(),
        turn.before.clone(),
        turn.began,
    )
}

/// What is left to tell of the turn, and how it ended. At once in a shutdown.
async fn recover(turn: &Interrupted, context: &Context) -> (Translator, Vec<Event>, End) {
    let means = Means {
        links: &context.links,
        demux: &context.demux,
        workspace: &context.config.workspace,
    };
    let (root, before) = (&*turn.remote_id, turn.before.as_deref());
    let found = means.find(root);
    let found = tokio::select! {
        found = tokio::time::timeout(RECOVERY_TIMEOUT, found) => found.unwrap_or((Vec::new(), Found::Nothing)),
        () = context.shutdown.halt.cancelled() => (Vec::new(), Found::Nothing),
    };
    tell(restore(turn, context), (root, before), found)
}

/// Applies what is stored, and closes what is open.
fn tell(
    mut translator: Translator,
    (root, before): (&str, Option<&str>),
    (subagents, found): (Vec<SessionInfo>, Found),
) -> (Translator, Vec<Event>, End) {
    let now = Timestamp::now();
    let mut out = Batch::default();
    let end = match found {
        // OpenCode had stored the turn's end, or it had none.
        Found::Stored(mut missed) => {
            let ended = ending::last_of(&missed.messages, root, before)
                .and_then(ending::ended_unheard)
                .unwrap_or(closing::interrupted(true));
            // Parents come before their children.
            for info in subagents {
                translator.apply_session(info, now, &mut out);
            }
            translator.apply_missed(missed.history, &mut missed.messages, now, &mut out);
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
    (translator, out.events, end)
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
        // A new child runs nothing that an old one began. If it does all the same, nobody is there to listen.
        resync::quiet(link, root, self.workspace).await;
        let subagents = resync::subagents(link, root).await;
        let mut family = vec![(root.to_owned(), None)];
        family.extend(subagents.iter().map(|info| (info.id.clone(), None)));
        let found = resync::look_up(link, root, &family, self.demux).await;
        (subagents, found)
    }
}

#[cfg(test)]
mod tests;
