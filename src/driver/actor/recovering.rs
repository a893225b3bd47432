//! The child died in the middle of the turn: the turn goes on in the next one.
//!
//! ```text
//! wait for the next child --> what had the dead one stored? --> tell it, close what is open --> prompt
//!          |                                                             |
//!          +-- it does not come, or does not know the session            +-- the turn had ended: so it ends
//! ```
//!
//! The gateway's grant outlives the child, so the key stays where it is; only the child's own token is new.

use std::time::Duration;

use futures_util::future::BoxFuture;
use tokio::time::Instant;

use super::super::closing;
use super::super::demux::{Demux, Item};
use super::super::ending;
use super::super::link::{self, Link};
use super::super::prompt::CONTINUE;
use super::super::resync::{self, Found, Missed};
use super::super::translate::End;
use super::Actor;
use crate::clock::Timestamp;
use crate::engine;
use crate::opencode::CallError;
use crate::opencode::types::Role;

/// How long a turn waits for the next child. A start may take a minute, and one may fail.
const NEXT_CHILD_TIMEOUT: Duration = Duration::from_mins(2);

/// A connection that broke because the child died is followed by the news of its death.
const NOTICED: Duration = Duration::from_secs(1);

/// What came of a step of the recovery.
pub(super) enum Step {
    /// The next child is there, and this is what the dead one had stored.
    Back(Link, Missed),
    /// The agent was told to go on.
    Told,
    Failed(End),
}

/// The way to the next child, without the turn.
struct Search {
    links: link::Watch,
    engine: engine::Handle,
    demux: Demux,
    remote_id: String,
    family: Vec<(String, Option<u64>)>,
}

// === impl Actor ===

impl Actor {
    /// The child is gone. What it still said is taken. A turn that was being stopped ends as it was meant
    /// to: a shutdown ends the child too, and the caller who cancelled has what he wanted.
    pub(super) fn on_child_lost(&mut self) -> Option<End> {
        let now = Timestamp::now();
        while let Ok(item) = self.subscription.items_rx.try_recv() {
            if let Item::Event(event) = item {
                self.translator.apply(*event, now, &mut self.batch);
            }
        }
        if let Some((reason, _)) = self.stopping.take() {
            return Some(reason);
        }
        if self.context.shutdown.halt.is_cancelled() {
            return Some(closing::shutting_down());
        }
        let most = self.context.config.recoveries;
        if self.recoveries >= most {
            return Some(closing::engine_lost(self.recoveries));
        }
        self.orphaned = true;
        if let Some(end) = self.apply_signals() {
            return Some(end);
        }
        // Questions to the dead have no answer.
        (self.inquiry, self.resync, self.inquire_again) = (None, None, false);
        self.recoveries += 1;
        tracing::warn!(
            session.id = self.turn_handle.session.id,
            recoveries = self.recoveries,
            "the engine died during a turn; the turn goes on in the next one"
        );
        let reason = format!(
            "the agent's process died; the turn goes on in the next one ({} of {most})",
            self.recoveries
        );
        self.translator.process_lost(reason, now, &mut self.batch);
        self.stalled = None;
        self.recovery = Some(self.search());
        None
    }

    fn search(&self) -> BoxFuture<'static, Step> {
        let search = Search {
            links: self.context.links.clone(),
            engine: self.context.engine.clone(),
            demux: self.context.demux.clone(),
            remote_id: self.remote_id.clone(),
            family: self
                .translator
                .sequences()
                .map(|(id, seen)| (id.to_owned(), seen))
                .collect(),
        };
        Box::pin(search.run())
    }

    /// Takes what a step of the recovery found, and begins the next.
    pub(super) fn go_on(&mut self, step: Step) -> Option<End> {
        match step {
            Step::Back(link, missed) => self.regain(link, missed),
            Step::Told => {
                self.translator.resumed(Timestamp::now(), &mut self.batch);
                self.note_activity();
                None
            }
            // The engine leaves with the sidecar, and may be gone before we hear of it.
            Step::Failed(_) if self.context.shutdown.halt.is_cancelled() => {
                Some(closing::shutting_down())
            }
            Step::Failed(end) => Some(end),
        }
    }

    /// The next child is there. First everything of the dead one's is told and closed.
    fn regain(&mut self, link: Link, mut missed: Missed) -> Option<End> {
        (self.link, self.orphaned, self.asked) = (link, false, 0);
        let now = Timestamp::now();
        let (root, before) = (&*self.remote_id, self.before.as_deref());
        let ended = ending::last_of(&missed.messages, root, before).and_then(ending::ended_unheard);
        let taken = missed.messages.iter().any(|message| {
            let info = &message.info;
            info.session == root
                && info.role == Role::User
                && before.is_none_or(|before| *info.id > *before)
        });
        // A prompt is answered for before it is stored: the child may have died in between.
        let untold = missed.whole && !taken;

        let (history, messages) = (missed.history, &mut missed.messages);
        self.translator
            .apply_missed(history, messages, now, &mut self.batch);
        self.recall(missed.messages);
        self.translator.abandon_run(now, &mut self.batch);
        self.note_activity();
        if let Some(end) = self.apply_signals() {
            return Some(end);
        }
        let grant = self.grant.as_ref()?;
        if let Some(end) = ended {
            return Some(closing::refine(end, Some(grant)));
        }
        if !untold {
            CONTINUE.clone_into(&mut self.prompt_text.text);
        }
        let model = grant.model_ref();
        // What the dead run left unfinished must not be taken for the end of this one.
        self.before = self.translator.newest_message().map(str::to_owned);
        let (link, remote_id) = (self.link.clone(), self.remote_id.clone());
        let prompt_text = self.prompt_text.clone();
        self.recovery = Some(Box::pin(async move {
            let told = link
                .client
                .prompt(&remote_id, &prompt_text.prompt(model))
                .await;
            let Err(error) = told else {
                return Step::Told;
            };
            tracing::warn!(%error, "the next engine did not take the prompt to go on");
            if matches!(error, CallError::Connection { .. })
                && tokio::time::timeout(NOTICED, link.lost.cancelled())
                    .await
                    .is_ok()
            {
                // The news of its death begins another recovery, and lets go of this one.
                std::future::pending::<()>().await;
            }
            Step::Failed(closing::engine_stays_lost(
                "the next one did not take the prompt to go on",
                true,
            ))
        }));
        None
    }
}

// === impl Search ===

impl Search {
    async fn run(self) -> Step {
        let deadline = Instant::now() + NEXT_CHILD_TIMEOUT;
        let mut engine = self.engine.watch();
        let mut links = self.links.clone();
        let late = || {
            let secs = NEXT_CHILD_TIMEOUT.as_secs();
            let reason = format!("the next one was not there within {secs} s");
            Step::Failed(closing::engine_stays_lost(&reason, true))
        };
        loop {
            let link = tokio::select! {
                link = links.wait_for(Option::is_some) => link.ok().and_then(|link| link.clone()),
                _ = engine.wait_for(engine::Snapshot::given_up) => None,
                () = tokio::time::sleep_until(deadline) => return late(),
            };
            let Some(link) = link else {
                let reason = self.engine.not_ready(std::time::Instant::now());
                let reason = reason.unwrap_or_else(|| "the engine has ended".into());
                return Step::Failed(closing::engine_stays_lost(
                    &format!("the next one does not come: {reason}"),
                    true,
                ));
            };
            let lost = link.lost.clone();
            tokio::select! {
                step = self.ask(link) => return step,
                // Nothing was begun in it, so it does not count: the engine counts its restarts.
                () = lost.cancelled() => {}
                () = tokio::time::sleep_until(deadline) => return late(),
            }
        }
    }

    /// What the dead child had stored.
    async fn ask(&self, link: Link) -> Step {
        let (root, family) = (&self.remote_id, &self.family);
        match resync::look_up(&link, root, family, &self.demux).await {
            Found::Stored(missed) => Step::Back(link, missed),
            Found::Unknown => Step::Failed(closing::engine_stays_lost(
                "the next one does not know its session",
                false,
            )),
            Found::Nothing => Step::Failed(closing::engine_stays_lost(
                "the next one does not answer",
                true,
            )),
        }
    }
}
